package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/webtask-edge/caddy-webtask/edge"
	"github.com/webtask-edge/caddy-webtask/jsruntime/source"
	"github.com/webtask-edge/caddy-webtask/sessionbackend"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

func init() {
	caddy.RegisterModule(new(App))
}

// App holds what all webtask handlers of a server share: the keys of tokens,
// the store, the isolates, the cache of code, and the limits. It need not be
// configured: handlers use it with its defaults.
//
// Sizes and durations are strings with a unit, such as `"64MiB"` and `"5s"`.
type App struct {
	// A file with the keys that sign tokens: a JSON Web Key Set (RFC 7517) of
	// `oct` keys, as `caddy webtask keygen` prints it. Nobody but its owner may
	// be able to read it. Default: made on first start in Caddy's configured
	// storage, so that servers which share a storage share the keys; with the
	// `redis` store and no shared storage a file is required.
	Keys string `json:"keys,omitempty"`

	// Where session state, revoked tokens and rate windows are kept. Default:
	// a file in Caddy's data directory.
	Store *Store `json:"store,omitempty"`

	// How isolates are kept apart. `process`, the default, runs them in
	// sandboxed worker processes, one per container and kind of task; `process
	// strict` refuses to start where a layer of the sandbox is missing. `none`
	// runs them in the server's own process, which is for code that one
	// trusts: JavaScript can exhaust the memory of the process.
	Isolation string `json:"isolation,omitempty"`

	// What requests, and the isolates of a container, may take at most. Routes
	// and tokens can only narrow these. See the Caddyfile reference for names
	// and defaults.
	Limits webtask.Limits `json:"limits,omitzero"`

	// How many requests of one container may wait for an isolate, and how
	// long. Those beyond get 503 with Retry-After.
	Queue *Queue `json:"queue,omitempty"`

	// Where the code of tokens may come from: URL patterns in which a last `*`
	// stands for anything. Default: any https URL.
	CodeAllow []string `json:"code_allow,omitempty"`

	// How long fetched code is used before its origin is asked again. Default:
	// 5m. While the origin is down it is used for 24 hours at most.
	CodeMaxAge caddy.Duration `json:"code_max_age,omitempty"`

	// What scripts may reach: host names, `*.` names, addresses and prefixes,
	// each with a port or without (80 and 443). Default: public addresses on
	// ports 80 and 443.
	EgressAllow []string `json:"egress_allow,omitempty"`

	// A wildcard domain, `*.run.example.com`, that gives each container an
	// origin of its own, where its tasks are not foreign to the site.
	RunDomain string `json:"run_domain,omitempty"`

	// `strict` refuses all tokens with 503 once revocations could not be read
	// for 10 minutes. Default: the last known set holds.
	Revocation string `json:"revocation,omitempty"`

	// Where other servers reach this one that share its session backends, as
	// host:port: the backend of a key is at the server that was asked for it first, and
	// requests at others go there. It takes the `redis` store. Default: this server is
	// alone, and has a backend of its own for each key.
	PeerListen string `json:"peer_listen,omitempty"`

	// What others are told instead: host:port. Default: the host of `peer_listen`, or
	// that by which this machine reaches Redis.
	PeerAddress string `json:"peer_address,omitempty"`

	// The name of this server among those: another one than theirs, of letters, digits,
	// dots, hyphens and underscores. Default: the name of the machine.
	Node string `json:"node,omitempty"`

	// How long a server that fell silent keeps its session backends, the same for all
	// servers. Default: 15s.
	Lease caddy.Duration `json:"lease,omitempty"`

	ctx    caddy.Context
	logger *zap.Logger

	shared    holdings
	store     *sharedStore
	engine    *sharedEngine
	loader    *sharedLoader
	verifier  *sharedVerifier // nil until Start when the keys are in the storage
	usesToken atomic.Bool     // a handler in token mode, or a matcher, is there
	usesKeys  atomic.Bool     // a handler that knows tokens of session backends is there
	tokens    *sessionbackend.Tokens
	mu        sync.Mutex // guards handlers and backends
	handlers  []*Handler
	backends  []*SessionBackend

	life    lifetime
	gone    chan struct{} // closed once what was shared is given back
	started chan struct{} // closed when edge is set, or never will be
	once    sync.Once     // of closing started
	edge    atomic.Pointer[edge.Edge]
}

// Queue bounds the requests that wait for an isolate.
type Queue struct {
	// How many requests of one container may wait. Default: 1024.
	Length int `json:"length,omitempty"`

	// How long each may. Default: 5s.
	Wait caddy.Duration `json:"wait,omitempty"`
}

