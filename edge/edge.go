// Package edge is a request's way, token to response: it opens the token,
// checks it, loads and runs the code, saves the session and answers. It is the
// Host that isolates reach the world through. It knows no Caddy: the face that
// Caddy sees is package caddymodule.
//
//	e, err := edge.New(edge.Options{Verifier: v, Loader: loader, Runner: engine, …})
//	route := &edge.Route{}                        // token mode; Route.Task binds a task
//	info := &edge.RequestInfo{ClientIP: ip, Secure: r.TLS != nil}
//	err = e.Serve(w, r, route, info, next)        // next: what serves requests without a token of ours
//
// Serve answers errors itself, as JSON, unless the route passes them on; then
// they are *Answer. AnswerFor is the one place where an error becomes a status.
package edge

import (
	"cmp"
	"crypto/rand"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/webtask-edge/caddy-webtask/egress"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

// Options is what an Edge is made of. Loader and Runner are required; what is
// nil otherwise is not there: without a Verifier no token is accepted, without
// Sessions every use of ctx.session fails, without a Transport every fetch().
type Options struct {
	Verifier    *webtask.Verifier // opens tokens of ours
	Revocations *Revocations      // which of them were revoked
	Rates       RateStore         // counts for tokens with rate limits
	Sessions    SessionStore      // session state
	Loader      Loader            // code by reference
	Runner      Runner            // compiles and runs it

	Programs *Programs // compiled programs; nil: some of its own, of Runner
	Traffic  *Traffic  // what containers fetch per second; nil: one of its own

	// Transport sends the requests of fetch(), under its policy Egress, which
	// a task's net narrows. Set both or neither.
	Transport *egress.Transport
	Egress    *egress.Policy

	// Limits are the edge's own: the most that any route or token may have.
	// Zero fields take those of DefaultLimits.
	Limits webtask.Limits

	// RunDomain gives every container an origin of its own, such as
	// "*.run.example.com": a task that answers at its container's host there
	// is at home, not foreign. Empty: none.
	RunDomain string

	Logger  *zap.Logger // errors of requests and of the edge; nil: none
	Console *zap.Logger // console.* of scripts; nil: none

	Observer Observer         // metrics; nil: none
	Now      func() time.Time // nil: time.Now
	Rand     io.Reader        // of session secrets; nil: crypto/rand
}

// DefaultLimits are those of an edge whose Caddyfile sets none. A zero field
// (StreamTimeout, Memory, Isolates) leaves the matter to the runtime.
var DefaultLimits = webtask.Limits{
	Timeout:      30 * time.Second,
	WaitUntil:    30 * time.Second,
	CPUTime:      2 * time.Second,
	RequestBody:  10 << 20,
	ResponseBody: 64 << 20,
	CodeSize:     5 << 20,
	SessionTTL:   24 * time.Hour,
	SessionSize:  64 << 10,
	Sessions:     100_000,
	Subrequests:  50,
	FetchRate:    1000,
	FetchBytes:   64 << 20,
	Timers:       1000,
	LogBytes:     256 << 10,
}

// Edge serves requests. It is safe for concurrent use and owns no goroutine:
// what it is made of outlives it, so that a new configuration may make a new
// Edge over the same parts.
type Edge struct {
	opts      Options
	runDomain runDomain
	zstd      atomic.Int64 // answers that are or may have to be decoded, see maxZstd
	fetches   fetches
}

// New checks options and returns an Edge.
func New(opts Options) (*Edge, error) {
	switch {
	case opts.Loader == nil:
		return nil, errors.New("edge: Options.Loader is required")
	case opts.Runner == nil:
		return nil, errors.New("edge: Options.Runner is required")
	case (opts.Transport == nil) != (opts.Egress == nil):
		return nil, errors.New("edge: Options.Transport and Options.Egress belong together")
	}
	domain, err := parseRunDomain(opts.RunDomain)
	if err != nil {
		return nil, err
	}
	opts.Limits = withDefaults(opts.Limits, DefaultLimits)
	if opts.Logger == nil {
		opts.Logger = zap.NewNop()
	}
	if opts.Console == nil {
		opts.Console = zap.NewNop()
	}
	if opts.Observer == nil {
		opts.Observer = nullObserver{}
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Rand == nil {
		opts.Rand = rand.Reader
	}
	if opts.Programs == nil {
		if opts.Programs, err = NewPrograms(opts.Runner, 0); err != nil {
			return nil, err
		}
	}
	if opts.Traffic == nil {
		opts.Traffic = NewTraffic()
	}
	return &Edge{opts: opts, runDomain: domain}, nil
}

// withDefaults returns l with the fields that it leaves zero taken from d.
func withDefaults(l, d webtask.Limits) webtask.Limits {
	return webtask.Limits{
		Timeout:       cmp.Or(l.Timeout, d.Timeout),
		StreamTimeout: cmp.Or(l.StreamTimeout, d.StreamTimeout),
		WaitUntil:     cmp.Or(l.WaitUntil, d.WaitUntil),
		CPUTime:       cmp.Or(l.CPUTime, d.CPUTime),
		Memory:        cmp.Or(l.Memory, d.Memory),
		Isolates:      cmp.Or(l.Isolates, d.Isolates),
		RequestBody:   cmp.Or(l.RequestBody, d.RequestBody),
		ResponseBody:  cmp.Or(l.ResponseBody, d.ResponseBody),
		CodeSize:      cmp.Or(l.CodeSize, d.CodeSize),
		SessionTTL:    cmp.Or(l.SessionTTL, d.SessionTTL),
		SessionSize:   cmp.Or(l.SessionSize, d.SessionSize),
		Sessions:      cmp.Or(l.Sessions, d.Sessions),
		Subrequests:   cmp.Or(l.Subrequests, d.Subrequests),
		FetchRate:     cmp.Or(l.FetchRate, d.FetchRate),
		FetchBytes:    cmp.Or(l.FetchBytes, d.FetchBytes),
		Timers:        cmp.Or(l.Timers, d.Timers),
		LogBytes:      cmp.Or(l.LogBytes, d.LogBytes),
	}
}
