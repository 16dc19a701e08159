package source

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"
	"go.uber.org/zap"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

const (
	// failedFor is how long a URL that failed is not asked for again, so that
	// a dead one cannot be hammered through the edge.
	failedFor = 2 * time.Second

	// exhaustedFor is how long code that ended its bundler is not tried again
	// while it stays as it is: each time costs all that a bundler may take.
	exhaustedFor = 30 * time.Second

	// retryAfter is how often an origin that is down is tried again, at most,
	// while the last good code is served.
	retryAfter = 10 * time.Second

	// entryOverhead is what an entry weighs beside its code.
	entryOverhead = 2 << 10
)

// Loader loads code and remembers it. It is safe for concurrent use.
type Loader struct {
	fetcher           fetcher
	disk              *diskCache // nil: none
	maxAge, staleFor  time.Duration
	codeSize          int64
	fetchTimeout      time.Duration
	revalidateTimeout time.Duration
	fileCheck         time.Duration
	external          []string
	bundler           Bundler
	bundlers          *bundlers
	check             func(ctx context.Context, bundle *Bundle) error
	observe           func(what, outcome string, took time.Duration)
	log               *zap.Logger
	clock             func() time.Time

	// Whoever holds a token names URLs, so their entries are bounded. Those of
	// files and inline code are as many as the configuration has, and must not
	// be pushed out: with one would go its last good version.
	urls   *otter.Cache[webtask.CodeRef, *entry]
	routes sync.Map // webtask.CodeRef to *entry

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // flights
	mu     sync.Mutex     // orders the start of flights and Close
}

// NewLoader checks the options; the error names the one that is wrong.
func NewLoader(options Options) (*Loader, error) {
	allow, err := parseAllow(options.Allow)
	if err != nil {
		return nil, err
	}
	for name, d := range map[string]time.Duration{
		"code_max_age": options.MaxAge, "StaleFor": options.StaleFor, "FetchTimeout": options.FetchTimeout,
		"RevalidateTimeout": options.RevalidateTimeout, "FileCheck": options.FileCheck, "BundleWait": options.BundleWait,
	} {
		if d < 0 {
			return nil, fmt.Errorf("code loader: %s is negative (%v)", name, d)
		}
	}
	for name, n := range map[string]int64{"code_size": options.CodeSize, "CacheBytes": options.CacheBytes, "MemoryBytes": options.MemoryBytes, "Bundlers": int64(options.Bundlers)} {
		if n < 0 {
			return nil, fmt.Errorf("code loader: %s is negative (%d)", name, n)
		}
	}
	l := &Loader{
		maxAge:            withDefault(options.MaxAge, 5*time.Minute),
		staleFor:          withDefault(options.StaleFor, 24*time.Hour),
		codeSize:          withDefault(options.CodeSize, 5<<20),
		fetchTimeout:      withDefault(options.FetchTimeout, 10*time.Second),
		revalidateTimeout: withDefault(options.RevalidateTimeout, 2*time.Second),
		fileCheck:         withDefault(options.FileCheck, 250*time.Millisecond),
		external:          options.External,
		bundler:           options.Bundler,
		bundlers:          newBundlers(int(withDefault(int64(options.Bundlers), int64(max(2, runtime.GOMAXPROCS(0))))), withDefault(options.BundleWait, 5*time.Second)),
		check:             options.Check,
		observe:           options.Observe,
		log:               options.Logger,
		clock:             options.Clock,
	}
	if l.bundler == nil {
		l.bundler = InProcess{}
	}
	if l.log == nil {
		l.log = zap.NewNop()
	}
	if l.clock == nil {
		l.clock = time.Now
	}
	if l.observe == nil {
		l.observe = func(string, string, time.Duration) {}
	}
	l.fetcher = fetcher{transport: options.Transport, allow: allow, clock: l.clock}
	if options.CacheDir != "" {
		if l.disk, err = openDiskCache(options.CacheDir, withDefault(options.CacheBytes, 256<<20), l.log); err != nil {
			return nil, err
		}
	}
	l.urls, err = otter.New(&otter.Options[webtask.CodeRef, *entry]{
		MaximumWeight: uint64(withDefault(options.MemoryBytes, 128<<20)),
		Weigher:       func(_ webtask.CodeRef, e *entry) uint32 { return e.weight.Load() },
	})
	if err != nil {
		return nil, fmt.Errorf("code loader: %w", err)
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l, nil
}

func withDefault[T int64 | time.Duration](value, otherwise T) T {
	if value == 0 {
		return otherwise
	}
	return value
}

// Load returns the code that ref names, at the latest version known to be
// good. container is who asks: what of its code is new waits for a bundler among
// itself first. integrity, if not empty, must be that of the bundle; of limits
// only CodeSize counts, and can only narrow the loader's.
//
// Errors are *CompileError, *FetchError, *IntegrityError, *NotAllowedError,
// *TooLargeError, *BusyError, what Options.Check returned, ctx's, or ErrClosed.
func (l *Loader) Load(ctx context.Context, container string, ref webtask.CodeRef, integrity string, limits webtask.Limits) (*Bundle, error) {
	e := l.entry(ref)
	st := e.state.Load()
	if st == nil || l.clock().UnixNano() >= e.due.Load() {
		var err error
		if st, err = l.refresh(ctx, container, e, st); err != nil {
			return nil, err
		}
	}
	b := st.bundle
	switch {
	case b == nil:
		return nil, st.err
	case integrity != "" && integrity != b.Integrity && !sameIntegrity(integrity, b.Integrity):
		return nil, &IntegrityError{Name: b.Name, Want: integrity, Got: b.Integrity}
	case limits.CodeSize > 0 && b.Size > limits.CodeSize:
		return nil, &TooLargeError{Name: b.Name, Limit: limits.CodeSize}
	}
	return b, nil
}

// Close ends what is under way and waits for it.
func (l *Loader) Close() error {
	l.mu.Lock()
	l.cancel()
	l.mu.Unlock()
	l.wg.Wait()
	l.urls.StopAllGoroutines()
	return nil
}

// bundle runs the bundler and, unless the result is the last good one, the
// check.
func (l *Loader) bundle(ctx context.Context, container string, o origin, last *Bundle) (*Bundle, error) {
	started := l.clock()
	b, err := l.build(ctx, container, o)
	if err == nil && l.check != nil && (last == nil || last.Digest != b.Digest) {
		err = l.check(ctx, b)
	}
	var fetch *FetchError
	switch {
	case err == nil:
		l.observe("bundle", "ok", l.clock().Sub(started))
		return b, nil
	case !errors.As(err, &fetch) && !isBusy(err): // else there was nothing to bundle
		l.observe("bundle", "error", l.clock().Sub(started))
	}
	return nil, err
}

// problemFields describe an error in the log, with its frame if it has one.
func problemFields(err error, fields ...zap.Field) []zap.Field {
	fields = append(fields, zap.Error(err))
	if ce := (*CompileError)(nil); errors.As(err, &ce) && ce.Frame != "" {
		fields = append(fields, zap.String("frame", ce.Frame))
	}
	return fields
}
