package webapi

import "github.com/dop251/goja"

// pairSource is the state of a class with a pair iterator (Web IDL §3.7.9):
// pair returns the i-th pair, ok false behind the last.
type pairSource interface {
	pair(r *realm, i int) (name, value goja.Value, ok bool)
}

// pairIterator is the state of the objects that keys, values and entries return.
type pairIterator struct {
	slot
	source pairSource
	next   int
	yields func(r *realm, name, value goja.Value) goja.Value
}

func yieldName(_ *realm, name, _ goja.Value) goja.Value   { return name }
func yieldValue(_ *realm, _, value goja.Value) goja.Value { return value }
func yieldPair(r *realm, name, value goja.Value) goja.Value {
	return r.rt.NewArray(name, value)
}

// defineIterable gives a class keys, values, entries, forEach and
// Symbol.iterator, which it returns.
func (r *realm) defineIterable(c *class, iterator classID, source func(this goja.Value) (pairSource, bool)) goja.Value {
	receiver := func(call goja.FunctionCall) pairSource {
		s, ok := source(call.This)
		if !ok {
			panic(r.rt.NewTypeError("Illegal invocation"))
		}
		return s
	}
	yielding := func(name string, yields func(*realm, goja.Value, goja.Value) goja.Value) method {
		return method{name: name, call: func(r *realm, call goja.FunctionCall) goja.Value {
			return r.create(iterator, &pairIterator{source: receiver(call), yields: yields})
		}}
	}
	r.defineMethod(c.prototype, yielding("keys", yieldName))
	r.defineMethod(c.prototype, yielding("values", yieldValue))
	entries := r.function(yielding("entries", yieldPair))
	r.must(c.prototype.DefineDataProperty("entries", entries, goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_TRUE))
	r.defineSymbol(c.prototype, goja.SymIterator, entries)
	r.defineMethod(c.prototype, method{name: "forEach", length: 1, call: func(r *realm, call goja.FunctionCall) goja.Value {
		s := receiver(call)
		f, ok := goja.AssertFunction(call.Argument(0))
		if !ok {
			panic(r.rt.NewTypeError("forEach: the argument is not a function"))
		}
		for i := 0; ; i++ {
			name, value, ok := s.pair(r, i)
			if !ok {
				return undefined()
			}
			invoke(f, call.Argument(1), value, name, call.This)
		}
	}})
	return entries
}

func pairIteratorClass(tag string) *classDef {
	return &classDef{
		name: tag,
		methods: []method{{"next", 0, on(func(r *realm, it *pairIterator, _ goja.FunctionCall) goja.Value {
			name, value, ok := it.source.pair(r, it.next)
			if !ok {
				return r.iteratorResult(undefined(), true)
			}
			it.next++
			return r.iteratorResult(it.yields(r, name, value), false)
		})}},
		finish: func(r *realm, c *class) { r.must(c.prototype.SetPrototype(r.iterators())) },
	}
}