const (
	// revocationsStaleAfter is what `revocation strict` means.
	revocationsStaleAfter = 10 * time.Minute

	// startTimeout bounds what Start waits for: the storage's keys and the
	// first reading of revocations. A server must come up without its store.
	startTimeout = 10 * time.Second
)

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "webtask",
		New: func() caddy.Module { return new(App) },
	}
}

// Provision checks the configuration and takes hold of what it shares with
// others. It goes nowhere: nothing is connected, opened or fetched.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx, a.logger = ctx, ctx.Logger()
	a.started, a.gone = make(chan struct{}), make(chan struct{})
	a.life.begin(func() { go a.giveBack() })

	if err := a.check(); err != nil {
		return inGlobalOption(err)
	}
	if err := metrics.register(ctx.GetMetricsRegistry()); err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	return inGlobalOption(a.hold())
}

func inGlobalOption(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("the global option webtask: %w", err)
}

// check reports what is wrong with the configuration by itself.
func (a *App) check() error {
	switch a.Isolation {
	case "", isolationNone, isolationProcess, isolationStrict:
	default:
		return fmt.Errorf("isolation: %q is unknown; it can be process, process strict or none", a.Isolation)
	}
	if a.Limits.Memory != 0 && !a.usesWorkers() {
		return errMemory
	}
	if a.Revocation != "" && a.Revocation != "strict" {
		return fmt.Errorf("revocation: %q is unknown; it can be strict, or left out", a.Revocation)
	}
	if a.Queue != nil && (a.Queue.Length < 0 || a.Queue.Wait < 0) {
		return errors.New("queue: length and wait cannot be negative")
	}
	for _, check := range []error{a.checkCluster(), checkEgress(a.EgressAllow), source.CheckAllow(a.CodeAllow), edge.CheckRunDomain(a.RunDomain)} {
		if check != nil {
			return check
		}
	}
	return nil
}

// Values of the option isolation.
const (
	isolationNone    = "none"
	isolationProcess = "process"
	isolationStrict  = "process strict"
)

// usesWorkers reports whether isolates run in worker processes.
func (a *App) usesWorkers() bool {
	return a.Isolation != isolationNone
}

// hold takes what this configuration shares with those before and after it.
func (a *App) hold() error {
	store, err := a.Store.resolve()
	if err != nil {
		return err
	}
	a.warnOfPasswords()
	strict := time.Duration(0)
	if a.Revocation == "strict" {
		strict = revocationsStaleAfter
	}
	if a.store, err = holdStore(&a.shared, storeKey{store, strict}); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	var queue Queue
	if a.Queue != nil {
		queue = *a.Queue
	}
	runs := engineKey{Queue: queue, Workers: a.usesWorkers(), Strict: a.Isolation == isolationStrict, Memory: a.Limits.Memory}
	if a.engine, err = holdEngine(&a.shared, runs); err != nil {
		return err
	}
	a.loader, err = holdLoader(&a.shared, loaderKey{
		Engine:      runs,
		CodeAllow:   a.CodeAllow,
		CodeMaxAge:  a.CodeMaxAge,
		CodeSize:    a.Limits.CodeSize,
		EgressAllow: a.EgressAllow,
		CacheDir:    codeCacheDir(),
	}, a.engine)
	if err != nil {
		return err
	}
	if a.Keys == "" {
		return nil
	}
	path := a.Keys
	if err := ResolvePlaceholders(caddy.NewReplacer(), &path); err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	ring, err := readKeyringFile(path)
	if err != nil {
		return err
	}
	a.verifier, err = holdVerifier(&a.shared, ring)
	return err
}

// warnOfPasswords warns of passwords that the configuration holds itself.
func (a *App) warnOfPasswords() {
	if a.Store == nil {
		return
	}
	for option, value := range map[string]string{"password": a.Store.Password, "sentinel_password": a.Store.SentinelPassword} {
		if value != "" && !isReference(value) {
			a.logger.Warn("the configuration itself holds a password of the store; anyone who can read the configuration sees it",
				zap.String("option", option), zap.String("instead", "{env.NAME} or {file./absolute/path}"))
		}
	}
}

// needKeys notes that tokens will be opened. Handlers call it when they are
// provisioned.
func (a *App) needKeys() error {
	if err := a.checkSharedKeys(a.ctx.Storage()); err != nil {
		return err
	}
	a.usesToken.Store(true)
	return nil
}

