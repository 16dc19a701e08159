package webapi

import (
	"math"

	"github.com/dop251/goja"
)

// streamSource is where a stream's chunks come from. Both methods are called
// on the isolate's goroutine and report the end once, then or later, with what
// was thrown or nil.
type streamSource interface {
	pull(c *controller, done func(thrown goja.Value))
	cancel(reason goja.Value, done func(thrown goja.Value))
}

// scriptSource is an underlying source object of a script.
type scriptSource struct {
	r                        *realm
	this                     goja.Value
	pullMethod, cancelMethod goja.Callable
}

func (s *scriptSource) pull(c *controller, done func(goja.Value)) {
	if s.pullMethod == nil {
		done(nil)
		return
	}
	s.settle(done, s.pullMethod, c.handle())
}

func (s *scriptSource) cancel(reason goja.Value, done func(goja.Value)) {
	if s.cancelMethod == nil {
		done(nil)
		return
	}
	s.settle(done, s.cancelMethod, reason)
}

// settle calls a method and reports what became of its result.
func (s *scriptSource) settle(done func(goja.Value), f goja.Callable, arg goja.Value) {
	result, thrown := s.r.attempt(func() goja.Value { return invoke(f, s.this, arg) })
	if thrown != nil {
		result = s.r.rejected(thrown)
	}
	s.r.await(result, func(reason goja.Value, failed bool) {
		if failed {
			done(reason)
		} else {
			done(nil)
		}
	})
}

// controller is the state of a ReadableStreamDefaultController (Streams §4.6).
type controller struct {
	slot
	stream    *stream
	source    streamSource
	queue     []chunk
	total     float64
	highWater float64
	size      goja.Callable // nil: each chunk counts 1

	started, closing, pulling, pullAgain bool
}

type chunk struct {
	value goja.Value
	size  float64
}

func controllerClass() *classDef {
	return &classDef{
		name: "ReadableStreamDefaultController",
		methods: []method{
			{"close", 0, on(func(r *realm, c *controller, _ goja.FunctionCall) goja.Value {
				if !c.accepts() {
					panic(r.rt.NewTypeError("ReadableStreamDefaultController.close: the stream is closed already"))
				}
				c.close()
				return undefined()
			})},
			{"enqueue", 0, on(func(r *realm, c *controller, call goja.FunctionCall) goja.Value {
				if !c.accepts() {
					panic(r.rt.NewTypeError("ReadableStreamDefaultController.enqueue: the stream is closed"))
				}
				c.enqueue(call.Argument(0))
				return undefined()
			})},
			{"error", 0, on(func(_ *realm, c *controller, call goja.FunctionCall) goja.Value {
				c.fail(call.Argument(0))
				return undefined()
			})},
		},
		accessors: []accessor{{"desiredSize", get(func(r *realm, c *controller) goja.Value {
			switch c.stream.phase {
			case streamErrored:
				return goja.Null()
			case streamClosed:
				return r.rt.ToValue(0)
			}
			return r.rt.ToValue(c.desired())
		}), nil}},
	}
}

// handle returns the object that scripts see, made on first use.
func (c *controller) handle() goja.Value {
	if c.holder == nil {
		c.stream.r.create(classReadableStreamDefaultController, c)
	}
	return c.holder
}

func (c *controller) desired() float64 { return c.highWater - c.total }

// accepts is ReadableStreamDefaultControllerCanCloseOrEnqueue.
func (c *controller) accepts() bool { return c.stream.phase == streamReadable && !c.closing }

func (c *controller) close() {
	if !c.accepts() {
		return
	}
	c.closing = true
	if len(c.queue) == 0 {
		c.drop()
		c.stream.close()
	}
}

func (c *controller) fail(reason goja.Value) {
	if c.stream.phase != streamReadable {
		return
	}
	c.drop()
	c.stream.fail(reason)
}

// drop forgets the queue and the source, whose closures may hold much.
func (c *controller) drop() {
	c.queue, c.total, c.size = nil, 0, nil
	c.source = endedSource{}
}

// endedSource replaces the source of a stream that needs it no more.
type endedSource struct{}

func (endedSource) pull(_ *controller, done func(goja.Value))  { done(nil) }
func (endedSource) cancel(_ goja.Value, done func(goja.Value)) { done(nil) }

// enqueue is ReadableStreamDefaultControllerEnqueue; it throws when the
// strategy's size does.
func (c *controller) enqueue(v goja.Value) {
	if reader := c.stream.reader; reader != nil && len(reader.requests) > 0 {
		request := reader.requests[0]
		reader.requests = reader.requests[1:]
		request.chunk(v)
	} else {
		size := 1.0
		if c.size != nil {
			size = c.measure(v)
		}
		c.queue = append(c.queue, chunk{v, size})
		c.total += size
	}
	c.pullIfNeeded()
}

func (c *controller) measure(v goja.Value) (size float64) {
	r := c.stream.r
	_, thrown := r.attempt(func() goja.Value {
		size = r.toNumber(invoke(c.size, undefined(), v))
		if math.IsNaN(size) || math.IsInf(size, 0) || size < 0 {
			panic(r.iso.NewRangeError("ReadableStream: the strategy's size must return a finite number of at least 0"))
		}
		return nil
	})
	if thrown != nil {
		c.fail(thrown)
		panic(thrown)
	}
	return size
}

// pullIfNeeded is ReadableStreamDefaultControllerCallPullIfNeeded.
func (c *controller) pullIfNeeded() {
	reader := c.stream.reader
	waited := reader != nil && len(reader.requests) > 0
	if !c.started || !c.accepts() || !waited && c.desired() <= 0 {
		return
	}
	if c.pulling {
		c.pullAgain = true
		return
	}
	c.pulling = true
	c.source.pull(c, func(thrown goja.Value) {
		c.pulling = false
		if thrown != nil {
			c.fail(thrown)
			return
		}
		if c.pullAgain {
			c.pullAgain = false
			c.pullIfNeeded()
		}
	})
}

// read answers a request from the queue, or asks the source for a chunk.
func (c *controller) read(request readRequest) {
	if len(c.queue) == 0 {
		c.stream.reader.requests = append(c.stream.reader.requests, request)
		c.pullIfNeeded()
		return
	}
	next := c.queue[0]
	c.queue[0] = chunk{}
	c.queue = c.queue[1:]
	c.total = max(c.total-next.size, 0)
	if c.closing && len(c.queue) == 0 {
		c.drop()
		c.stream.close()
	} else {
		c.pullIfNeeded()
	}
	request.chunk(next.value)
}

// offer adds a chunk unless the stream has been closed or cancelled meanwhile.
func (c *controller) offer(v goja.Value) {
	if c.accepts() {
		c.enqueue(v)
	}
}
