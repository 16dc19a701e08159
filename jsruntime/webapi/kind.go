package webapi

import (
	"github.com/dop251/goja"
)

// objectKind tells exotic objects of the language apart.
type objectKind int

const (
	kindPlain objectKind = iota
	kindArray
	kindFunction
	kindPrimitive // Boolean, Number, String or BigInt object
	kindDate
	kindRegExp
	kindMap
	kindSet
	kindError
	kindArrayBuffer
	kindTypedArray
	kindDataView
	kindPromise
	kindProxy
	kindWeak     // WeakMap, WeakSet: contents nobody can list
	kindPlatform // an instance of a class of this package
	kindOther
)

func (r *realm) kindOf(o *goja.Object) objectKind {
	exported := o.ExportType()
	switch exported {
	case proxyType:
		return kindProxy
	case arrayBufferType:
		return kindArrayBuffer
	case promiseType:
		return kindPromise
	}
	if s, ok := o.GetSymbol(slotKey).(state); ok && s.object() == o {
		return kindPlatform
	}
	if isTypedArray(o) {
		return kindTypedArray
	}
	switch o.ClassName() {
	case "Array":
		if exported == arrayType {
			return kindArray
		}
	case "Function", "AsyncFunction", "GeneratorFunction":
		return kindFunction
	case "Boolean", "Number", "String", "BigInt":
		return kindPrimitive
	case "Date":
		return kindDate
	case "RegExp":
		return kindRegExp
	case "Map":
		return kindMap
	case "Set":
		return kindSet
	case "Error":
		return kindError
	case "WeakMap", "WeakSet":
		return kindWeak
	case "Object", "Arguments":
		if r.isDataView(o) {
			return kindDataView
		}
		return kindPlain
	}
	if _, ok := goja.AssertFunction(o); ok {
		return kindFunction
	}
	return kindOther
}

// entries returns what a Map (pairs) or a Set (values in both places) holds.
func (r *realm) entries(o *goja.Object, kind objectKind) (entries [][2]goja.Value) {
	name := "Map"
	if kind == kindSet {
		name = "Set"
	}
	invoke(r.forEach(name), o, r.callback(func(call goja.FunctionCall) goja.Value {
		entries = append(entries, [2]goja.Value{call.Argument(1), call.Argument(0)})
		return goja.Undefined()
	}))
	return entries
}

// forEach returns Map.prototype.forEach or Set.prototype.forEach as it was
// before any script saw it.
func (r *realm) forEach(name string) goja.Callable {
	if f, ok := r.loops[name]; ok {
		return f
	}
	f, _ := goja.AssertFunction(r.intrinsic(name).Get("prototype").(*goja.Object).Get("forEach"))
	if r.loops == nil {
		r.loops = make(map[string]goja.Callable, 2)
	}
	r.loops[name] = f
	return f
}
