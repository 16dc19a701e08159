package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// file is where a document is saved. It is named by a digest of the key, which
// may be anything, and remembers the fencing token of who wrote it last.
type file struct {
	path  string
	fence int64
}

// saved is what is in it.
type saved struct {
	Fence int64  `json:"fence"`
	Text  string `json:"text"`
}

func open(dir, key string, fence int64) (*file, error) {
	if dir == "" {
		return nil, errors.New("LOGBOOKS has to name the directory of the logbooks")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return &file{filepath.Join(dir, fmt.Sprintf("%x.json", sha256.Sum256([]byte(key)))), fence}, nil
}

// load reads what was saved last.
func (f *file) load() (saved, error) {
	var last saved
	text, err := os.ReadFile(f.path)
	if errors.Is(err, os.ErrNotExist) {
		return last, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &last)
	}
	return last, err
}

// read returns the text, and from now on keeps those away who had the document
// before.
func (f *file) read() (string, error) {
	last, err := f.load()
	if err != nil {
		return "", err
	}
	return last.Text, f.write(last.Text)
}

// write saves the text, unless a process that came later has.
func (f *file) write(text string) error {
	last, err := f.load()
	if err != nil {
		return err
	}
	if last.Fence > f.fence {
		return fmt.Errorf("another process, with the fencing token %d, has this document", last.Fence)
	}
	content, err := json.Marshal(saved{f.fence, text})
	if err != nil {
		return err
	}
	next := fmt.Sprintf("%s.%d", f.path, f.fence)
	if err := os.WriteFile(next, content, 0o600); err != nil {
		return err
	}
	return os.Rename(next, f.path)
}
