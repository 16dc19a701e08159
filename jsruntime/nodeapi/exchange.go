package nodeapi

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"github.com/dop251/goja"
	"golang.org/x/net/http/httpguts"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
)

// exchange is one request and its response. Scripts name it by its state: they
// may keep req and res beyond the request, and then must not reach the next
// one's.
type exchange struct {
	r      *realm
	state  *goja.Object
	req    *jsruntime.Request
	w      jsruntime.ResponseWriter
	header http.Header // of the response
	turn   uint64      // in which the response ended
}

// handle is what req and res have of their exchange where scripts can see it:
// an object without properties. It does not keep the request, as scripts keep
// res.
type handle struct{ state *goja.Object }

var _ goja.DynamicObject = (*handle)(nil)

// Get implements goja.DynamicObject.
func (*handle) Get(string) goja.Value { return nil }

// Set implements goja.DynamicObject.
func (*handle) Set(string, goja.Value) bool { return false }

// Has implements goja.DynamicObject.
func (*handle) Has(string) bool { return false }

// Delete implements goja.DynamicObject.
func (*handle) Delete(string) bool { return true }

// Keys implements goja.DynamicObject.
func (*handle) Keys() []string { return nil }

// handleName is the property of the handle. Proxies and objects that inherit
// from res pass it on, so that they work as they do in Node.js.
const handleName = "_exchange"

// stateOf is native.state(handle): the state of an exchange, or undefined.
func (r *realm) stateOf(call goja.FunctionCall) goja.Value {
	if o, ok := call.Argument(0).(*goja.Object); ok {
		if h, ok := o.Export().(*handle); ok {
			return h.state
		}
	}
	return goja.Undefined()
}

// makeObjects makes req and res. What is left out here, their prototypes have or
// make when it is read.
func (x *exchange) makeObjects() (req, res *goja.Object) {
	r, rt, hasBody := x.r, x.r.rt, x.hasBody()
	x.state = rt.CreateObject(r.http.state(!hasBody, x.req.Method == http.MethodHead))
	req, res = rt.CreateObject(r.http.request), rt.CreateObject(r.http.response)
	h := rt.NewDynamicObject(&handle{x.state})
	for _, o := range [...]*goja.Object{req, res} {
		// Fails for objects that are not extensible only; so does r.set.
		_ = o.DefineDataProperty(handleName, h, goja.FLAG_FALSE, goja.FLAG_FALSE, goja.FLAG_FALSE)
	}
	r.set(req, "method", rt.ToValue(x.req.Method))
	r.set(req, "url", rt.ToValue(x.path()))
	r.set(req, "httpVersion", rt.ToValue(strings.TrimPrefix(x.req.Proto, "HTTP/")))
	if hasBody {
		r.set(req, "complete", rt.ToValue(false))
	}
	r.set(req, "res", res)
	r.set(res, "req", req)
	return req, res
}

// chunkSize is how much of a body becomes one data event at most (Node.js reads
// 64 KiB at once).
const chunkSize = 64 << 10

func (x *exchange) hasBody() bool {
	return x.req.Body != nil && x.req.Body != http.NoBody && x.req.Length != 0
}

// path is req.url: path and query as the caller sent them, without what the
// script must not see.
func (x *exchange) path() string {
	path := x.req.URL
	if _, rest, found := strings.Cut(path, "://"); found {
		if i := strings.IndexAny(rest, "/?#"); i >= 0 {
			path = rest[i:]
		} else {
			path = "/"
		}
	}
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	base, query, found := strings.Cut(path, "?")
	if !found || x.req.Query == nil {
		return path
	}
	var kept []string
	for part := range strings.SplitSeq(query, "&") {
		if name, _, _ := strings.Cut(part, "="); !x.req.Query(unescape(name)) {
			kept = append(kept, part)
		}
	}
	if len(kept) == 0 {
		return base
	}
	return base + "?" + strings.Join(kept, "&")
}

func unescape(s string) string {
	if plain, err := url.QueryUnescape(s); err == nil {
		return plain
	}
	return s
}

