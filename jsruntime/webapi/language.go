package webapi

import (
	"github.com/dop251/goja"
)

// asyncIterator is Symbol.asyncIterator, which goja lacks: bundlers lower
// for await to calls of it.
var asyncIterator = goja.NewSymbol("Symbol.asyncIterator")

// languagePatches add to globals of the language what goja lacks and small
// code can give, as a script first looks one up. What the platform needs of
// a global that scripts can change is taken here too.
var languagePatches map[string]func(r *realm, global *goja.Object) goja.Value

func init() {
	languagePatches = map[string]func(*realm, *goja.Object) goja.Value{
		"Array":   patchArray,
		"Error":   patchError,
		"JSON":    patchJSON,
		"Map":     patchMap,
		"Object":  patchObject,
		"Promise": patchPromise,
		"RegExp":  patchRegExp,
		"Set":     patchSet,
		"Symbol":  patchSymbol,
	}
}

// defineHidden adds a method of the language: unlike one of Web IDL it is not
// enumerable.
func (r *realm) defineHidden(o *goja.Object, m method) {
	r.must(o.DefineDataProperty(m.name, r.function(m), goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_FALSE))
}

func patchSymbol(r *realm, symbol *goja.Object) goja.Value {
	r.must(symbol.DefineDataProperty("asyncIterator", asyncIterator, goja.FLAG_FALSE, goja.FLAG_FALSE, goja.FLAG_FALSE))
	return symbol
}

func patchSet(r *realm, set *goja.Object) goja.Value {
	r.forEach("Set")
	return set
}

func patchMap(r *realm, constructor *goja.Object) goja.Value {
	r.forEach("Map")
	set, _ := goja.AssertFunction(constructor.Get("prototype").(*goja.Object).Get("set"))
	r.defineHidden(constructor, method{"groupBy", 2, func(r *realm, call goja.FunctionCall) goja.Value {
		groups, err := r.rt.New(constructor)
		if err != nil {
			panic(err)
		}
		r.groupBy(call, "Map.groupBy", func(key goja.Value) goja.Value {
			if goja.IsNumber(key) && key.ToFloat() == 0 {
				return r.rt.ToValue(0) // -0 is 0 as a key
			}
			return key
		}, func(key goja.Value, items *goja.Object) { invoke(set, groups, key, items) })
		return groups
	}})
	return constructor
}

func patchObject(r *realm, constructor *goja.Object) goja.Value {
	r.descriptors()
	r.defineHidden(constructor, method{"groupBy", 2, func(r *realm, call goja.FunctionCall) goja.Value {
		groups := r.rt.CreateObject(nil)
		r.groupBy(call, "Object.groupBy", func(key goja.Value) goja.Value {
			if _, ok := key.(*goja.Symbol); ok {
				return key
			}
			return r.rt.ToValue(key.String())
		}, func(key goja.Value, items *goja.Object) {
			if symbol, ok := key.(*goja.Symbol); ok {
				r.must(groups.SetSymbol(symbol, items))
				return
			}
			r.must(groups.DefineDataProperty(key.String(), items, goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_TRUE))
		})
		return groups
	}})
	return constructor
}

// groupBy is GroupBy of ECMA-262: put is called once for each key, in order.
func (r *realm) groupBy(call goja.FunctionCall, name string, toKey func(goja.Value) goja.Value, put func(goja.Value, *goja.Object)) {
	callback, ok := goja.AssertFunction(call.Argument(1))
	if !ok {
		panic(r.rt.NewTypeError("%s: the second argument is not a function", name))
	}
	var keys []goja.Value
	groups := make(map[any][]any)
	position := 0
	r.sequence(call.Argument(0), func(item goja.Value) {
		key := toKey(invoke(callback, undefined(), item, r.rt.ToValue(position)))
		position++
		id := identity(key)
		if _, ok := groups[id]; !ok {
			keys = append(keys, key)
		}
		groups[id] = append(groups[id], item)
	})
	for _, key := range keys {
		put(key, r.rt.NewArray(groups[identity(key)]...))
	}
}

// identity maps values that are the same key (SameValueZero) to one Go value.
func identity(key goja.Value) any {
	switch {
	case toObject(key) != nil:
		return key
	case goja.IsString(key):
		return "s" + key.String()
	case goja.IsNumber(key):
		return "n" + key.String()
	case goja.IsBigInt(key):
		return "b" + key.String()
	}
	return key
}

func patchPromise(r *realm, constructor *goja.Object) goja.Value {
	r.defineHidden(constructor, method{"withResolvers", 0, func(r *realm, call goja.FunctionCall) goja.Value {
		result := r.rt.NewObject()
		p := r.capability(call.This, func(resolve, reject goja.Value) {
			r.must(result.Set("resolve", resolve))
			r.must(result.Set("reject", reject))
		})
		r.must(result.Set("promise", p))
		return result
	}})
	r.defineHidden(constructor, method{"try", 1, func(r *realm, call goja.FunctionCall) goja.Value {
		f, ok := goja.AssertFunction(call.Argument(0))
		if !ok {
			panic(r.rt.NewTypeError("Promise.try: the argument is not a function"))
		}
		args := append([]goja.Value(nil), call.Arguments[1:]...)
		return r.capability(call.This, func(resolve, reject goja.Value) {
			result, thrown := r.attempt(func() goja.Value { return invoke(f, undefined(), args...) })
			settle := resolve
			if thrown != nil {
				settle, result = reject, thrown
			}
			fn, _ := goja.AssertFunction(settle)
			invoke(fn, undefined(), result)
		})
	}})
	return constructor
}

