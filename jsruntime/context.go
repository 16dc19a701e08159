package jsruntime

import (
	"bytes"
	"maps"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"github.com/dop251/goja"
)

// lazyObject is an object whose properties are made when they are first read:
// a handler pays for what it uses. Scripts may set and delete properties.
type lazyObject struct {
	names  []string                     // in order
	make   func(name string) goja.Value // nil: there is no such property
	values map[string]goja.Value        // made or set; nil: deleted
	added  []string                     // names that scripts set
}

// Get implements goja.DynamicObject.
func (o *lazyObject) Get(name string) goja.Value {
	if v, ok := o.values[name]; ok {
		return v
	}
	if !slices.Contains(o.names, name) {
		return nil
	}
	v := o.make(name)
	o.put(name, v)
	return v
}

func (o *lazyObject) put(name string, v goja.Value) {
	if o.values == nil {
		o.values = make(map[string]goja.Value, 4)
	}
	o.values[name] = v
}

// Set implements goja.DynamicObject.
func (o *lazyObject) Set(name string, v goja.Value) bool {
	if !slices.Contains(o.names, name) && !slices.Contains(o.added, name) {
		o.added = append(o.added, name)
	}
	o.put(name, v)
	return true
}

// Has implements goja.DynamicObject.
func (o *lazyObject) Has(name string) bool { return o.Get(name) != nil }

// Delete implements goja.DynamicObject.
func (o *lazyObject) Delete(name string) bool {
	if o.Has(name) {
		o.put(name, nil)
	}
	return true
}

// Keys implements goja.DynamicObject.
func (o *lazyObject) Keys() []string {
	keys := make([]string, 0, len(o.names)+len(o.added))
	for _, name := range slices.Concat(o.names, o.added) {
		if o.Has(name) {
			keys = append(keys, name)
		}
	}
	return keys
}

// Properties of ctx in each model.
var (
	webProperties      = []string{"session", "webtask", "ip", "waitUntil"}
	callbackProperties = []string{
		"data", "query", "params", "secrets", "meta", "headers", "body", "body_raw", "id", "token",
		"session", "webtask", "ip", "waitUntil",
	}
)

// newContext makes ctx for the live request.
func (iso *Isolate) newContext() goja.Value {
	names := callbackProperties
	if iso.handler.model == modelWeb {
		names = webProperties
	}
	c := &requestContext{iso: iso, seq: iso.live.seq}
	c.lazyObject = lazyObject{names: names, make: c.property}
	return iso.runtime.NewDynamicObject(&c.lazyObject)
}

// requestContext makes the properties of the ctx of one request. A script that
// keeps ctx beyond its request gets nothing of the next one by it.
type requestContext struct {
	lazyObject
	iso *Isolate
	seq uint64
}

func (c *requestContext) property(name string) goja.Value {
	iso := c.iso
	if iso.live.seq != c.seq {
		panic(iso.NewError("Error", nil, "the request of this ctx has ended, so ctx.%s is gone", name))
	}
	rt, req, spec := iso.runtime, iso.live.request, iso.spec
	switch name {
	case "session":
		return iso.sessionObject()
	case "webtask":
		object := rt.NewObject()
		define(object, "container", rt.ToValue(spec.Container))
		define(object, "name", rt.ToValue(spec.Name))
		define(object, "id", rt.ToValue(spec.ID))
		return object
	case "ip":
		return rt.ToValue(req.RemoteIP)
	case "waitUntil":
		return iso.Function(name, c.waitUntil)
	case "id":
		return rt.ToValue(req.ID)
	case "token":
		if spec.Token == "" {
			return nil
		}
		return rt.ToValue(spec.Token)
	case "params":
		return iso.stringMap(spec.Params)
	case "secrets":
		return iso.stringMap(spec.Secrets)
	case "meta":
		return iso.stringMap(spec.Meta)
	case "headers":
		return rt.NewDynamicObject(&headerObject{rt: rt, req: req})
	case "query":
		return iso.queryOf(req)
	case "body":
		return c.body()
	case "body_raw":
		if iso.live.raw == nil {
			return nil
		}
		return rt.ToValue(strings.ToValidUTF8(string(iso.live.raw.bytes), "\uFFFD"))
	case "data":
		return c.data()
	default:
		return nil
	}
}

// body is the parsed body, or absent.
func (c *requestContext) body() goja.Value {
	if raw := c.iso.live.raw; raw != nil {
		if v := raw.value(c.iso); !goja.IsUndefined(v) {
			return v
		}
	}
	return nil
}