// defineExchange adds the functions that work on an exchange; their first
// argument is its state. For one that is over they do nothing.
func (r *realm) defineExchange(native *goja.Object) {
	for name, f := range map[string]func(x *exchange, call goja.FunctionCall) goja.Value{
		"headers":    (*exchange).headers,
		"rawHeaders": (*exchange).rawHeaders,
		"query":      (*exchange).query,
		"claims":     (*exchange).claims,
		"socket":     (*exchange).socket,
		"read":       (*exchange).read,
		"header":     (*exchange).setHeader,
		"writeHead":  (*exchange).writeHead,
		"write":      (*exchange).write,
		"end":        (*exchange).end,
		"answer":     (*exchange).answer,
		"ending":     (*exchange).ending,
		"fail":       (*exchange).fail,
	} {
		r.define(native, name, func(call goja.FunctionCall) goja.Value {
			x := r.current
			if x == nil || call.Argument(0) != goja.Value(x.state) || r.iso.Request() == nil {
				return goja.Undefined()
			}
			return f(x, call)
		})
	}
}

// singletons are headers of which Node.js keeps the first value.
var singletons = map[string]bool{
	"age": true, "authorization": true, "content-length": true, "content-type": true, "etag": true, "expires": true,
	"from": true, "host": true, "if-modified-since": true, "if-unmodified-since": true, "last-modified": true,
	"location": true, "max-forwards": true, "proxy-authorization": true, "referer": true, "retry-after": true,
	"server": true, "user-agent": true,
}

func (x *exchange) headers(goja.FunctionCall) goja.Value {
	o := x.r.rt.NewObject()
	for _, name := range x.names() {
		values, key := x.values(name), strings.ToLower(name)
		var v goja.Value
		switch {
		case key == "set-cookie":
			items := make([]any, len(values))
			for i, value := range values {
				items[i] = x.r.latin1(value)
			}
			v = x.r.rt.NewArray(items...)
		case singletons[key]:
			v = x.r.latin1(values[0])
		case key == "cookie":
			v = x.r.latin1(strings.Join(values, "; "))
		default:
			v = x.r.latin1(strings.Join(values, ", "))
		}
		x.r.set(o, key, v)
	}
	return o
}

// names returns the names of the request's header, in order.
func (x *exchange) names() []string {
	names := make([]string, 0, len(x.req.Header)+1)
	for name, values := range x.req.Header {
		if len(values) > 0 {
			names = append(names, name)
		}
	}
	if len(x.req.Header["Host"]) == 0 && x.host() != "" {
		names = append(names, "Host")
	}
	slices.Sort(names)
	return names
}

func (x *exchange) values(name string) []string {
	if values := x.req.Header[name]; len(values) > 0 {
		return values
	}
	return []string{x.host()} // net/http keeps Host apart
}

func (x *exchange) host() string {
	_, rest, _ := strings.Cut(x.req.URL, "://")
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		rest = rest[:i]
	}
	return rest
}

func (x *exchange) rawHeaders(goja.FunctionCall) goja.Value {
	var list []any
	for _, name := range x.names() {
		for _, value := range x.values(name) {
			list = append(list, name, x.r.latin1(value))
		}
	}
	return x.r.rt.NewArray(list...)
}

func (x *exchange) socket(goja.FunctionCall) goja.Value {
	o := x.r.rt.NewObject()
	x.r.set(o, "remoteAddress", x.r.rt.ToValue(x.req.RemoteIP))
	x.r.set(o, "encrypted", x.r.rt.ToValue(strings.HasPrefix(x.req.URL, "https:")))
	return o
}

// read is native.read(state, done): done(error, bytes) with the next part of the
// body, or null at its end.
func (x *exchange) read(call goja.FunctionCall) goja.Value {
	done, _ := goja.AssertFunction(call.Argument(1))
	r, body := x.r, x.req.Body
	r.iso.Async(func(ctx context.Context) func() {
		if closer, ok := body.(io.Closer); ok {
			// A Read that waits for the client returns when the request ends.
			defer context.AfterFunc(ctx, func() { _ = closer.Close() })()
		}
		buffer := make([]byte, chunkSize)
		var n int
		var err error
		for n == 0 && err == nil {
			n, err = body.Read(buffer)
		}
		return func() {
			failure, data := goja.Undefined(), goja.Null()
			switch {
			case n > 0:
				data = r.rt.ToValue(r.rt.NewArrayBuffer(buffer[:n:n]))
			case err != io.EOF:
				failure = r.iso.NewError("Error", err, "reading the request's body failed: %s", err.Error())
			}
			_, thrown := done(goja.Undefined(), failure, data)
			r.iso.Uncaught(thrown)
		}
	})
	return goja.Undefined()
}

