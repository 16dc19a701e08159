package webapi

import (
	"strconv"

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
		return kindArray
	case "Function", "AsyncFunction", "GeneratorFunction":
		return kindFunction
	case "Boolean", "Number", "String":
		return kindPrimitive
	case "Date":
		return kindDate
	case "RegExp":
		return kindRegExp
	case "Error":
		return kindError
	}
	// goja calls all others objects.
	switch exported {
	case mapType:
		return kindMap
	case arrayType:
		return kindSet
	case bigIntType:
		return kindPrimitive
	case objectType:
		return r.taggedKind(o)
	}
	return kindOther
}

// taggedKind tells apart what only its prototype does: the contents of these
// are out of reach here, so a script that fools it gains nothing.
func (r *realm) taggedKind(o *goja.Object) objectKind {
	if prototype := o.Prototype(); prototype == nil || prototype.Prototype() == nil {
		return kindPlain
	}
	tag := ""
	r.rt.Try(func() {
		if v := o.GetSymbol(goja.SymToStringTag); v != nil && goja.IsString(v) {
			tag = v.String()
		}
	})
	switch tag {
	case "DataView":
		if r.isDataView(o) {
			return kindDataView
		}
	case "WeakMap", "WeakSet":
		return kindWeak
	case "Generator", "Array Iterator", "Map Iterator", "Set Iterator", "String Iterator", "RegExp String Iterator":
		return kindOther
	}
	return kindPlain
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

// primitive returns what a Boolean, Number, String or BigInt object wraps.
func (r *realm) primitive(o *goja.Object) goja.Value {
	if o.ClassName() == "String" {
		// Its length and characters are own properties that nothing changes.
		units := make([]uint16, o.Get("length").ToInteger())
		for i := range units {
			units[i] = o.Get(strconv.Itoa(i)).(goja.String).CharAt(0)
		}
		return goja.StringFromUTF16(units)
	}
	return r.rt.ToValue(o.Export())
}
