package docker

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// aNode is the identity of a node.
var aNode = regexp.MustCompile(`^[a-z2-7]{26}$`)

// nodeOf names the owner of a lock, for the containers that it is the proof of.
// The name stands in a file beside the lock. The path of the lock would not do as
// it does for processes: an engine may serve edges of several machines, or ones
// that are in containers themselves, which have the same paths.
func nodeOf(lock *os.File) (string, error) {
	path := filepath.Join(filepath.Dir(lock.Name()), "docker.node")
	text, err := os.ReadFile(path)
	if err == nil && aNode.Match(text) {
		return string(text), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("driver docker: the node's name: %w", err)
	}
	node := strings.ToLower(rand.Text())
	if err := os.WriteFile(path+".new", []byte(node), 0o600); err != nil {
		return "", fmt.Errorf("driver docker: the node's name: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return "", fmt.Errorf("driver docker: the node's name: %w", err)
	}
	return node, nil
}
