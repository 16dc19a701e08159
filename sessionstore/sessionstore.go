// Package sessionstore keeps what outlives a request: session state, revoked
// tokens and rate windows. It has two engines with one behaviour. File is an
// embedded database for one process and needs nothing; Redis is shared by all
// edges that name the same servers, standalone, under Sentinel or as a
// Cluster.
//
//	store := sessionstore.NewFile("/var/lib/edge/store.db", sessionstore.FileOptions{})
//	defer store.Close()
//
//	ref := webtask.SessionRef{Container: "acme", ID: id}
//	session, err := store.Save(ctx, ref, &webtask.SessionChange{
//		Create: true,
//		Expect: map[string]uint64{"visits": 0},      // only if nobody set it yet
//		Set:    map[string][]byte{"visits": []byte("1")},
//		TTL:    24 * time.Hour,
//	})
//	session, err = store.Load(ctx, ref, 24*time.Hour)
//
// # What every call promises
//
// A call is one atomic step: it happens whole or not at all, and what it
// returned successfully is in the store. Where it fails, the error is one of
// webtask.ErrSession…, or wraps webtask.ErrStoreUnavailable; with the latter a
// write that was under way may or may not have happened, as always when an
// answer is lost. Calls take a bounded time, and while a store is known to be
// down they fail at once.
//
// The interfaces that the engines satisfy are their users' (package edge);
// the tests of this package hold each engine to the same contract.
package sessionstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// errClosed is why calls fail after Close.
var errClosed = errors.New("the store has been closed")

// unavailable makes err one that callers recognise as webtask.ErrStoreUnavailable.
func unavailable(err error) error {
	if errors.Is(err, webtask.ErrStoreUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", webtask.ErrStoreUnavailable, err)
}

// store is what both engines are, so that neither lacks what the other has.
type store interface {
	Load(ctx context.Context, ref webtask.SessionRef, ttl time.Duration) (*webtask.SessionData, error)
	Save(ctx context.Context, ref webtask.SessionRef, change *webtask.SessionChange) (*webtask.SessionData, error)
	Revoke(ctx context.Context, jti string, until time.Time) error
	Revocations(ctx context.Context, cursor uint64) (map[string]time.Time, uint64, bool, error)
	Take(ctx context.Context, now time.Time, windows []webtask.RateWindow) (time.Duration, error)
	Engine() string
	Ping(ctx context.Context) error
	Close() error
}

var (
	_ store = (*File)(nil)
	_ store = (*Redis)(nil)
)
