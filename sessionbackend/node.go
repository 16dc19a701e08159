package sessionbackend

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Node is this edge as an owner of backends, alone on its machine. It is proved
// by a lock on a file, which whatever can keep a backend alive holds as well: who
// gets the lock knows that nothing is left of those who had it before. The file
// also remembers which fencing tokens may have been given out.
type Node struct {
	path   string
	logger *zap.Logger

	mu       sync.Mutex
	file     *os.File // nil: the lock is not held
	last     int64    // fencing token
	reserved int64    // tokens up to this one are on file as given out
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
	text, err := os.ReadFile(n.path)
	if err == nil && len(text) > 0 {
		n.reserved, err = strconv.ParseInt(string(bytes.TrimSpace(text)), 10, 64)
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("the last fencing token of session backends cannot be read; remove %s if the clock of this machine has never been ahead: %w", n.path, err)
	}
	n.file, n.last = file, n.reserved
	return file, nil
}

// reserve is how many tokens are put on file at once: microseconds, of an hour.
const reserve = int64(time.Hour / time.Microsecond)

// Next implements Fences: microseconds since 1970, or one more than the last.
func (n *Node) Next(ctx context.Context) (int64, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	file, err := n.lock(ctx)
	if err != nil {
		return 0, err
	}
	next := max(n.last+1, time.Now().UnixMicro())
	if next > n.reserved {
		reserved := next + reserve
		if _, err := file.WriteAt(fmt.Appendf(nil, "%020d\n", reserved), 0); err != nil {
			return 0, fmt.Errorf("putting the fencing tokens of session backends on file: %w", err)
		}
		if err := file.Sync(); err != nil {
			return 0, fmt.Errorf("putting the fencing tokens of session backends on file: %w", err)
		}
		n.reserved = reserved
	}
	n.last = next
	return next, nil
}

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
