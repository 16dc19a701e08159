package webapi

import (
	"maps"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"github.com/dop251/goja"
	"golang.org/x/net/http/httpguts"
)

// headers is the state of a Headers object (Fetch §5.1). The list is an
// http.Header, so that one of a request or an upstream is used as it is: it is
// copied when the script changes it.
type headers struct {
	slot
	list      http.Header
	kind      string // Content-Type, the only header while list is nil
	shared    bool   // list belongs to someone else
	immutable bool   // the guard of headers that came from outside
}

func headersClass() *classDef {
	return &classDef{
		name: "Headers",
		construct: func(r *realm, call goja.ConstructorCall) {
			h := &headers{list: make(http.Header)}
			if v := call.Argument(0); !goja.IsUndefined(v) {
				r.fillHeaders(h, v)
			}
			r.attach(call.This, h)
		},
		methods: []method{
			{"append", 2, on(headersAppend)},
			{"delete", 1, on(headersDelete)},
			{"get", 1, on(headersGet)},
			{"getSetCookie", 0, on(headersGetSetCookie)},
			{"has", 1, on(headersHas)},
			{"set", 2, on(headersSet)},
		},
		finish: func(r *realm, c *class) {
			r.headersEntries = r.defineIterable(c, classHeadersIterator, func(this goja.Value) (pairSource, bool) { return stateOf[*headers](this) })
		},
	}
}

func headersIteratorClass() *classDef { return pairIteratorClass("Headers Iterator") }

// fillHeaders appends what a HeadersInit holds.
func (r *realm) fillHeaders(h *headers, init goja.Value) {
	o := toObject(init)
	if o == nil {
		panic(r.rt.NewTypeError("Headers: the argument must be a sequence of pairs, a record or a Headers, not %s", r.toString(init)))
	}
	if from, ok := stateOf[*headers](o); ok && o.GetSymbol(goja.SymIterator) == r.headersEntries {
		// The iterator would yield the same; this spares the calls.
		for name, values := range from.list {
			h.list[name] = append(h.list[name], values...)
		}
		return
	}
	r.pairs(o, "Headers", func(name, value goja.Value) {
		key, text := r.headerName(name), r.headerValue(name, value)
		h.list[key] = append(h.list[key], text)
	})
}

// headerName validates a name and returns it in the form that http.Header uses.
func (r *realm) headerName(v goja.Value) string {
	name := r.toByteString(v, "Headers: name")
	if !httpguts.ValidHeaderFieldName(name) {
		panic(r.rt.NewTypeError("Headers: %q is not a valid header name", name))
	}
	return textproto.CanonicalMIMEHeaderKey(name)
}

// headerValue normalises and validates a value (Fetch §2.2.2).
func (r *realm) headerValue(name, v goja.Value) string {
	value := strings.Trim(r.toByteString(v, "Headers: value"), " \t\r\n")
	if strings.ContainsAny(value, "\x00\r\n") {
		panic(r.rt.NewTypeError("Headers: the value of %q contains a line break or NUL", r.toString(name)))
	}
	return value
}

// edit returns the list for a change, or throws when the guard forbids one.
func (h *headers) edit(r *realm) http.Header {
	if h.immutable {
		panic(r.rt.NewTypeError("Headers are immutable here; make a copy with new Headers(…) or new Response(body, response)"))
	}
	h.unshare()
	return h.list
}

func (h *headers) unshare() {
	if h.shared {
		h.list = h.list.Clone()
		h.shared = false
	}
	h.whole()
}

// whole returns the list, made now when most responses do without one.
func (h *headers) whole() http.Header {
	if h.list == nil {
		h.list = make(http.Header)
		if h.kind != "" {
			h.list["Content-Type"] = []string{h.kind}
		}
	}
	return h.list
}

func headersAppend(r *realm, h *headers, call goja.FunctionCall) goja.Value {
	name := r.headerName(r.argument(call, 0, "Headers.append"))
	value := r.headerValue(call.Argument(0), r.argument(call, 1, "Headers.append"))
	list := h.edit(r)
	list[name] = append(list[name], value)
	return undefined()
}

func headersDelete(r *realm, h *headers, call goja.FunctionCall) goja.Value {
	name := r.headerName(r.argument(call, 0, "Headers.delete"))
	delete(h.edit(r), name)
	return undefined()
}

func headersGet(r *realm, h *headers, call goja.FunctionCall) goja.Value {
	switch values := h.list[r.headerName(r.argument(call, 0, "Headers.get"))]; len(values) {
	case 0:
		return goja.Null()
	case 1:
		return r.byteString(values[0])
	default:
		return r.byteString(strings.Join(values, ", "))
	}
}

func headersGetSetCookie(r *realm, h *headers, call goja.FunctionCall) goja.Value {
	items := make([]any, 0, len(h.list["Set-Cookie"]))
	for _, cookie := range h.list["Set-Cookie"] {
		items = append(items, r.byteString(cookie))
	}
	return r.rt.NewArray(items...)
}

func headersHas(r *realm, h *headers, call goja.FunctionCall) goja.Value {
	_, ok := h.list[r.headerName(r.argument(call, 0, "Headers.has"))]
	return r.rt.ToValue(ok)
}

func headersSet(r *realm, h *headers, call goja.FunctionCall) goja.Value {
	name := r.headerName(r.argument(call, 0, "Headers.set"))
	value := r.headerValue(call.Argument(0), r.argument(call, 1, "Headers.set"))
	h.edit(r)[name] = []string{value}
	return undefined()
}

// pair implements pairSource: names in lower case and sorted, values combined,
// but those of Set-Cookie (Fetch: sort and combine). It reads the list anew at
// every step, since the script may change it meanwhile.
func (h *headers) pair(r *realm, i int) (name, value goja.Value, ok bool) {
	for _, key := range slices.SortedFunc(maps.Keys(h.list), compareFold) {
		values := h.list[key]
		if key != "Set-Cookie" {
			if i == 0 {
				return r.rt.ToValue(strings.ToLower(key)), r.byteString(strings.Join(values, ", ")), true
			}
			i--
			continue
		}
		if i < len(values) {
			return r.rt.ToValue("set-cookie"), r.byteString(values[i]), true
		}
		i -= len(values)
	}
	return nil, nil, false
}

func compareFold(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) }
