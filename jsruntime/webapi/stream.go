package webapi

import (
	"math"

	"github.com/dop251/goja"
)

// stream is the state of a ReadableStream (Streams §4.2). Only the default
// kind exists: chunks are values, not parts of a buffer.
type stream struct {
	slot
	r          *realm
	phase      streamPhase
	stored     goja.Value // what the stream failed with
	disturbed  bool       // read from or cancelled
	reader     *streamReader
	controller *controller
}

type streamPhase int

const (
	streamReadable streamPhase = iota
	streamClosed
	streamErrored
)

func readableStreamClass() *classDef {
	return &classDef{
		name:      "ReadableStream",
		construct: constructStream,
		statics:   []method{{"from", 1, streamFrom}},
		methods: []method{
			{"cancel", 0, promising(func(r *realm, s *stream, call goja.FunctionCall) goja.Value {
				if s.locked() {
					panic(r.rt.NewTypeError("ReadableStream.cancel: the stream is locked to a reader"))
				}
				return s.cancel(call.Argument(0))
			})},
			{"getReader", 0, on(getReader)},
			{"tee", 0, on(func(r *realm, s *stream, _ goja.FunctionCall) goja.Value {
				first, second := r.tee(s)
				return r.rt.NewArray(first.object(), second.object())
			})},
		},
		accessors: []accessor{
			{"locked", get(func(r *realm, s *stream) goja.Value { return r.rt.ToValue(s.locked()) }), nil},
		},
		finish: func(r *realm, c *class) {
			values := r.function(method{"values", 0, on(streamValues)})
			r.must(c.prototype.DefineDataProperty("values", values, goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_TRUE))
			r.defineSymbol(c.prototype, asyncIterator, values)
		},
	}
}

// constructStream is new ReadableStream(underlyingSource, strategy).
func constructStream(r *realm, call goja.ConstructorCall) {
	var source *goja.Object
	if v := call.Argument(0); !goja.IsUndefined(v) {
		if source = toObject(v); source == nil {
			panic(r.rt.NewTypeError("ReadableStream: the source is not an object"))
		}
	}
	if kind, ok := member(source, "type"); ok {
		panic(r.rt.NewTypeError("ReadableStream: the type %q is not supported; leave it out", r.toString(kind)))
	}
	own := &scriptSource{r: r, this: undefined()}
	if source != nil {
		own.this = source
		own.pullMethod = r.callbackMember(source, "pull", "ReadableStream")
		own.cancelMethod = r.callbackMember(source, "cancel", "ReadableStream")
	}
	strategy := r.dictionary(call.Argument(1), "ReadableStream: the strategy")
	s := &stream{r: r}
	c := &controller{stream: s, source: own, highWater: 1}
	s.controller = c
	c.size = r.callbackMember(strategy, "size", "ReadableStream")
	if v, ok := member(strategy, "highWaterMark"); ok {
		c.highWater = r.toNumber(v)
		if math.IsNaN(c.highWater) || c.highWater < 0 {
			panic(r.iso.NewRangeError("ReadableStream: highWaterMark must be a number of at least 0"))
		}
	}
	start := r.callbackMember(source, "start", "ReadableStream")
	r.attach(call.This, s)
	result := undefined()
	if start != nil {
		result = invoke(start, own.this, c.handle())
	}
	r.await(result, func(reason goja.Value, failed bool) {
		if failed {
			c.fail(reason)
			return
		}
		c.started = true
		c.pullIfNeeded()
	})
}

// callbackMember returns a method of a dictionary; nil when it is absent.
func (r *realm) callbackMember(dictionary *goja.Object, name, what string) goja.Callable {
	v, ok := member(dictionary, name)
	if !ok {
		return nil
	}
	f, ok := goja.AssertFunction(v)
	if !ok {
		panic(r.rt.NewTypeError("%s: %s is not a function", what, name))
	}
	return f
}

// newStream returns a stream over a source of the platform's own. Nothing is
// pulled before someone reads.
func (r *realm) newStream(source streamSource) *stream {
	s := &stream{r: r}
	s.controller = &controller{stream: s, source: source, started: true}
	r.create(classReadableStream, s)
	return s
}

func (s *stream) locked() bool { return s.reader != nil }

// cancel is ReadableStreamCancel; it returns a promise.
func (s *stream) cancel(reason goja.Value) goja.Value {
	s.disturbed = true
	switch s.phase {
	case streamClosed:
		return s.r.resolved(undefined())
	case streamErrored:
		return s.r.rejected(s.stored)
	}
	source := s.controller.source
	s.controller.drop()
	s.close()
	done := s.r.newPromise()
	source.cancel(reason, func(thrown goja.Value) {
		if thrown != nil {
			done.reject(thrown)
		} else {
			done.resolve(undefined())
		}
	})
	return done.Value
}

// close is ReadableStreamClose.
func (s *stream) close() {
	s.phase = streamClosed
	if s.reader == nil {
		return
	}
	requests := s.reader.requests
	s.reader.requests = nil
	s.reader.closed.resolve(undefined())
	for _, request := range requests {
		request.close()
	}
}

// fail is ReadableStreamError.
func (s *stream) fail(reason goja.Value) {
	s.phase, s.stored = streamErrored, reason
	if s.reader == nil {
		return
	}
	requests := s.reader.requests
	s.reader.requests = nil
	s.reader.closed.markHandled()
	s.reader.closed.reject(reason)
	for _, request := range requests {
		request.fail(reason)
	}
}

// strategyState is the state of the two queuing strategies (Streams §7).
type strategyState struct {
	slot
	highWater float64
}

func countStrategyClass() *classDef {
	return strategyClass("CountQueuingStrategy", 0, func(r *realm, _ goja.FunctionCall) goja.Value { return r.rt.ToValue(1) })
}

func byteLengthStrategyClass() *classDef {
	return strategyClass("ByteLengthQueuingStrategy", 1, func(r *realm, call goja.FunctionCall) goja.Value {
		if isNullish(call.Argument(0)) {
			panic(r.rt.NewTypeError("ByteLengthQueuingStrategy: the chunk has no byteLength"))
		}
		return call.Argument(0).ToObject(r.rt).Get("byteLength")
	})
}

// strategyClass makes a strategy; all instances share the function size, which
// takes length arguments.
func strategyClass(name string, length int, size func(*realm, goja.FunctionCall) goja.Value) *classDef {
	return &classDef{
		name:   name,
		length: 1,
		construct: func(r *realm, call goja.ConstructorCall) {
			init := r.dictionary(call.Argument(0), name+": options")
			highWater, ok := member(init, "highWaterMark")
			if !ok {
				panic(r.rt.NewTypeError("%s: highWaterMark is required", name))
			}
			r.attach(call.This, &strategyState{highWater: r.toNumber(highWater)})
		},
		accessors: []accessor{
			{"highWaterMark", get(func(r *realm, s *strategyState) goja.Value { return r.rt.ToValue(s.highWater) }), nil},
			{"size", get(func(r *realm, _ *strategyState) goja.Value {
				if r.strategySizes[name] == nil {
					if r.strategySizes == nil {
						r.strategySizes = make(map[string]goja.Value, 2)
					}
					r.strategySizes[name] = r.function(method{"size", length, size})
				}
				return r.strategySizes[name]
			}), nil},
		},
	}
}