// data merges query, params and secrets, each over the one before; with mb,
// fields of the body are added where there is nothing, so that no caller can
// shadow a secret.
func (c *requestContext) data() goja.Value {
	iso := c.iso
	data := iso.queryOf(iso.live.request)
	for _, values := range []map[string]string{iso.spec.Params, iso.spec.Secrets} {
		for name, value := range values {
			define(data, name, iso.runtime.ToValue(value))
		}
	}
	if iso.spec.MergeBody || iso.live.request.ForceMergeBody {
		if body, ok := c.Get("body").(*goja.Object); ok {
			taken := make(map[string]struct{})
			for _, name := range data.GetOwnPropertyNames() {
				taken[name] = struct{}{}
			}
			for _, name := range body.Keys() {
				if _, ok := taken[name]; !ok {
					define(data, name, body.Get(name))
				}
			}
		}
	}
	return data
}

// queryOf makes an object of the query that the script may see: not what is
// reserved for the edge, nor a caller's token.
func (iso *Isolate) queryOf(req *Request) *goja.Object {
	_, query, _ := strings.Cut(req.URL, "?")
	query, _, _ = strings.Cut(query, "#")
	return iso.queryObject(query, func(name string) bool {
		return strings.HasPrefix(name, "webtask_") || (req.Query != nil && req.Query(name))
	})
}

// waitUntil is ctx.waitUntil: the isolate stays until promise is settled.
func (c *requestContext) waitUntil(call goja.FunctionCall) goja.Value {
	iso := c.iso
	if iso.live.seq != c.seq {
		panic(iso.NewError("Error", nil, "waitUntil was called after its request had ended"))
	}
	if object, ok := call.Argument(0).(*goja.Object); ok {
		if p := iso.promiseOf(object); p != nil {
			iso.Track(p)
			iso.live.waits = append(iso.live.waits, p)
		}
	}
	return goja.Undefined()
}

// stringMap makes an object of a map, in the order of its names.
func (iso *Isolate) stringMap(values map[string]string) *goja.Object {
	object := iso.runtime.NewObject()
	for _, name := range slices.Sorted(maps.Keys(values)) {
		define(object, name, iso.runtime.ToValue(values[name]))
	}
	return object
}

// environment is env of the Web model: params and secrets by name; a secret
// wins. It is one object for all requests of the isolate.
func (iso *Isolate) environment() goja.Value {
	if iso.env == nil {
		merged := maps.Clone(iso.spec.Params)
		if merged == nil {
			merged = make(map[string]string, len(iso.spec.Secrets))
		}
		maps.Copy(merged, iso.spec.Secrets)
		iso.env = iso.stringMap(merged)
	}
	return iso.env
}

// nodeRequest is the request that the Node model reads: its body from memory
// when that was read beforehand.
func (iso *Isolate) nodeRequest() *Request {
	raw := iso.live.raw
	if raw == nil {
		return iso.live.request
	}
	req := *iso.live.request
	req.Body, req.Length = bytes.NewReader(raw.bytes), int64(len(raw.bytes))
	return &req
}

// headerObject is ctx.headers: the request's header with names in lower case.
// It reads through to the header; scripts cannot change it.
type headerObject struct {
	rt  *goja.Runtime
	req *Request
}

// Get implements goja.DynamicObject.
func (h *headerObject) Get(name string) goja.Value {
	if strings.ToLower(name) != name {
		return nil
	}
	values := h.req.Header[textproto.CanonicalMIMEHeaderKey(name)]
	switch {
	case len(values) == 1:
		return h.rt.ToValue(values[0])
	case len(values) > 1 && name == "cookie":
		return h.rt.ToValue(strings.Join(values, "; "))
	case len(values) > 1:
		return h.rt.ToValue(strings.Join(values, ", "))
	case name == "host":
		if host := hostOf(h.req.URL); host != "" {
			return h.rt.ToValue(host)
		}
	}
	return nil
}

// hostOf returns the authority of an absolute URL: net/http keeps the Host
// header apart from the others.
func hostOf(url string) string {
	_, rest, _ := strings.Cut(url, "://")
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		rest = rest[:end]
	}
	return rest
}

// Set implements goja.DynamicObject.
func (h *headerObject) Set(string, goja.Value) bool { return false }

// Has implements goja.DynamicObject.
func (h *headerObject) Has(name string) bool { return h.Get(name) != nil }

// Delete implements goja.DynamicObject.
func (h *headerObject) Delete(string) bool { return false }

// Keys implements goja.DynamicObject.
func (h *headerObject) Keys() []string {
	keys := make([]string, 0, len(h.req.Header)+1)
	for name := range h.req.Header {
		keys = append(keys, strings.ToLower(name))
	}
	if _, ok := h.req.Header[http.CanonicalHeaderKey("host")]; !ok {
		keys = append(keys, "host")
	}
	slices.Sort(keys)
	return keys
}
