package jsruntime

import (
	"container/list"
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/dop251/goja"
	"github.com/dop251/goja/parser"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// maxCallStack bounds JavaScript recursion. Unwinding through native frames is
// quadratic in it, so it is far below what memory would carry.
const maxCallStack = 800

// Isolate is one JavaScript runtime with its globals and a loaded program. It
// serves one request at a time. Unless said otherwise its methods are for its
// own goroutine: the one that runs the platform's functions and the tasks of
// the event loop.
type Isolate struct {
	// Web and Node are the platforms' own state of this isolate.
	Web, Node any

	engine  *Engine
	pool    *pool
	runtime *goja.Runtime
	spec    *Spec // of the live request
	handler handler
	env     *goja.Object // of the Web model; made on first use
	natives natives

	flushes   uint64        // of its pool, before it was made
	served    int           // requests so far
	lastUsed  int64         // by the watchdog's clock
	idle      bool          // it serves no request
	place     *list.Element // in the container's list
	position  int           // in the watchdog's list
	hinted    bool          // see hintOneParameter
	condemned string        // why it must not be used again; empty: it may

	turn  turn
	queue taskQueue
	alarm Timer // kicks the loop; made on first use
	live  live
}

// natives are functions of the language, taken before any script could
// replace them.
type natives struct {
	parse, stringify goja.Callable
	rangeError       *goja.Object
	plainError       *goja.Object
	await            goja.Callable // made on first use
	nothing          goja.Callable // does nothing
}

// newIsolate makes an isolate and loads the program of spec into it.
func newIsolate(e *Engine, p *pool, spec *Spec) (*Isolate, error) {
	iso := &Isolate{engine: e, pool: p, spec: spec, runtime: goja.New()}
	iso.queue.wake = make(chan struct{}, 1)
	iso.turn.cpuLimit, iso.turn.wallLimit = int64(spec.Limits.CPUTime), int64(spec.Limits.Timeout)
	iso.runtime.SetMaxCallStackSize(maxCallStack)
	iso.runtime.SetParserOptions(parser.WithDisableSourceMaps)
	iso.runtime.SetPromiseRejectionTracker(iso.trackRejection)
	if !cleanErrors(iso.runtime) {
		e.logger.Warn("this version of the JavaScript engine shows scripts internals of the server in some errors; build with the one that go.mod names")
	}
	iso.natives.take(iso.runtime)
	if err := e.options.Web.Install(iso); err != nil {
		return nil, fmt.Errorf("installing the Web platform: %w", err)
	}
	if err := e.options.Node.Install(iso); err != nil {
		return nil, fmt.Errorf("installing the Node platform: %w", err)
	}
	return iso, nil
}

func (n *natives) take(rt *goja.Runtime) {
	global := rt.GlobalObject()
	json := global.Get("JSON").(*goja.Object)
	n.parse, _ = goja.AssertFunction(json.Get("parse"))
	n.stringify, _ = goja.AssertFunction(json.Get("stringify"))
	n.rangeError = global.Get("RangeError").(*goja.Object)
	n.nothing, _ = goja.AssertFunction(rt.ToValue(func(goja.FunctionCall) goja.Value { return nil }))
	n.plainError = global.Get("Error").(*goja.Object)
}

// Runtime returns the goja runtime.
func (iso *Isolate) Runtime() *goja.Runtime { return iso.runtime }

// Spec returns the Spec of the live request; during Install and loading, the
// one that the isolate is made for.
func (iso *Isolate) Spec() *Spec { return iso.spec }

// Limits returns Spec().Limits.
func (iso *Isolate) Limits() *webtask.Limits { return &iso.spec.Limits }

// Request returns the live request; nil while loading and between requests.
func (iso *Isolate) Request() *Request { return iso.live.request }

// Context returns the context of the live request. It ends with the request:
// with its response, or when the body was sent and waitUntil is done. Without
// a live request it is an ended one.
func (iso *Isolate) Context() context.Context {
	if iso.live.request == nil {
		return endedContext
	}
	return iso.hold().ctx
}

var endedContext = func() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(ErrRequestEnded)
	return ctx
}()

// OnRequestEnd has f run once the isolate's part of the live request has
// ended, so that what it holds outside the isolate is freed: fetches aborted,
// bodies closed. It may run when the isolate was interrupted and must not run
// JavaScript. stop takes f back, for what was freed or handed on before: a body
// that becomes a PassThrough response outlives the isolate's part.
func (iso *Isolate) OnRequestEnd(f func()) (stop func()) {
	return iso.live.onEnd.add(f)
}

// Log passes one line to the Host of the live request; without one it is
// dropped. stack may be empty.
func (iso *Isolate) Log(level LogLevel, message, stack string) {
	if req := iso.live.request; req != nil && req.Host != nil {
		req.Host.Log(LogEntry{Time: iso.engine.clock.Now(), Level: level, Message: message, Stack: stack})
	}
}

// condemn marks the isolate as not to be used again.
func (iso *Isolate) condemn(reason string) {
	if iso.condemned == "" {
		iso.condemned = reason
	}
}

// taskQueue takes tasks from any goroutine for the request that is live.
type taskQueue struct {
	mu    sync.Mutex
	tasks []task
	seq   uint64 // of the live request; 0: none
	last  uint64 // highest seq so far
	wake  chan struct{}
	ready atomic.Bool // tasks is not empty; spares the loop the lock
}

type task struct {
	run   func()
	async bool // ends an Async
}

// post queues a task for the request seq and reports whether that is live.
func (q *taskQueue) post(seq uint64, t task) bool {
	q.mu.Lock()
	live := seq != 0 && q.seq == seq
	if live {
		q.tasks = append(q.tasks, t)
		q.ready.Store(true)
	}
	q.mu.Unlock()
	if live {
		q.kick()
	}
	return live
}

// kick has the loop look again.
func (q *taskQueue) kick() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take returns the tasks that wait, in order.
func (q *taskQueue) take() []task {
	if !q.ready.Load() {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	tasks := q.tasks
	q.tasks = nil
	q.ready.Store(false)
	return tasks
}

// open begins a request and returns its sequence number.
func (q *taskQueue) open() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.last++
	q.seq = q.last
	return q.seq
}

// close ends the live request: what comes later is dropped.
func (q *taskQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.seq, q.tasks = 0, nil
	q.ready.Store(false)
	select {
	case <-q.wake:
	default:
	}
}