// setHeader is native.header(state, name, ...values).
func (x *exchange) setHeader(call goja.FunctionCall) goja.Value {
	if x.header == nil {
		x.header = make(http.Header)
	}
	name := textproto.CanonicalMIMEHeaderKey(call.Argument(1).String())
	for _, value := range call.Arguments[2:] {
		x.header[name] = append(x.header[name], string(encodeText(value, "latin1")))
	}
	return goja.Undefined()
}

func (x *exchange) writeHead(call goja.FunctionCall) goja.Value {
	// From here on another goroutine reads the header: what is set later, if
	// anything is, goes to another one.
	header := x.header
	x.header = nil
	if header == nil {
		header = make(http.Header)
	}
	if err := x.w.WriteHead(int(call.Argument(1).ToInteger()), header); err != nil {
		panic(x.r.iso.NewError("Error", err, "%s", err.Error()))
	}
	return goja.Undefined()
}

// write is native.write(state, chunk, drain); chunk is a string, for UTF-8, or
// bytes. A limit that is exceeded ends the request, so nothing is thrown.
func (x *exchange) write(call goja.FunctionCall) goja.Value {
	var drain func()
	if f, ok := goja.AssertFunction(call.Argument(2)); ok {
		drain = func() {
			_, err := f(goja.Undefined())
			x.r.iso.Uncaught(err)
		}
	}
	more, err := x.w.Write(x.chunk(call.Argument(1)), drain)
	return x.r.rt.ToValue(more && err == nil)
}

func (x *exchange) chunk(v goja.Value) []byte {
	if goja.IsString(v) {
		return []byte(v.String())
	}
	return x.r.bytes(v)
}

// answer is native.answer(state, status, chunk): writeHead, write, unless chunk
// is undefined, and end.
func (x *exchange) answer(call goja.FunctionCall) goja.Value {
	x.writeHead(call)
	if chunk := call.Argument(2); !goja.IsUndefined(chunk) {
		// A limit that is exceeded ends the request.
		_, _ = x.w.Write(x.chunk(chunk), nil)
	}
	return x.end(call)
}

func (x *exchange) end(goja.FunctionCall) goja.Value {
	x.turn = x.r.iso.Turn()
	if err := x.w.End(); err != nil {
		panic(x.r.iso.NewError("Error", err, "%s", err.Error()))
	}
	return goja.Undefined()
}

// ending is native.ending(state): whether the response ended in this turn of the
// event loop.
func (x *exchange) ending(goja.FunctionCall) goja.Value {
	return x.r.rt.ToValue(x.turn == x.r.iso.Turn())
}

// fail is native.fail(state, message).
func (x *exchange) fail(call goja.FunctionCall) goja.Value {
	x.w.Fail(errors.New(call.Argument(1).String()))
	return goja.Undefined()
}

func (r *realm) validName(call goja.FunctionCall) goja.Value {
	return r.rt.ToValue(httpguts.ValidHeaderFieldName(call.Argument(0).String()))
}

// validValue accepts what Node.js does: tabs and visible ISO-8859-1.
func (r *realm) validValue(call goja.FunctionCall) goja.Value {
	for _, unit := range codeUnits(call.Argument(0)) {
		if unit != '\t' && (unit < ' ' || unit == 0x7f || unit > 0xff) {
			return r.rt.ToValue(false)
		}
	}
	return r.rt.ToValue(true)
}

// set defines a property of a fresh object, whatever its name.
func (r *realm) set(o *goja.Object, name string, v goja.Value) {
	// It fails only for objects that are not extensible.
	_ = o.DefineDataProperty(name, v, goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_TRUE)
}
