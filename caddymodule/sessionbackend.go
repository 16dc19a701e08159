package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/webtask-edge/caddy-webtask/sessionbackend"
)

func init() {
	caddy.RegisterModule(new(SessionBackend))
}

// SessionBackend gives each key, such as a user, a document or a room, a
// process of its own, and proxies to it: the first request for a key starts the
// process and waits until it is ready, all later ones and their WebSockets reach
// that same process, and it is stopped after a time without connections. There
// are never two of a key.
//
// It is a `reverse_proxy` whose upstream is the process; requests arrive there
// with the path they came with. These headers of the request are set for it,
// and whatever a client sends under these names is removed:
//
// Header | Value
// -------|------
// `X-Verified-Key` | The key
// `X-Verified-Backend` | The id of the process
// `X-Verified-Fence` | Its fencing token, which grows from process to process
// `X-Verified-Path` | The URI of the request as the client sent it
// `X-Verified-Username` | The user, where an authentication handler has found one
// `X-Verified-User-Data` | `{}`
//
// It publishes these placeholders:
//
// Placeholder | Description
// ------------|---------------
// `{http.session_backend.key}` | The key
// `{http.session_backend.id}` | The id of the process
// `{http.session_backend.fence}` | Its fencing token
// `{http.session_backend.node}` | The name of the server that has it, where there are several
type SessionBackend struct {
	// The name of the service, under which its processes outlive a reload. A
	// configuration can have each name once. Default: `default`.
	Name string `json:"name,omitempty"`

	// What tells one session from another. Placeholders of the request are
	// replaced; a request whose key is empty gets 404. Required.
	Key string `json:"key,omitempty"`

	// The container whose sessions `{http.session.id}` in the key is about: with it
	// each visitor's session, which the site's webtasks see as `ctx.session`, has a
	// process. A visitor without a session gets one. Default: as for a webtask's
	// route, `@` and the host of the site.
	Container string `json:"container,omitempty"`

	// What starts the processes: a module of the namespace `webtask.drivers`.
	// Required.
	DriverRaw json.RawMessage `json:"driver,omitempty" caddy:"namespace=webtask.drivers inline_key=type"`

	// How long a process goes on without a connection. Default: 1m; negative:
	// for ever.
	Idle caddy.Duration `json:"idle,omitempty"`

	// How long a process goes on whoever is connected. Default: for ever.
	Lifetime caddy.Duration `json:"lifetime,omitempty"`

	// How long a process may take until it is ready, and so how long a request
	// waits for it. Default: 30s.
	StartTimeout caddy.Duration `json:"start_timeout,omitempty"`

	// How long a process that was asked to end (SIGTERM) may take before it is
	// killed. Default: 10s.
	StopGrace caddy.Duration `json:"stop_grace,omitempty"`

	// When a process is ready: `tcp`, as soon as it accepts connections; `http`,
	// when it answers a GET request for `ready_path` with a status below 400;
	// `notify`, when it says so as sd_notify(3) does. Default: `tcp`.
	Ready string `json:"ready,omitempty"`

	// The path of `http` readiness.
	ReadyPath string `json:"ready_path,omitempty"`

	// How many processes there may be at once. Default: 100.
	MaxBackends int `json:"max_backends,omitempty"`

	// What a request gets that would need one more: `refuse`, 503 with
	// Retry-After; `evict`, the place of the process that has been idle longest,
	// or 503 if none is. Default: `refuse`.
	OnFull string `json:"on_full,omitempty"`

	// How many processes the requests of one client address (or /64 of IPv6)
	// may start in a minute; 429 beyond. Default: 60; negative: any number.
	ClientStarts int `json:"client_starts,omitempty"`

	// Other origins whose pages may open WebSockets here, such as
	// `https://app.example.com`; `*` for all. Default: the request's own host
	// only. Clients that send no Origin are no browsers and may.
	Origins []string `json:"origins,omitempty"`

	// Who may come here: `none`, everybody that the routes let through; `token`,
	// requests with a token for the key, as `session_api` gives out, in
	// `Authorization: Bearer …` or in the query parameter `token`. The process does
	// not see it. Default: `none`.
	Auth string `json:"auth,omitempty"`

	// Variables of the environment that `session_api control` may set when it starts
	// a process. Default: none.
	AllowEnv []string `json:"allow_env,omitempty"`

	// Run even where `templates` or `intercept` would process what the process
	// answers.
	TrustResponses bool `json:"trust_responses,omitempty"`

	// How to proxy: the JSON of a `reverse_proxy` handler, without upstreams, load
	// balancing, health checks and circuit breaker.
	Proxy *reverseproxy.Handler `json:"proxy,omitempty"`

	app       *App
	container string // Container, or its default
	byVisitor bool   // the key has sessionPlaceholder in it
	host      *BackendHost
	service   *sharedService
	driver    sessionbackend.Driver
	program   []string // names of what the driver runs
	logger    *zap.Logger
}

// defaultService is the name of a service that has none.
const defaultService = "default"

// CaddyModule returns the Caddy module information.
func (*SessionBackend) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.session_backend",
		New: func() caddy.Module { return new(SessionBackend) },
	}
}

// Provision checks the configuration and takes hold of the service. It starts
// nothing.
func (b *SessionBackend) Provision(ctx caddy.Context) error {
	at := placeUnderway(ctx.Modules())
	if err := b.provision(ctx, at); err != nil {
		return b.at(at, err)
	}
	return nil
}

