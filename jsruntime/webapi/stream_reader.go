package webapi

import "github.com/dop251/goja"

// streamReader is the state of a ReadableStreamDefaultReader (Streams §4.4).
type streamReader struct {
	slot
	stream   *stream // nil: released
	closed   *promise
	requests []readRequest
}

// readRequest is told once what came of a read.
type readRequest struct {
	chunk func(v goja.Value)
	close func()
	fail  func(reason goja.Value)
}

func readerClass() *classDef {
	return &classDef{
		name:   "ReadableStreamDefaultReader",
		length: 1,
		construct: func(r *realm, call goja.ConstructorCall) {
			s, ok := stateOf[*stream](call.Argument(0))
			if !ok {
				panic(r.rt.NewTypeError("ReadableStreamDefaultReader: the argument is not a ReadableStream"))
			}
			r.attach(call.This, r.acquireReader(s))
		},
		methods: []method{
			{"read", 0, promising(func(r *realm, reader *streamReader, _ goja.FunctionCall) goja.Value {
				p := r.newPromise()
				reader.read(r, readRequest{
					chunk: func(v goja.Value) { p.resolve(r.iteratorResult(v, false)) },
					close: func() { p.resolve(r.iteratorResult(undefined(), true)) },
					fail:  p.reject,
				})
				return p.Value
			})},
			{"releaseLock", 0, on(func(r *realm, reader *streamReader, _ goja.FunctionCall) goja.Value {
				reader.release(r)
				return undefined()
			})},
			{"cancel", 0, promising(func(r *realm, reader *streamReader, call goja.FunctionCall) goja.Value {
				if reader.stream == nil {
					panic(r.releasedError())
				}
				return reader.stream.cancel(call.Argument(0))
			})},
		},
		accessors: []accessor{
			{"closed", promising(func(_ *realm, reader *streamReader, _ goja.FunctionCall) goja.Value { return reader.closed.Value }), nil},
		},
	}
}

func getReader(r *realm, s *stream, call goja.FunctionCall) goja.Value {
	if mode, ok := member(r.dictionary(call.Argument(0), "ReadableStream.getReader: options"), "mode"); ok {
		panic(r.rt.NewTypeError("ReadableStream.getReader: the mode %q is not supported by this stream", r.toString(mode)))
	}
	return r.create(classReadableStreamDefaultReader, r.acquireReader(s))
}

// acquireReader locks a stream.
func (r *realm) acquireReader(s *stream) *streamReader {
	if s.locked() {
		panic(r.rt.NewTypeError("ReadableStream: the stream is locked to a reader already"))
	}
	reader := &streamReader{stream: s, closed: r.newPromise()}
	switch s.phase {
	case streamClosed:
		reader.closed.resolve(undefined())
	case streamErrored:
		reader.closed.markHandled()
		reader.closed.reject(s.stored)
	}
	s.reader = reader
	return reader
}

func (r *realm) releasedError() *goja.Object {
	return r.rt.NewTypeError("ReadableStreamDefaultReader: the reader was released")
}

// read is ReadableStreamDefaultReaderRead.
func (reader *streamReader) read(r *realm, request readRequest) {
	s := reader.stream
	if s == nil {
		request.fail(r.releasedError())
		return
	}
	s.disturbed = true
	switch s.phase {
	case streamClosed:
		request.close()
	case streamErrored:
		request.fail(s.stored)
	default:
		s.controller.read(request)
	}
}

// release is ReadableStreamDefaultReaderRelease: pending reads fail.
func (reader *streamReader) release(r *realm) {
	s := reader.stream
	if s == nil {
		return
	}
	requests := reader.requests
	reader.requests, reader.stream, s.reader = nil, nil, nil
	reason := r.releasedError()
	if reader.closed.settled {
		reader.closed = r.newPromise()
	}
	reader.closed.markHandled()
	reader.closed.reject(reason)
	for _, request := range requests {
		request.fail(reason)
	}
}

// streamIterator is the state of what values() returns (Streams §4.2.5).
type streamIterator struct {
	slot
	reader        *streamReader
	preventCancel bool
	finished      bool
	last          goja.Value // promise of the previous call: calls take turns
}

func streamIteratorClass() *classDef {
	return &classDef{
		name: "ReadableStreamAsyncIterator",
		tag:  "ReadableStream AsyncIterator",
		methods: []method{
			{"next", 0, promising(func(r *realm, it *streamIterator, _ goja.FunctionCall) goja.Value {
				return it.inTurn(r, func(p *promise) { it.next(r, p) })
			})},
			{"return", 1, promising(func(r *realm, it *streamIterator, call goja.FunctionCall) goja.Value {
				v := call.Argument(0)
				return it.inTurn(r, func(p *promise) { it.end(r, v, p) })
			})},
		},
		finish: func(r *realm, c *class) {
			r.defineSymbol(c.prototype, asyncIterator, r.function(method{"[Symbol.asyncIterator]", 0, func(_ *realm, call goja.FunctionCall) goja.Value { return call.This }}))
		},
	}
}

func streamValues(r *realm, s *stream, call goja.FunctionCall) goja.Value {
	it := &streamIterator{preventCancel: boolMember(r.dictionary(call.Argument(0), "ReadableStream.values: options"), "preventCancel")}
	it.reader = r.acquireReader(s)
	return r.create(classReadableStreamAsyncIterator, it)
}

// inTurn runs step once the previous call has settled.
func (it *streamIterator) inTurn(r *realm, step func(p *promise)) goja.Value {
	p := r.newPromise()
	if previous := it.last; previous != nil {
		r.await(previous, func(goja.Value, bool) { step(p) })
	} else {
		step(p)
	}
	it.last = p.Value
	return p.Value
}

func (it *streamIterator) next(r *realm, p *promise) {
	if it.finished {
		p.resolve(r.iteratorResult(undefined(), true))
		return
	}
	it.reader.read(r, readRequest{
		chunk: func(v goja.Value) { p.resolve(r.iteratorResult(v, false)) },
		close: func() {
			it.finished = true
			it.reader.release(r)
			p.resolve(r.iteratorResult(undefined(), true))
		},
		fail: func(reason goja.Value) {
			it.finished = true
			it.reader.release(r)
			p.reject(reason)
		},
	})
}

func (it *streamIterator) end(r *realm, v goja.Value, p *promise) {
	if it.finished {
		p.resolve(r.iteratorResult(v, true))
		return
	}
	it.finished = true
	if it.preventCancel {
		it.reader.release(r)
		p.resolve(r.iteratorResult(v, true))
		return
	}
	canceled := it.reader.stream.cancel(v)
	it.reader.release(r)
	r.await(canceled, func(reason goja.Value, failed bool) {
		if failed {
			p.reject(reason)
		} else {
			p.resolve(r.iteratorResult(v, true))
		}
	})
}
