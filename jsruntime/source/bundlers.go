package source

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/webtask-edge/caddy-webtask/jsruntime/internal/places"
)

// bundlers are the places of those that may use the processor for bundling. A
// bundler is fast, but callers choose how much it is given to do, and a machine
// that bundles for many at once answers nobody. No container has more than half
// of them.
type bundlers struct {
	places *places.Places
	wait   time.Duration
}

func newBundlers(n int, wait time.Duration) *bundlers {
	return &bundlers{places.New(n), wait}
}

func (b *bundlers) acquire(ctx context.Context, container, name string) error {
	err := b.places.Take(ctx, container, b.wait)
	switch {
	case errors.Is(err, places.ErrBusy):
		return &BusyError{Name: name, Wait: b.wait}
	case err != nil:
		return &FetchError{URL: name, Err: err}
	}
	return nil
}

func (b *bundlers) release(container string) { b.places.Free(container) }

// BusyError reports code that could not be bundled, for too many others are, or
// since the machine lets no bundler start. It says nothing about the code.
type BusyError struct {
	Name string // the entry
	Wait time.Duration
	Err  error // why no bundler works; nil: all are busy
}

func (e *BusyError) Unwrap() error { return e.Err }

func (e *BusyError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s cannot be bundled now: %v; try again later", e.Name, e.Err)
	}
	return fmt.Sprintf("%s waited %v for a bundler, and all are busy; try again later", e.Name, e.Wait)
}

// turn is the place of one run of the bundler. It is given up while the run
// waits for an origin, which may take as long as it likes to answer.
type turn struct {
	ctx       context.Context
	bundlers  *bundlers
	container string
	name      string // of the entry

	mu      sync.Mutex
	waiting int  // how many imports are being fetched
	held    bool // the place
}

func (t *turn) begin() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.take()
}

func (t *turn) take() error {
	if err := t.bundlers.acquire(t.ctx, t.container, t.name); err != nil {
		return err
	}
	t.held = true
	return nil
}

func (t *turn) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.give()
}

func (t *turn) give() {
	if t.held {
		t.bundlers.release(t.container)
		t.held = false
	}
}

// aside runs f, which waits for an origin.
func (t *turn) aside(f func()) error {
	t.mu.Lock()
	t.waiting++
	t.give()
	t.mu.Unlock()
	f()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.waiting--; t.waiting > 0 {
		return nil // the last one takes the place again
	}
	return t.take()
}