// at adds to an error which directive it is about.
func (b *SessionBackend) at(at place, err error) error {
	name := "the directive session_backend " + b.Name
	if where := at.String(); where != "" {
		name += " at " + where
	}
	return fmt.Errorf("%s: %w", strings.TrimSpace(name), err)
}

func (b *SessionBackend) provision(ctx caddy.Context, at place) error {
	if b.Name == "" {
		b.Name = defaultService
	}
	b.logger, b.container = ctx.Logger(), b.Container
	b.byVisitor = strings.Contains(b.Key, sessionPlaceholder)
	if err := b.check(); err != nil {
		return err
	}
	if err := b.checkPlace(at); err != nil {
		return err
	}
	app, err := ctx.App("webtask")
	if err != nil {
		return err
	}
	b.app = app.(*App)
	if b.host, err = b.app.holdBackends(b); err != nil {
		return err
	}
	host := b.host
	module, err := ctx.LoadModule(b, "DriverRaw")
	if err != nil {
		return fmt.Errorf("driver: %w", err)
	}
	driver, ok := module.(BackendDriver)
	if !ok {
		return fmt.Errorf("driver: %T starts no session backends", module)
	}
	if _, mute := module.(MuteDriver); mute && b.Ready == string(sessionbackend.ReadyNotify) {
		return errors.New("ready: backends of this driver have nowhere to say that they are ready, as notify has them do; write tcp or http <path>")
	}
	if b.driver, err = driver.OpenDriver(host, time.Duration(b.StopGrace)); err != nil {
		return err
	}
	if named, ok := module.(BackendProgram); ok {
		b.program = named.Program()
	}
	if b.Auth == authToken {
		if err := b.app.needBackendTokens(); err != nil {
			return err
		}
	}
	if b.service, err = holdService(&b.app.shared, b.Name, host); err != nil {
		return err
	}
	return b.provisionProxy(ctx)
}

// holdBackends notes a service of this configuration.
func (a *App) holdBackends(b *SessionBackend) (*BackendHost, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if slices.ContainsFunc(a.backends, func(other *SessionBackend) bool { return other.Name == b.Name }) {
		return nil, fmt.Errorf("there is another service called %q; write a name of its own, as in `session_backend docs /docs/* { … }`", b.Name)
	}
	a.backends = append(a.backends, b)
	if len(a.backends) == 1 {
		if err := drainWhenStopping(a.ctx); err != nil {
			return nil, err
		}
	}
	settings, err := a.clusterSettings()
	if err != nil {
		return nil, err
	}
	if settings != nil {
		if err := a.needBackendTokens(); err != nil { // by which edges know each other
			return nil, err
		}
	}
	return holdBackendHost(&a.shared, settings)
}

// config is how the service is to treat its backends.
func (b *SessionBackend) config() sessionbackend.Config {
	return sessionbackend.Config{
		Driver:       b.driver,
		Idle:         time.Duration(b.Idle),
		Lifetime:     time.Duration(b.Lifetime),
		StartTimeout: time.Duration(b.StartTimeout),
		StopGrace:    time.Duration(b.StopGrace),
		Ready:        sessionbackend.Readiness{Kind: sessionbackend.ReadyKind(b.Ready), Path: b.ReadyPath},
		MaxBackends:  b.MaxBackends,
		Evict:        b.OnFull == onFullEvict,
		ClientStarts: b.ClientStarts,
	}
}

// configureServices tells services how this configuration treats their backends.
func (a *App) configureServices() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, b := range a.backends {
		if err := b.service.apply(a, b, b.config()); err != nil {
			return err
		}
		if cluster := b.host.cluster; cluster != nil {
			if err := cluster.use(a.verifier.Keyring()); err != nil {
				return err
			}
		}
	}
	return nil
}

// retractServices takes that back.
func (a *App) retractServices() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, b := range a.backends {
		if b.service == nil {
			continue // it was not provisioned
		}
		b.service.retract(a)
		if before := b.service.inForce(); before != nil && b.host.cluster != nil && before.app.verifier != nil {
			if err := b.host.cluster.use(before.app.verifier.Keyring()); err != nil {
				a.logger.Error("the keys of servers that share session backends", zap.Error(err))
			}
		}
	}
}

// graceOfServices is how long the backends of this configuration may take to end.
func (a *App) graceOfServices() (longest time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, b := range a.backends {
		if b.service != nil {
			longest = max(longest, b.service.StopGrace())
		}
	}
	return longest
}

// checkPlace refuses to stand where what backends answer would be processed.
func (b *SessionBackend) checkPlace(at place) error {
	if b.TrustResponses || at.processors == nil {
		return nil
	}
	return fmt.Errorf("%w, or write trust_responses in its block if they are trusted with it", errProcessed(at))
}

// errProcessed says that what session backends answer would be processed there.
func errProcessed(at place) error {
	return fmt.Errorf("it stands under %s, which would process what session backends answer; keep them apart with `handle` blocks",
		strings.Join(at.processors, " and "))
}

// bind tells the handler where it stands.
func (b *SessionBackend) bind(at place) error {
	if err := b.checkPlace(at); err != nil {
		return b.at(at, err)
	}
	if b.container == "" {
		b.container = at.container()
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*SessionBackend)(nil)
	_ caddyhttp.MiddlewareHandler = (*SessionBackend)(nil)
)
