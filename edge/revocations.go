package edge

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
)

// Revocations is the set of revoked tokens in this process's memory, kept in
// step with a store by polling it. It outlives an Edge: a new configuration
// over the same store must not start from an empty set.
type Revocations struct {
	store RevocationStore
	opts  RevocationOptions
}

// RevocationOptions configure Revocations. All fields may be left zero.
type RevocationOptions struct {
	// Interval is how often the store is asked: the bound of how long a
	// revocation takes to reach this edge. Default: 1s.
	Interval time.Duration
	// StrictAfter refuses all tokens once the store could not be read for that
	// long (`revocation strict`: 10m). 0: the last known set holds, however old.
	StrictAfter time.Duration
	Logger      *zap.Logger      // nil: none
	Observer    Observer         // nil: none
	Now         func() time.Time // nil: time.Now
}

// ErrRevocationsStale reports that tokens are refused because the store of
// revocations could not be read for longer than RevocationOptions.StrictAfter.
var ErrRevocationsStale = errors.New("revocations are not known to be current")

// NewRevocations returns an empty set over store.
func NewRevocations(store RevocationStore, opts RevocationOptions) *Revocations {
	return &Revocations{store: store, opts: opts}
}

// Start reads the store once, within ctx, and then keeps reading it on a
// goroutine that Close ends. A store that is down is no error: it is logged,
// and read again every interval. A second Start is ignored.
func (r *Revocations) Start(ctx context.Context) {}

// Close ends what Start began and waits for it.
func (r *Revocations) Close() error { return nil }

// Revoke revokes the token of that id, here at once and on every edge of the
// store within its interval, until the token would have expired; the zero time
// means for ever. When it fails, the token is revoked nowhere but here.
func (r *Revocations) Revoke(ctx context.Context, jti string, until time.Time) error { return nil }