// capability is NewPromiseCapability: it makes a promise by the constructor
// this, which may be a subclass of Promise.
func (r *realm) capability(this goja.Value, executor func(resolve, reject goja.Value)) goja.Value {
	constructor, ok := goja.AssertConstructor(this)
	if !ok {
		panic(r.rt.NewTypeError("the receiver is not a constructor"))
	}
	var resolve, reject goja.Value
	p, err := constructor(nil, r.callback(func(call goja.FunctionCall) goja.Value {
		resolve, reject = call.Argument(0), call.Argument(1)
		return undefined()
	}))
	if err != nil {
		panic(err)
	}
	if _, ok := goja.AssertFunction(resolve); !ok {
		panic(r.rt.NewTypeError("the constructor gave no function to resolve the promise with"))
	}
	executor(resolve, reject)
	return p
}

// patchError adds V8's captureStackTrace, which libraries written for Node.js
// call without looking.
func patchError(r *realm, constructor *goja.Object) goja.Value {
	r.defineHidden(constructor, method{"captureStackTrace", 2, func(r *realm, call goja.FunctionCall) goja.Value {
		o := toObject(call.Argument(0))
		if o == nil {
			panic(r.rt.NewTypeError("Error.captureStackTrace: the argument is not an object"))
		}
		head := "Error"
		if name := o.Get("name"); name != nil && goja.IsString(name) {
			head = name.String()
		}
		if message := o.Get("message"); message != nil && goja.IsString(message) && message.String() != "" {
			head += ": " + message.String()
		}
		trace := afterFirstLine(r.rt.NewTypeError("").Get("stack").String())
		if err := o.DefineDataProperty("stack", r.rt.ToValue(head+trace), goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_FALSE); err != nil {
			panic(err)
		}
		return undefined()
	}})
	r.must(constructor.DefineDataProperty("stackTraceLimit", r.rt.ToValue(10), goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_TRUE))
	return constructor
}

// arrayFromAsync is short in JavaScript: it is awaits from end to end.
var arrayFromAsync = compiled("Array.fromAsync", `((asyncIterator, iterator) => ({
	async fromAsync(items, mapper = undefined, thisArg = undefined) {
		if (mapper !== undefined && typeof mapper !== "function") {
			throw new TypeError("Array.fromAsync: the mapper is not a function");
		}
		const C = typeof this === "function" ? this : undefined;
		const method = items[asyncIterator] ?? items[iterator];
		const list = method != null ? (C ? new C() : []) : (C ? new C(+items.length || 0) : []);
		let i = 0;
		const add = async item => {
			const value = await item;
			const defined = mapper ? await mapper.call(thisArg, value, i) : value;
			Object.defineProperty(list, i, { value: defined, writable: true, enumerable: true, configurable: true });
			i++;
		};
		if (method == null) {
			const length = Math.min(Math.max(Math.trunc(+items.length) || 0, 0), Number.MAX_SAFE_INTEGER);
			while (i < length) await add(items[i]);
		} else {
			const source = method.call(items);
			for (;;) {
				const step = await source.next();
				if (Object(step) !== step) throw new TypeError("Array.fromAsync: the iterator's result is not an object");
				if (step.done) break;
				try { await add(step.value); } catch (error) {
					if (source.return) try { await source.return(); } catch {}
					throw error;
				}
			}
		}
		list.length = i;
		return list;
	},
}))`)

func patchArray(r *realm, constructor *goja.Object) goja.Value {
	factory, _ := goja.AssertFunction(r.run(arrayFromAsync))
	made := invoke(factory, undefined(), asyncIterator, goja.SymIterator).(*goja.Object)
	r.must(constructor.DefineDataProperty("fromAsync", made.Get("fromAsync"), goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_FALSE))
	return constructor
}

// patchJSON puts a bound on the nesting of what JSON.parse reads: a deep enough
// text, which any client can send, would end the process otherwise.
func patchJSON(r *realm, json *goja.Object) goja.Value {
	parse, _ := goja.AssertFunction(json.Get("parse"))
	r.defineHidden(json, method{"parse", 2, func(r *realm, call goja.FunctionCall) goja.Value {
		text := call.Argument(0)
		if len(call.Arguments) < 2 {
			return r.iso.ParseJSON(r.toString(text))
		}
		// The check is that of ParseJSON; the reviver needs the original.
		r.iso.ParseJSON(r.toString(text))
		return invoke(parse, json, text, call.Arguments[1])
	}})
	return json
}
