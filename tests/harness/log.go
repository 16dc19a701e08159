package harness

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is how long a test waits for an event that must come. It bounds a
// hang; no test measures it.
const patience = 60 * time.Second

// Log is what a process wrote, from its start to now; lines can be awaited.
type Log struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{} // closed and replaced at each write
}

// Write adds to the log.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
	return l.text.Write(p)
}

// String returns everything written so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// snapshot returns the text and a channel that closes when there is more.
func (l *Log) snapshot() (string, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.changed == nil {
		l.changed = make(chan struct{})
	}
	return l.text.String(), l.changed
}

// Wait returns the log once it holds text after the first skip bytes, or fails
// the test. ended, if not nil, is closed when nothing more can come.
func (l *Log) Wait(t testing.TB, skip int, text string, ended <-chan struct{}) string {
	t.Helper()
	deadline := time.After(patience)
	for {
		all, changed := l.snapshot()
		if strings.Contains(all[min(skip, len(all)):], text) {
			return all
		}
		select {
		case <-changed:
		case <-ended:
			if rest, _ := l.snapshot(); strings.Contains(rest[min(skip, len(rest)):], text) {
				return rest
			}
			t.Fatalf("the process ended before it logged %q:\n%s", text, all)
		case <-deadline:
			t.Fatalf("no %q in the log within %v:\n%s", text, patience, all)
		}
	}
}
