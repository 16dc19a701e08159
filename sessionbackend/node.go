package sessionbackend

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Node is this edge as an owner of backends, alone on its machine. It is proved
// by a lock on a file, which whatever can keep a backend alive holds as well: who
// gets the lock knows that nothing is left of those who had it before. The file
// also remembers which fencing tokens may have been given out. It is an Ownership.
type Node struct {
	path   string
	logger *zap.Logger

	mu       sync.Mutex
	file     *os.File // nil: the lock is not held
	last     int64    // fencing token
	reserved int64    // tokens up to this one are on file as given out
	life     string   // on file: the last that the directory had as a part of several edges, or ""
}

// NewNode returns the node of a directory, which it makes when it is first used.
func NewNode(dir string, logger *zap.Logger) *Node {
	if logger == nil {
		logger = zap.NewNop()
	}
	return &Node{path: filepath.Join(dir, "node.lock"), logger: logger}
}

// lockPoll is how often a lock is tried that another process has.
const lockPoll = 20 * time.Millisecond

// Lock returns the locked file, for others to inherit. It waits until nobody
// else has it.
func (n *Node) Lock(ctx context.Context) (*os.File, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.lock(ctx)
}

func (n *Node) lock(ctx context.Context) (*os.File, error) {
	if n.file != nil {
		return n.file, nil
	}
	if err := os.MkdirAll(filepath.Dir(n.path), 0o700); err != nil {
		return nil, fmt.Errorf("the directory of session backends: %w", err)
	}
	file, err := os.OpenFile(n.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the lock of session backends: %w", err)
	}
	for waiting := false; ; waiting = true {
		err := lockFile(file)
		if err == nil {
			break
		}
		if !errors.Is(err, errLocked) {
			file.Close()
			return nil, fmt.Errorf("locking %s: %w", n.path, err)
		}
		if !waiting {
			n.logger.Warn("session backends of another server process are still there; waiting until they are gone", zap.String("lock", n.path))
		}
		select {
		case <-time.After(lockPoll):
		case <-ctx.Done():
			file.Close()
			return nil, fmt.Errorf("another server process has session backends in %s; stop it, or give one of the two a data directory of its own (XDG_DATA_HOME): %w",
				filepath.Dir(n.path), context.Cause(ctx))
		}
	}
	if err := n.recall(); err != nil {
		file.Close()
		return nil, err
	}
	n.file = file
	return file, nil
}

// recall reads what is on file: the last fencing token, and the last life.
func (n *Node) recall() error {
	text, err := os.ReadFile(n.path)
	words := bytes.Fields(text)
	if err == nil && len(words) > 0 {
		n.reserved, err = strconv.ParseInt(string(words[0]), 10, 64)
	}
	if err != nil {
		return fmt.Errorf("the last fencing token of session backends cannot be read; remove %s if the clock of this machine has never been ahead: %w", n.path, err)
	}
	n.last = n.reserved
	if len(words) > 1 {
		n.life = string(words[1])
	}
	return nil
}

// record puts a token, up to which any may have been given out, and a life on
// file. The mutex is held.
func (n *Node) record(reserved int64, life string) error {
	if _, err := n.file.WriteAt(fmt.Appendf(nil, "%020d\n%-26s\n", reserved, life), 0); err != nil {
		return fmt.Errorf("putting the fencing tokens of session backends on file: %w", err)
	}
	if err := n.file.Sync(); err != nil {
		return fmt.Errorf("putting the fencing tokens of session backends on file: %w", err)
	}
	n.reserved, n.life = reserved, life
	return nil
}

// reserve is how many tokens are put on file at once: microseconds, of an hour.
const reserve = int64(time.Hour / time.Microsecond)

// Next returns a fencing token larger than all before it, over restarts too:
// microseconds since 1970, or one more than the last.
func (n *Node) Next(ctx context.Context) (int64, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, err := n.lock(ctx); err != nil {
		return 0, err
	}
	next := max(n.last+1, time.Now().UnixMicro())
	if err := n.given(next); err != nil {
		return 0, err
	}
	return next, nil
}

// given notes that a token was given out. The mutex is held.
func (n *Node) given(token int64) error {
	if token > n.reserved {
		if err := n.record(token+reserve, n.life); err != nil {
			return err
		}
	}
	n.last = max(n.last, token)
	return nil
}

// Claim implements Ownership: whoever has the lock owns all keys.
func (n *Node) Claim(ctx context.Context, _ Identity) (*Tenure, error) {
	fence, err := n.Next(ctx)
	if err != nil {
		return nil, err
	}
	return &Tenure{fence: fence}, nil
}

// Elsewhere implements Ownership: there is no other edge.
func (*Node) Elsewhere(string, string) *HeldError { return nil }

// Ask implements Ownership: there is no other edge.
func (*Node) Ask(context.Context, string, string) *HeldError { return nil }

// least returns a token that all later ones are to be larger than.
func (n *Node) least() int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.last + 1
}

// note notes a token that was given out for several edges.
func (n *Node) note(token int64) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.file == nil {
		return errNodeClosed
	}
	return n.given(token)
}

// begin begins another life, and returns it and the one before, "" if there was
// none. Nothing may be left of that one.
func (n *Node) begin(ctx context.Context) (life, before string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, err := n.lock(ctx); err != nil {
		return "", "", err
	}
	life, before = strings.ToLower(rand.Text()), n.life
	return life, before, n.record(n.reserved, life)
}

var errNodeClosed = errors.New("the lock of session backends was given up")

// Close gives the lock up. Others that inherited it keep it.
func (n *Node) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.file == nil {
		return nil
	}
	err := n.file.Close()
	n.file = nil
	return err
}
