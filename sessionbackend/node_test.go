package sessionbackend

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Fencing tokens grow, over restarts too, and whatever the clock says.
func TestFences(t *testing.T) {
	dir := t.TempDir()
	last := time.Now().UnixMicro() - 1
	for range 3 {
		node := NewNode(dir, nil)
		for range 100 {
			next, err := node.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if next <= last || next >= 1<<53 {
				t.Fatalf("%d follows %d", next, last)
			}
			last = next
		}
		if err := node.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// One at a time has a node, and who waits for it gets it.
func TestNodeIsLocked(t *testing.T) {
	dir := t.TempDir()
	first, second := NewNode(dir, nil), NewNode(dir, nil)
	if _, err := first.Lock(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*lockPoll)
	defer cancel()
	if _, err := second.Next(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), dir) {
		t.Fatalf("the second got it, or %v", err)
	}
	got := make(chan error)
	go func() {
		_, err := second.Lock(t.Context())
		got <- err
	}()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Error(err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
}

func TestNodeFileIsBroken(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "node.lock"), []byte("soon"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := NewNode(dir, nil).Next(t.Context()); err == nil || !strings.Contains(err.Error(), "node.lock") {
		t.Errorf("the error is %v", err)
	}
}
