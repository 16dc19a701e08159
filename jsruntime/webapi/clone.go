package webapi

import (
	"time"

	"github.com/dop251/goja"
)

// maxCloneDepth bounds the recursion of structuredClone.
const maxCloneDepth = 1000

// cloner is one run of StructuredSerialize and StructuredDeserialize (HTML
// §2.7) in one pass, since source and target are in the same isolate.
type cloner struct {
	r      *realm
	memory map[*goja.Object]*goja.Object // shared and cyclic references
	depth  int
}

// structuredCloneOperation is HTML §2.7.10.
func structuredCloneOperation(r *realm, call goja.FunctionCall) goja.Value {
	v := r.argument(call, 0, "structuredClone")
	c := &cloner{r: r, memory: make(map[*goja.Object]*goja.Object)}
	buffers := c.transferList(r.dictionary(call.Argument(1), "structuredClone: options"))
	for _, buffer := range buffers {
		// The memory moves: the copy takes it, the original is detached below.
		c.memory[buffer] = r.rt.ToValue(r.rt.NewArrayBuffer(buffer.Export().(goja.ArrayBuffer).Bytes())).(*goja.Object)
	}
	result := c.clone(v)
	for _, buffer := range buffers {
		buffer.Export().(goja.ArrayBuffer).Detach()
	}
	return result
}

func (c *cloner) transferList(options *goja.Object) (buffers []*goja.Object) {
	list, ok := member(options, "transfer")
	if !ok {
		return nil
	}
	c.r.sequence(list, func(item goja.Value) {
		o := toObject(item)
		if o == nil || !isArrayBuffer(o) || o.Export().(goja.ArrayBuffer).Detached() {
			panic(c.failure("a value in transfer is not an ArrayBuffer that can be transferred"))
		}
		for _, seen := range buffers {
			if seen == o {
				panic(c.failure("an ArrayBuffer is in transfer twice"))
			}
		}
		buffers = append(buffers, o)
	})
	return buffers
}

func (c *cloner) failure(why string) *goja.Object {
	return c.r.newDOMException("DataCloneError", "structuredClone: "+why)
}

func (c *cloner) clone(v goja.Value) goja.Value {
	o := toObject(v)
	if o == nil {
		if _, ok := v.(*goja.Symbol); ok {
			panic(c.failure("a symbol cannot be cloned"))
		}
		return v
	}
	if known, ok := c.memory[o]; ok {
		return known
	}
	if c.depth++; c.depth > maxCloneDepth {
		panic(c.r.iso.NewRangeError("structuredClone: the value is nested more than %d levels deep", maxCloneDepth))
	}
	defer func() { c.depth-- }()
	switch kind := c.r.kindOf(o); kind {
	case kindPrimitive:
		return c.remember(o, c.r.primitive(o).ToObject(c.r.rt))
	case kindDate:
		ms := goja.NaN()
		if t, ok := o.Export().(time.Time); ok {
			ms = c.r.rt.ToValue(t.UnixMilli())
		}
		return c.remember(o, c.construct("Date", ms))
	case kindRegExp:
		return c.remember(o, c.construct("RegExp", o))
	case kindArrayBuffer, kindTypedArray, kindDataView:
		return c.cloneBuffer(o, kind)
	case kindMap, kindSet:
		return c.cloneCollection(o, kind)
	case kindError:
		return c.cloneError(o)
	case kindArray:
		target := c.remember(o, c.r.rt.NewArray())
		c.r.must(target.Set("length", o.Get("length")))
		c.copyProperties(target, o)
		return target
	case kindPlain:
		target := c.remember(o, c.r.rt.NewObject())
		c.copyProperties(target, o)
		return target
	case kindPlatform:
		if e, ok := stateOf[*domException](o); ok {
			return c.remember(o, c.r.newDOMException(e.name, e.message))
		}
	}
	panic(c.failure(describe(o) + " of this kind cannot be cloned"))
}

func (c *cloner) remember(original, copied *goja.Object) *goja.Object {
	c.memory[original] = copied
	return copied
}

func (c *cloner) construct(name string, args ...goja.Value) *goja.Object {
	o, err := c.r.rt.New(c.r.intrinsic(name), args...)
	if err != nil {
		panic(err)
	}
	return o
}

// copyProperties clones the own enumerable properties with string keys.
func (c *cloner) copyProperties(target, source *goja.Object) {
	for _, key := range source.Keys() {
		value := c.clone(source.Get(key))
		c.r.must(target.DefineDataProperty(key, value, goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_TRUE))
	}
}

func (c *cloner) cloneBuffer(o *goja.Object, kind objectKind) goja.Value {
	if kind == kindArrayBuffer {
		buffer := o.Export().(goja.ArrayBuffer)
		if buffer.Detached() {
			panic(c.failure("an ArrayBuffer is detached"))
		}
		data := append([]byte(nil), buffer.Bytes()...)
		return c.remember(o, c.r.rt.ToValue(c.r.rt.NewArrayBuffer(data)).(*goja.Object))
	}
	name, length := "DataView", "byteLength"
	if kind == kindTypedArray {
		name, length = typedArrayNames[o.ExportType()], "length"
		if name == "Uint8Array" && o.GetSymbol(goja.SymToStringTag).String() == "Uint8ClampedArray" {
			name = "Uint8ClampedArray"
		}
	}
	return c.remember(o, c.construct(name, c.clone(o.Get("buffer")), o.Get("byteOffset"), o.Get(length)))
}

func (c *cloner) cloneCollection(o *goja.Object, kind objectKind) goja.Value {
	entries := c.r.entries(o, kind) // before anything that a clone may change
	name, method := "Map", "set"
	if kind == kindSet {
		name, method = "Set", "add"
	}
	target := c.remember(o, c.construct(name))
	add, _ := goja.AssertFunction(target.Get(method))
	for _, entry := range entries {
		if kind == kindSet {
			invoke(add, target, c.clone(entry[1]))
		} else {
			invoke(add, target, c.clone(entry[0]), c.clone(entry[1]))
		}
	}
	return target
}

var clonedErrors = map[string]bool{
	"EvalError": true, "RangeError": true, "ReferenceError": true, "SyntaxError": true, "TypeError": true, "URIError": true,
}

func (c *cloner) cloneError(o *goja.Object) goja.Value {
	name := "Error"
	if own := c.r.toString(o.Get("name")); clonedErrors[own] {
		name = own
	}
	target := c.remember(o, c.construct(name))
	for _, key := range []string{"message", "stack", "cause"} {
		v := o.Get(key)
		if v == nil || goja.IsUndefined(v) {
			continue
		}
		if key == "cause" {
			v = c.clone(v)
		} else {
			v = c.r.rt.ToValue(c.r.toString(v))
		}
		c.r.must(target.DefineDataProperty(key, v, goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_FALSE))
	}
	return target
}
