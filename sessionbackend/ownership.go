package sessionbackend

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// Ownership decides which edge has the backend of a key. A Node is one for an
// edge that is alone, a Cluster for one of several.
type Ownership interface {
	// Claim makes this edge the owner of the key of a backend that is to be
	// started. Its errors are *HeldError, *UnavailableError, and those of Node.Lock.
	Claim(ctx context.Context, identity Identity) (*Tenure, error)

	// Elsewhere returns the owner if it is known to be another edge; nil: it is
	// not. It asks nobody.
	Elsewhere(service, key string) *HeldError

	// Ask returns the owner if it is another edge; nil: it is not, or cannot be
	// found out.
	Ask(ctx context.Context, service, key string) *HeldError
}

// HeldError says that another edge has the backend of a key.
type HeldError struct {
	Owner webtask.LeaseOwner
}

func (e *HeldError) Error() string {
	return fmt.Sprintf("the server %s has the session backend", e.Owner.Name)
}

// UnavailableError says that who owns a key cannot be told, or may be given to
// nobody yet.
type UnavailableError struct {
	Cause error
	After time.Duration
}

func (e *UnavailableError) Error() string {
	return fmt.Sprintf("session backends cannot be started for now: %v", e.Cause)
}

func (e *UnavailableError) Unwrap() error { return e.Cause }

// RetryAfter is when to try again.
func (e *UnavailableError) RetryAfter() time.Duration { return e.After }

// Tenure is the ownership of a key by one backend. Of a Node it lasts for as long
// as the process of the edge, else until a deadline that is put off again and
// again.
type Tenure struct {
	fence    int64
	shard    *shard // nil: of a Node
	claim    webtask.LeaseClaim
	deadline atomic.Int64  // BootTime; 0: there is none
	extended chan struct{} // the deadline was put off
	lost     chan struct{} // closed when the backend has to be gone
}

// Deadline is when the backend has to be gone; 0: never.
func (t *Tenure) Deadline() BootTime {
	if t == nil {
		return 0
	}
	return BootTime(t.deadline.Load())
}

// left returns how long it is until the backend should be asked to end.
func (t *Tenure) left() time.Duration {
	if t == nil || t.shard == nil {
		return forever
	}
	return t.Deadline().Until(t.shard.now()) - t.shard.cluster.notice
}

// over reports whether the deadline has passed.
func (t *Tenure) over() bool {
	if t == nil || t.shard == nil {
		return false
	}
	return t.Deadline() <= t.shard.now()
}

// release gives the key up: nothing is left of the backend.
func (t *Tenure) release() {
	if t != nil && t.shard != nil {
		t.shard.release(t)
	}
}