// checkSharedKeys refuses keys that other edges of the same store would not
// have: tokens made at one would be strangers at the next.
func (a *App) checkSharedKeys(storage certmagic.Storage) error {
	if a.Keys == "" && a.Store != nil && a.Store.Engine == "redis" && !isShared(storage) {
		return errors.New("keys: edges that share a Redis must share their keys, and Caddy's storage is local files; " +
			"name a file with `keys <file>` in the global option webtask (caddy webtask keygen makes one), or configure a shared `storage`")
	}
	return nil
}

// Start makes the edge, and refuses routes that would not be safe.
func (a *App) Start() error {
	sharedLog.use(a.logger)
	ctx, cancel := context.WithTimeout(a.ctx, startTimeout)
	defer cancel()
	if a.usesToken.Load() || a.usesKeys.Load() {
		if err := a.loadKeys(ctx); err != nil {
			return err
		}
	}
	if a.usesToken.Load() {
		a.store.revocations.Start(ctx)
	}
	if err := a.deriveBackendKeys(); err != nil {
		return err
	}
	options := edge.Options{
		Rates:     a.store,
		Sessions:  a.store,
		Loader:    a.loader,
		Runner:    a.engine,
		Programs:  a.engine.programs,
		Traffic:   a.engine.traffic,
		Transport: a.loader.transport,
		Egress:    a.loader.policy,
		Limits:    a.Limits,
		RunDomain: a.RunDomain,
		Logger:    a.logger,
		Console:   a.logger.Named("console"),
		Observer:  metrics,
	}
	if a.verifier != nil {
		options.Verifier = a.verifier.Verifier
		options.Revocations = a.store.revocations
	}
	e, err := edge.New(options)
	if err != nil {
		return err
	}
	if err := a.bindRoutes(); err != nil {
		return err
	}
	if err := a.configureServices(); err != nil {
		return err
	}
	a.warnOfTokens()
	a.engine.announce(a.logger)
	a.edge.Store(e)
	a.once.Do(func() { close(a.started) })
	raiseGCPercent(a.logger)
	a.warm(ctx)
	return nil
}

var warnOfTokensOnce sync.Once

// warnOfTokens says once per process what token mode means in this build.
func (a *App) warnOfTokens() {
	a.mu.Lock()
	tokenMode := slices.ContainsFunc(a.handlers, func(h *Handler) bool { return h.Code == nil })
	a.mu.Unlock()
	if tokenMode && !a.usesWorkers() {
		warnOfTokensOnce.Do(func() {
			a.logger.Warn("isolates run in the server's own process (isolation none), which code can exhaust or crash; give tokens only to those whose code you trust")
		})
	}
}

// loadKeys takes the keys from Caddy's storage, if no file has them.
func (a *App) loadKeys(ctx context.Context) error {
	if a.verifier != nil {
		return nil
	}
	ring, err := storedKeyring(ctx, a.ctx.Storage())
	if err != nil {
		return err
	}
	a.verifier, err = holdVerifier(&a.shared, ring)
	return err
}

// running returns the edge, waiting for Start if need be: Caddy may start the
// HTTP server first. It is nil when this configuration never started.
func (a *App) running(ctx context.Context) *edge.Edge {
	if e := a.edge.Load(); e != nil {
		return e
	}
	select {
	case <-a.started:
	case <-ctx.Done():
	}
	return a.edge.Load()
}

// Stop leaves session backends to another configuration, if there is one. Requests
// of this one may still run, and other apps stop in any order: see Cleanup.
func (a *App) Stop() error {
	a.retractServices()
	return nil
}

// Cleanup gives back what was shared once the last request has ended, and
// after a reload not before lateRequests have passed. When the process exits it
// waits for that, without those.
func (a *App) Cleanup() error {
	if a.started == nil {
		return nil // was not provisioned
	}
	a.once.Do(func() { close(a.started) })
	running := caddy.ActiveContext().Context != nil && !caddy.Exiting()
	if running && a.edge.Load() != nil {
		retired.keep(&a.life, lateRequests)
		return nil
	}
	if !running {
		retired.leave()
	}
	a.life.leave()
	if caddy.Exiting() {
		wait := drainTimeout + a.graceOfServices()
		select {
		case <-a.gone:
		case <-time.After(wait):
			a.logger.Warn("some requests or session backends did not end in time", zap.Duration("waited", wait))
		}
	}
	return nil
}

func (a *App) giveBack() {
	defer close(a.gone)
	if e := a.edge.Load(); e != nil {
		e.Forget()
	}
	a.shared.drop(a.logger)
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
