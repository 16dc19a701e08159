package jsruntime

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Options configure an Engine. All but Web and Node may be left zero.
type Options struct {
	Web  WebPlatform  // required
	Node NodePlatform // required

	// CPUSlots is how many isolates of one container may execute JavaScript at
	// the same instant; those that wait for something hold none. Default:
	// twice GOMAXPROCS, at least 4.
	CPUSlots int

	// MaxIsolates bounds the isolates of the whole engine, idle ones included.
	// Default: what MemoryBudget carries.
	MaxIsolates int

	// MemoryBudget is how many bytes of heap isolates may take together, by
	// estimate. Default: half of the memory that the process may use.
	MemoryBudget int64

	// QueueLength is how many requests of one container may wait for an
	// isolate, default 1024, and QueueWait how long, default 5s. What exceeds
	// either fails with a *QueueError.
	QueueLength int
	QueueWait   time.Duration

	// RecycleAfter is how many requests an isolate serves before it is
	// replaced; default 1000. IdleTimeout is after how long without a request
	// it is thrown away; default 5m.
	RecycleAfter int
	IdleTimeout  time.Duration

	// Stuck is told of a turn that goes on although it was interrupted: a
	// built-in function of the language cannot be. Nothing but the end of the
	// process stops it. It is called on the watchdog's goroutine; req is nil
	// while a program is being loaded. Nil: nobody is told.
	Stuck func(req *Request)

	// CPUTime returns how much CPU time the process has taken. A turn is over its
	// limit when both the clock and that time say so: a process that does not get
	// the CPU is not to blame. Default: the system's, or the time of Clock, if
	// there is one.
	CPUTime func() time.Duration

	Clock    Clock       // default: the system's
	Logger   *zap.Logger // default: none
	Observer Observer    // default: none
}

// Clock is the source of time of an Engine.
type Clock interface {
	Now() time.Time
	// AfterFunc calls f on a goroutine of its own once d has passed.
	AfterFunc(d time.Duration, f func()) Timer
}

// Timer is a pending call of Clock.AfterFunc; *time.Timer is one.
type Timer interface {
	Stop() bool
	Reset(d time.Duration) bool
}

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }
func (systemClock) AfterFunc(d time.Duration, f func()) Timer {
	return time.AfterFunc(d, f)
}

// Observer is told what an Engine does, for metrics. Its methods are called on
// the way of requests, concurrently, and must return at once.
type Observer interface {
	// QueueWaited reports how long a request waited for an isolate. Those
	// that need not wait are not reported.
	QueueWaited(container string, wait time.Duration)
	// Compiled reports one compilation.
	Compiled(took time.Duration, err error)
	// IsolateCreated reports a new isolate and how long it took to load.
	IsolateCreated(container string, took time.Duration)
	// IsolateDiscarded reports the end of one: "recycled", "idle", "evicted",
	// "flushed", "limit", "error", "pending" or "closed".
	IsolateDiscarded(container, reason string)
}

// Engine runs programs in pooled isolates.
type Engine struct {
	options  Options
	clock    Clock
	logger   *zap.Logger
	observer Observer
	watchdog *watchdog

	active  atomic.Int64 // requests and their goroutines
	queued  atomic.Int64 // requests that wait for an isolate
	starved atomic.Bool  // somebody found no room in the budget
	budget  budget
	closed  atomic.Bool   // no new requests
	killed  atomic.Bool   // nor any old ones
	drained chan struct{} // signalled when active becomes 0 after closed

	mu         sync.Mutex // taken before that of any container
	containers map[string]*container
}

// NewEngine returns an engine that runs until Close.
func NewEngine(options Options) *Engine {
	setDefault(&options.CPUSlots, max(4, 2*runtime.GOMAXPROCS(0)))
	setDefault(&options.QueueLength, 1024)
	setDefault(&options.QueueWait, 5*time.Second)
	setDefault(&options.RecycleAfter, 1000)
	setDefault(&options.IdleTimeout, 5*time.Minute)
	setDefault(&options.MemoryBudget, availableMemory()/2)
	if options.CPUTime == nil && options.Clock == nil {
		options.CPUTime = processCPUTime
	}
	setDefault[Clock](&options.Clock, systemClock{})
	e := &Engine{
		options:    options,
		clock:      options.Clock,
		logger:     options.Logger,
		observer:   options.Observer,
		drained:    make(chan struct{}, 1),
		containers: make(map[string]*container),
	}
	if e.logger == nil {
		e.logger = zap.NewNop()
	}
	e.budget.init(options.MaxIsolates, options.MemoryBudget)
	e.watchdog = newWatchdog(e)
	return e
}

// arrive counts a request in; false: the engine is closed.
func (e *Engine) arrive() bool {
	e.active.Add(1)
	if e.closed.Load() {
		e.leave()
		return false
	}
	return true
}

