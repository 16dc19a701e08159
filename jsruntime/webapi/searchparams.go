package webapi

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/dop251/goja"
)

// searchParams is the state of a URLSearchParams (URL §6.2).
type searchParams struct {
	slot
	list []parameter
	url  *urlState // whose query follows the list; nil: none
}

type parameter struct{ name, value string }

func searchParamsClass() *classDef {
	return &classDef{
		name: "URLSearchParams",
		construct: func(r *realm, call goja.ConstructorCall) {
			p := &searchParams{}
			if v := call.Argument(0); !goja.IsUndefined(v) {
				r.fillParams(p, v)
			}
			r.attach(call.This, p)
		},
		methods: []method{
			{"append", 2, on(paramsAppend)},
			{"delete", 1, on(paramsDelete)},
			{"get", 1, on(paramsGet)},
			{"getAll", 1, on(paramsGetAll)},
			{"has", 1, on(paramsHas)},
			{"set", 2, on(paramsSet)},
			{"sort", 0, on(paramsSort)},
			{"toString", 0, on(func(r *realm, p *searchParams, _ goja.FunctionCall) goja.Value {
				return r.rt.ToValue(serializeForm(p.list))
			})},
		},
		accessors: []accessor{
			{"size", get(func(r *realm, p *searchParams) goja.Value { return r.rt.ToValue(len(p.list)) }), nil},
		},
		finish: func(r *realm, c *class) {
			r.defineIterable(c, classURLSearchParamsIterator, func(this goja.Value) (pairSource, bool) { return stateOf[*searchParams](this) })
		},
	}
}

func searchParamsIteratorClass() *classDef { return pairIteratorClass("URLSearchParams Iterator") }

func (r *realm) fillParams(p *searchParams, init goja.Value) {
	o := toObject(init)
	if o == nil {
		p.list = parseForm(strings.TrimPrefix(r.toString(init), "?"))
		return
	}
	r.pairs(o, "URLSearchParams", func(name, value goja.Value) {
		p.list = append(p.list, parameter{r.toString(name), r.toString(value)})
	})
}

// changed writes the list back to the URL that it belongs to.
func (p *searchParams) changed() {
	if p.url != nil {
		p.url.setQuery(serializeForm(p.list))
	}
}

func (p *searchParams) pair(r *realm, i int) (name, value goja.Value, ok bool) {
	if i >= len(p.list) {
		return nil, nil, false
	}
	return r.rt.ToValue(p.list[i].name), r.rt.ToValue(p.list[i].value), true
}

func paramsAppend(r *realm, p *searchParams, call goja.FunctionCall) goja.Value {
	name := r.toString(r.argument(call, 0, "URLSearchParams.append"))
	p.list = append(p.list, parameter{name, r.toString(r.argument(call, 1, "URLSearchParams.append"))})
	p.changed()
	return undefined()
}

// matcher returns what delete and has compare with: the name, and the value
// when one is given.
func (r *realm) matcher(call goja.FunctionCall, operation string) func(parameter) bool {
	name := r.toString(r.argument(call, 0, operation))
	if v := call.Argument(1); !goja.IsUndefined(v) {
		value := r.toString(v)
		return func(p parameter) bool { return p.name == name && p.value == value }
	}
	return func(p parameter) bool { return p.name == name }
}

func paramsDelete(r *realm, p *searchParams, call goja.FunctionCall) goja.Value {
	p.list = slices.DeleteFunc(p.list, r.matcher(call, "URLSearchParams.delete"))
	p.changed()
	return undefined()
}

func paramsGet(r *realm, p *searchParams, call goja.FunctionCall) goja.Value {
	name := r.toString(r.argument(call, 0, "URLSearchParams.get"))
	for _, entry := range p.list {
		if entry.name == name {
			return r.rt.ToValue(entry.value)
		}
	}
	return goja.Null()
}

func paramsGetAll(r *realm, p *searchParams, call goja.FunctionCall) goja.Value {
	name := r.toString(r.argument(call, 0, "URLSearchParams.getAll"))
	var values []any
	for _, entry := range p.list {
		if entry.name == name {
			values = append(values, entry.value)
		}
	}
	return r.rt.NewArray(values...)
}

func paramsHas(r *realm, p *searchParams, call goja.FunctionCall) goja.Value {
	return r.rt.ToValue(slices.ContainsFunc(p.list, r.matcher(call, "URLSearchParams.has")))
}

func paramsSet(r *realm, p *searchParams, call goja.FunctionCall) goja.Value {
	name := r.toString(r.argument(call, 0, "URLSearchParams.set"))
	value := r.toString(r.argument(call, 1, "URLSearchParams.set"))
	first := slices.IndexFunc(p.list, func(entry parameter) bool { return entry.name == name })
	if first < 0 {
		p.list = append(p.list, parameter{name, value})
	} else {
		p.list[first].value = value
		rest := slices.DeleteFunc(p.list[first+1:], func(entry parameter) bool { return entry.name == name })
		p.list = p.list[:first+1+len(rest)]
	}
	p.changed()
	return undefined()
}

func paramsSort(r *realm, p *searchParams, _ goja.FunctionCall) goja.Value {
	slices.SortStableFunc(p.list, func(a, b parameter) int {
		if isASCII(a.name) && isASCII(b.name) {
			return cmp.Compare(a.name, b.name)
		}
		return slices.Compare(utf16.Encode([]rune(a.name)), utf16.Encode([]rune(b.name)))
	})
	p.changed()
	return undefined()
}
