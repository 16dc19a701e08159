package edge

import (
	"context"
	"time"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/jsruntime/source"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

// SessionStore keeps session state. Both engines of package sessionstore pass
// one contract test of it. Each call is at most one round trip and one atomic
// step; errors are webtask.ErrSession… and webtask.ErrStoreUnavailable.
type SessionStore interface {
	// Load returns a session and, when more than a tenth of ttl has passed
	// since its time to live was last restarted, restarts it.
	Load(ctx context.Context, ref webtask.SessionRef, ttl time.Duration) (*webtask.SessionData, error)

	// Save applies change and returns the session as it is afterwards; on
	// ErrSessionConflict, as it is now.
	Save(ctx context.Context, ref webtask.SessionRef, change *webtask.SessionChange) (*webtask.SessionData, error)
}

// RevocationStore keeps revoked token ids, each until the token would have
// expired anyway.
type RevocationStore interface {
	// Revoke adds a token id; until zero means for ever.
	Revoke(ctx context.Context, jti string, until time.Time) error

	// Revocations returns those added after cursor, and the next cursor; a
	// cursor of 0 returns all. A store that lost its past returns all again
	// with reset true.
	Revocations(ctx context.Context, cursor uint64) (jtis map[string]time.Time, next uint64, reset bool, err error)
}

// RateStore counts requests in windows, for all edges of one store together.
type RateStore interface {
	// Take adds one to every window of every key and reports the first that
	// would exceed its limit, with how long until it has room; nothing is
	// added then.
	Take(ctx context.Context, now time.Time, windows []RateWindow) (retryAfter time.Duration, err error)
}

// RateWindow is one limit of a RateStore: at most Limit requests of Key per
// Period, in fixed windows that start at multiples of it.
type RateWindow = webtask.RateWindow

// Loader loads code; *source.Loader is one.
type Loader interface {
	Load(ctx context.Context, container string, ref webtask.CodeRef, integrity string, limits webtask.Limits) (*source.Bundle, error)
}

// Runner compiles and runs scripts. The engine of package jsruntime is one, in
// this process.
type Runner interface {
	Compile(ctx context.Context, script jsruntime.Script) (*jsruntime.Program, error)
	Do(ctx context.Context, spec *jsruntime.Spec, req *jsruntime.Request) (*jsruntime.Response, error)
}
