package webapi

import "github.com/dop251/goja"

// iteratorSource is the source of a stream over an iterable of a script
// (ReadableStream.from, Streams §4.2.4).
type iteratorSource struct {
	r        *realm
	iterator *goja.Object
	next     goja.Callable
	sync     bool // of an iterable that is not asynchronous: values may be promises
}

func streamFrom(r *realm, call goja.FunctionCall) goja.Value {
	iterable := r.argument(call, 0, "ReadableStream.from")
	if isNullish(iterable) {
		panic(r.rt.NewTypeError("ReadableStream.from: %s is not iterable", iterable.String()))
	}
	o := iterable.ToObject(r.rt)
	source := &iteratorSource{r: r}
	method := o.GetSymbol(asyncIterator)
	if isNullish(method) {
		method, source.sync = o.GetSymbol(goja.SymIterator), true
	}
	begin, ok := goja.AssertFunction(method)
	if !ok {
		panic(r.rt.NewTypeError("ReadableStream.from: the argument is not iterable"))
	}
	if source.iterator = toObject(invoke(begin, iterable)); source.iterator == nil {
		panic(r.rt.NewTypeError("ReadableStream.from: the iterator is not an object"))
	}
	if source.next, ok = goja.AssertFunction(source.iterator.Get("next")); !ok {
		panic(r.rt.NewTypeError("ReadableStream.from: the iterator has no method next"))
	}
	return r.newStream(source).object()
}

func (s *iteratorSource) pull(c *controller, done func(goja.Value)) {
	s.step(func() goja.Value { return invoke(s.next, s.iterator) }, done, func(result *goja.Object) {
		if finished := result.Get("done"); finished != nil && finished.ToBoolean() {
			c.close()
			done(nil)
			return
		}
		value := result.Get("value")
		if value == nil {
			value = undefined()
		}
		if !s.sync {
			c.offer(value)
			done(nil)
			return
		}
		s.r.await(value, func(v goja.Value, failed bool) {
			if failed {
				done(v)
				return
			}
			c.offer(v)
			done(nil)
		})
	})
}

// step calls a method of the iterator and hands its result, an object, to then;
// any failure goes to done.
func (s *iteratorSource) step(f func() goja.Value, done func(goja.Value), then func(result *goja.Object)) {
	v, thrown := s.r.attempt(f)
	if thrown != nil {
		v = s.r.rejected(thrown)
	}
	s.r.await(v, func(v goja.Value, failed bool) {
		if failed {
			done(v)
			return
		}
		result := toObject(v)
		if result == nil {
			done(s.r.rt.NewTypeError("ReadableStream.from: the iterator's result is not an object"))
			return
		}
		if _, thrown := s.r.attempt(func() goja.Value { then(result); return nil }); thrown != nil {
			done(thrown)
		}
	})
}

func (s *iteratorSource) cancel(reason goja.Value, done func(goja.Value)) {
	var method goja.Value
	_, thrown := s.r.attempt(func() goja.Value { method = s.iterator.Get("return"); return nil })
	switch {
	case thrown != nil:
		done(thrown)
		return
	case isNullish(method):
		done(nil)
		return
	}
	finish, ok := goja.AssertFunction(method)
	if !ok {
		done(s.r.rt.NewTypeError("ReadableStream.from: return of the iterator is not a function"))
		return
	}
	s.step(func() goja.Value { return invoke(finish, s.iterator, reason) }, done, func(*goja.Object) { done(nil) })
}