func (e *Engine) leave() {
	if e.active.Add(-1) == 0 && e.closed.Load() {
		select {
		case e.drained <- struct{}{}:
		default:
		}
	}
}

// poolOf returns the pool of spec's key.
func (e *Engine) poolOf(spec *Spec) *pool {
	if p := spec.pool.Load(); p != nil && p.container.engine == e && !p.gone.Load() {
		return p
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.containers[spec.Container]
	if c == nil {
		c = &container{name: spec.Container, engine: e, pools: make(map[string]*pool)}
		c.slots.init(e.options.CPUSlots)
		e.containers[spec.Container] = c
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.pools[spec.Key]
	if p == nil {
		p = &pool{container: c, spec: spec, lastUsed: e.watchdog.now.Load()}
		c.pools[spec.Key] = p
	}
	spec.pool.Store(p)
	return p
}

func (e *Engine) allContainers() []*container {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := make([]*container, 0, len(e.containers))
	for _, c := range e.containers {
		all = append(all, c)
	}
	return all
}

// shrink drops what nobody has used since.
func (e *Engine) shrink(since int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for name, c := range e.containers {
		c.mu.Lock()
		c.shrink(since)
		if len(c.pools) == 0 && c.count == 0 && len(c.waiting) == 0 {
			delete(e.containers, name)
		}
		c.mu.Unlock()
	}
}

// reclaim makes room for a container that has no isolate to give up: it drops
// the isolate of any other that was used longest ago.
func (e *Engine) reclaim() {
	var oldest *container
	var used int64
	all := e.allContainers()
	for _, c := range all {
		if at, ok := c.oldestUse(); ok && (oldest == nil || at < used) {
			oldest, used = c, at
		}
	}
	if oldest == nil {
		return
	}
	oldest.mu.Lock()
	defer oldest.mu.Unlock()
	oldest.evict(nil)
}

// Close refuses new requests, waits until those that run have ended, bodies
// and waitUntil included, and frees all isolates. When ctx ends first, what
// still runs is interrupted; Close then fails if something outlives that,
// which only a built-in function of the language can.
func (e *Engine) Close(ctx context.Context) error {
	if e.closed.Swap(true) {
		return ErrClosed
	}
	err := e.drain(ctx)
	if err != nil {
		e.kill()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeGrace)
		defer cancel()
		err = e.drain(grace)
	}
	e.flush("", "", discardClosed)
	e.watchdog.close()
	if err != nil {
		return fmt.Errorf("closing the runtime: %d requests did not end: %w", e.active.Load(), err)
	}
	return nil
}

// closeGrace is how long interrupted requests have to end.
const closeGrace = 2 * time.Second

func (e *Engine) drain(ctx context.Context) error {
	for e.active.Load() > 0 {
		select {
		case <-e.drained:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// kill ends all requests.
func (e *Engine) kill() {
	e.killed.Store(true)
	for _, c := range e.allContainers() {
		c.mu.Lock()
		for len(c.waiting) > 0 {
			c.dequeue(0).grant <- grant{err: ErrClosed}
		}
		c.mu.Unlock()
	}
	e.watchdog.kickAll()
	e.watchdog.kick()
}

// PoolStats describes the isolates of one key.
type PoolStats struct {
	Key       string `json:"key"`
	Container string `json:"container"`
	Name      string `json:"name,omitempty"`
	Program   string `json:"program"`  // the author's entry
	Idle      int    `json:"idle"`     // isolates that wait for a request
	Busy      int    `json:"busy"`     // isolates that serve one, or are being made
	Queued    int    `json:"queued"`   // requests that wait for an isolate
	Requests  uint64 `json:"requests"` // so far
	Created   uint64 `json:"created"`  // isolates so far
}

// Stats returns the pools, ordered by container, name and key.
func (e *Engine) Stats() []PoolStats {
	var stats []PoolStats
	for _, c := range e.allContainers() {
		stats = c.stats(stats)
	}
	slices.SortFunc(stats, func(a, b PoolStats) int {
		return cmp.Or(strings.Compare(a.Container, b.Container), strings.Compare(a.Name, b.Name), strings.Compare(a.Key, b.Key))
	})
	return stats
}

// Flush discards the isolates that match: those of a key, those of a
// container, or all when both are empty. Busy ones end with their request. It
// returns how many there were.
func (e *Engine) Flush(container, key string) (flushed int) {
	return e.flush(container, key, discardFlushed)
}

func (e *Engine) flush(container, key, reason string) (flushed int) {
	for _, c := range e.allContainers() {
		if container == "" || container == c.name {
			flushed += c.flush(key, reason)
		}
	}
	return flushed
}
