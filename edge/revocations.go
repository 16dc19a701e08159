package edge

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// Revocations is the set of revoked tokens in this process's memory, kept in
// step with a store by polling it. It outlives an Edge: a new configuration
// over the same store must not start from an empty set.
type Revocations struct {
	store RevocationStore
	opts  RevocationOptions
	set   webtask.RevocationSet

	cursor  uint64       // of the poller alone
	failing bool         // of the poller alone: the last poll failed
	purged  time.Time    // of the poller alone: when expired ids were last forgotten
	synced  atomic.Int64 // unix nanoseconds of the last successful poll, or of the start

	lifecycle sync.Mutex
	stop      context.CancelFunc
	done      chan struct{}
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

const (
	pollTimeout   = 5 * time.Second
	purgeInterval = time.Minute // each purge copies the set
)

// ErrRevocationsStale reports that tokens are refused because the store of
// revocations could not be read for longer than RevocationOptions.StrictAfter.
var ErrRevocationsStale = errors.New("revocations are not known to be current")

// NewRevocations returns an empty set over store.
func NewRevocations(store RevocationStore, opts RevocationOptions) *Revocations {
	if opts.Interval <= 0 {
		opts.Interval = time.Second
	}
	if opts.Logger == nil {
		opts.Logger = zap.NewNop()
	}
	if opts.Observer == nil {
		opts.Observer = nullObserver{}
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	r := &Revocations{store: store, opts: opts}
	r.synced.Store(opts.Now().UnixNano())
	return r
}

// Start reads the store once, within ctx, and then keeps reading it on a
// goroutine that Close ends. A store that is down is no error: it is logged,
// and read again every interval. A second Start is ignored.
func (r *Revocations) Start(ctx context.Context) {
	r.lifecycle.Lock()
	defer r.lifecycle.Unlock()
	if r.stop != nil {
		return
	}
	r.poll(ctx)
	polling, stop := context.WithCancel(context.Background())
	r.stop, r.done = stop, make(chan struct{})
	go func(done chan<- struct{}) {
		defer close(done)
		ticker := time.NewTicker(r.opts.Interval)
		defer ticker.Stop()
		for {
			select {
			case <-polling.Done():
				return
			case <-ticker.C:
				r.poll(polling)
			}
		}
	}(r.done)
}

// Close ends what Start began and waits for it.
func (r *Revocations) Close() error {
	r.lifecycle.Lock()
	defer r.lifecycle.Unlock()
	if r.stop == nil {
		return nil
	}
	r.stop()
	<-r.done
	r.stop, r.done = nil, nil
	return nil
}

// Revoke revokes the token of that id, here at once and on every edge of the
// store within its interval, until the token would have expired; the zero time
// means for ever. When it fails, the token is not revoked anywhere but here.
func (r *Revocations) Revoke(ctx context.Context, jti string, until time.Time) error {
	if jti == "" {
		return fmt.Errorf("%w: a token id is required", webtask.ErrTokenMalformed)
	}
	r.set.Add(map[string]time.Time{jti: until})
	start := r.opts.Now()
	err := r.store.Revoke(ctx, jti, until)
	r.opts.Observer.StoreCalled("revoke", r.opts.Now().Sub(start), err)
	if err != nil {
		return fmt.Errorf("revoking a token: %w", err)
	}
	return nil
}

// check reports ErrTokenRevoked when the token or one that it derives from was
// revoked, and ErrRevocationsStale under StrictAfter.
func (r *Revocations) check(token *webtask.Verified, now time.Time) error {
	if r.set.Revoked(token.Chain()) {
		return webtask.ErrTokenRevoked
	}
	if r.opts.StrictAfter > 0 && now.Sub(time.Unix(0, r.synced.Load())) > r.opts.StrictAfter {
		return ErrRevocationsStale
	}
	return nil
}

// poll brings the set up to date. An outage is logged when it begins and when
// it ends.
func (r *Revocations) poll(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	start := r.opts.Now()
	// Of reset only the new cursor counts: a store that lost its past may have
	// lost revocations with it, and what this process knows stays revoked.
	revoked, next, _, err := r.store.Revocations(ctx, r.cursor)
	now := r.opts.Now()
	r.opts.Observer.StoreCalled("revocations", now.Sub(start), err)
	if err != nil {
		if !r.failing && !errors.Is(ctx.Err(), context.Canceled) {
			r.failing = true
			r.opts.Logger.Warn("revocations cannot be read; the last known ones hold", zap.Error(err))
		}
		return
	}
	if r.failing {
		r.failing = false
		r.opts.Logger.Info("revocations can be read again")
	}
	r.set.Add(revoked)
	r.cursor = next
	if now.Sub(r.purged) > purgeInterval {
		r.purged = now
		r.set.Purge(now)
	}
	r.synced.Store(now.UnixNano())
}
