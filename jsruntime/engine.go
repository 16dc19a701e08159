package jsruntime

import (
	"context"
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
	// either fails at once with a *QueueError.
	QueueLength int
	QueueWait   time.Duration

	// RecycleAfter is how many requests an isolate serves before it is
	// replaced; default 1000. IdleTimeout is after how long without a request
	// it is thrown away; default 5m.
	RecycleAfter int
	IdleTimeout  time.Duration

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

// Observer is told what an Engine does, for metrics. Its methods are called on
// the way of requests, concurrently, and must return at once.
type Observer interface {
	// QueueWaited reports how long a request waited for an isolate.
	QueueWaited(container string, wait time.Duration)
	// Compiled reports one compilation.
	Compiled(took time.Duration, err error)
	// IsolateCreated reports a new isolate and how long it took to load.
	IsolateCreated(container string, took time.Duration)
	// IsolateDiscarded reports the end of one: "recycled", "idle", "evicted",
	// "flushed", "limit", "error" or "pending".
	IsolateDiscarded(container, reason string)
}

// Engine runs programs in pooled isolates.
type Engine struct {
	options Options
}

// NewEngine returns an engine that runs until Close.
func NewEngine(options Options) *Engine {
	return &Engine{options: options}
}

// Do runs the handler of spec on one request and returns its response as soon
// as the head is known; the caller closes Response.Body when it is not nil.
// While the script is synchronous everything happens on the caller's
// goroutine. ctx ends the request, until Do returns; then Response.Body.Close
// does.
//
// Errors: *ScriptError, *LimitError, *QueueError, ErrClosed, those of ctx, and
// what req.Host returned when the script let it through (errors.Is sees it in
// a ScriptError).
func (e *Engine) Do(ctx context.Context, spec *Spec, req *Request) (*Response, error) {
	return nil, ErrClosed
}

// Close refuses new requests, waits until those that run have ended, bodies
// and waitUntil included, and frees all isolates. When ctx ends first, what
// still runs is interrupted.
func (e *Engine) Close(ctx context.Context) error { return nil }

// PoolStats describes the isolates of one key.
type PoolStats struct {
	Key       string `json:"key"`
	Container string `json:"container"`
	Name      string `json:"name,omitempty"`
	Program   string `json:"program"`  // the author's entry
	Idle      int    `json:"idle"`     // isolates that wait for a request
	Busy      int    `json:"busy"`     // isolates that serve one
	Queued    int    `json:"queued"`   // requests that wait for an isolate
	Requests  uint64 `json:"requests"` // served so far
	Created   uint64 `json:"created"`  // isolates made so far
}

// Stats returns the pools, ordered by container, name and key.
func (e *Engine) Stats() []PoolStats { return nil }

// Flush discards the isolates that match: those of a key, those of a
// container, or all when both are empty. Busy ones end with their request. It
// returns how many there were.
func (e *Engine) Flush(container, key string) int { return 0 }
