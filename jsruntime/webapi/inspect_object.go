package webapi

import (
	"strconv"

	"github.com/dop251/goja"
)

// descriptors returns Object.getOwnPropertyDescriptor as it was before any
// script saw it: goja has no way to read a property without its getter.
func (r *realm) descriptors() goja.Callable {
	if r.describer == nil {
		r.describer, _ = goja.AssertFunction(r.intrinsic("Object").Get("getOwnPropertyDescriptor"))
	}
	return r.describer
}

// own returns the value of an own data property.
func (p *printer) own(o *goja.Object, name string) (v goja.Value, ok bool) {
	descriptor := toObject(p.descriptor(o, name))
	if descriptor == nil {
		return nil, false
	}
	v = descriptor.Get("value")
	return v, v != nil
}

func (p *printer) descriptor(o *goja.Object, name string) goja.Value {
	return invoke(p.r.descriptors(), goja.Undefined(), o, p.r.rt.ToValue(name))
}

// property writes the value of a property, or what kind of accessor it is.
func (p *printer) property(o *goja.Object, name string, depth int) {
	descriptor := toObject(p.descriptor(o, name))
	if descriptor == nil {
		p.WriteString("undefined")
		return
	}
	if v := descriptor.Get("value"); v != nil {
		p.inspect(v, depth)
		return
	}
	p.WriteString("[Getter/Setter]")
}

// className returns the name of the constructor, "" for Object, without
// running a getter of the author.
func (p *printer) className(o *goja.Object) string {
	prototype := o.Prototype()
	if prototype == nil {
		return "[Object: null prototype]"
	}
	constructor, _ := p.own(prototype, "constructor")
	if c := toObject(constructor); c != nil {
		if name, ok := p.own(c, "name"); ok && goja.IsString(name) && name.String() != "Object" {
			return name.String()
		}
	}
	return ""
}

func (p *printer) properties(o *goja.Object, depth int) {
	if name := p.className(o); name != "" {
		p.text(name + " ")
	}
	if depth >= maxDepth {
		p.WriteString("[Object]")
		return
	}
	keys := o.Keys()
	if len(keys) == 0 {
		p.WriteString("{}")
		return
	}
	p.WriteByte('{')
	for i, key := range keys {
		if i == maxItems || p.full() {
			p.WriteString(", …")
			break
		}
		if i > 0 {
			p.WriteByte(',')
		}
		p.text(" " + quoteKey(key) + ": ")
		p.property(o, key, depth+1)
	}
	p.WriteString(" }")
}

func quoteKey(key string) string {
	for i, c := range key {
		letter := c == '_' || c == '$' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return strconv.Quote(key)
		}
	}
	if key == "" {
		return `""`
	}
	return key
}

func (p *printer) array(o *goja.Object, kind objectKind, depth int) {
	length := int(o.Get("length").ToInteger())
	if kind == kindTypedArray {
		p.WriteString(typedArrayNames[o.ExportType()] + "(" + strconv.Itoa(length) + ") ")
	}
	if depth >= maxDepth {
		p.WriteString("[Array]")
		return
	}
	p.WriteByte('[')
	for i := range length {
		if i == maxItems || p.full() {
			p.text(", … " + strconv.Itoa(length-i) + " more")
			break
		}
		if i > 0 {
			p.WriteByte(',')
		}
		p.WriteByte(' ')
		p.property(o, strconv.Itoa(i), depth+1)
	}
	if length > 0 {
		p.WriteByte(' ')
	}
	p.WriteByte(']')
}

func (p *printer) collection(o *goja.Object, kind objectKind, depth int) {
	entries := p.r.entries(o, kind)
	name := "Map"
	if kind == kindSet {
		name = "Set"
	}
	p.WriteString(name + "(" + strconv.Itoa(len(entries)) + ") {")
	for i, entry := range entries {
		if i == maxItems || p.full() || depth >= maxDepth {
			p.WriteString(" …")
			break
		}
		if i > 0 {
			p.WriteByte(',')
		}
		p.WriteByte(' ')
		if kind == kindMap {
			p.inspect(entry[0], depth+1)
			p.WriteString(" => ")
		}
		p.inspect(entry[1], depth+1)
	}
	p.WriteString(" }")
}
