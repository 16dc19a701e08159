package sessionstore

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// breakerPause is for how long a server that could not be reached is left
// alone. It is short: a store that is back is used again within it.
const breakerPause = 250 * time.Millisecond

// breaker refuses calls to a server that is down, so that requests do not pile
// up behind its timeouts. After each pause one call is let through to see
// whether the server is back.
type breaker struct {
	now      func() time.Time
	onChange func(down bool, cause error) // called outside the lock

	down atomic.Bool // cause != nil, to be asked without the lock

	mu    sync.Mutex
	cause error     // nil while the server is up
	retry time.Time // when the next call is let through
}

// allow returns nil, or why a call must not be made now.
func (b *breaker) allow() error {
	if !b.down.Load() {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cause == nil {
		return nil
	}
	now := b.now()
	if now.Before(b.retry) {
		return fmt.Errorf("not tried again within %v of: %w", breakerPause, b.cause)
	}
	b.retry = now.Add(breakerPause) // this call is the probe
	return nil
}

// report says how a call ended: with cause nil if the server answered.
func (b *breaker) report(cause error) {
	if cause == nil && !b.down.Load() {
		return
	}
	b.mu.Lock()
	changed := (b.cause == nil) != (cause == nil)
	b.cause = cause
	b.down.Store(cause != nil)
	if cause != nil {
		b.retry = b.now().Add(breakerPause)
	}
	b.mu.Unlock()
	if changed && b.onChange != nil {
		b.onChange(cause != nil, cause)
	}
}
