package webapi

import (
	"net/http"
	"strings"

	"github.com/dop251/goja"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
)

// response is the state of a Response (Fetch §5.5).
type response struct {
	slot
	kind       string // "default", "basic" or "error"
	url        string
	redirected bool
	status     int
	statusText string
	headers    headers // its object is made when a script asks for it
	body       *body
}

func (s *response) bodyOf() *body { return s.body }

func (s *response) contentType() string {
	if s.headers.list == nil {
		return s.headers.kind
	}
	return s.headers.list.Get("Content-Type")
}

func responseClass() *classDef {
	return &classDef{
		name:      "Response",
		construct: constructResponse,
		statics: []method{
			{"error", 0, func(r *realm, _ goja.FunctionCall) goja.Value {
				s := &response{kind: "error"}
				s.headers.immutable = true
				return r.create(classResponse, s)
			}},
			{"json", 1, responseJSON},
			{"redirect", 1, responseRedirect},
		},
		finish:  (*realm).includeBody,
		methods: []method{{"clone", 0, on(cloneResponse)}},
		accessors: []accessor{
			{"type", get(func(r *realm, s *response) goja.Value { return r.rt.ToValue(s.kind) }), nil},
			{"url", get(func(r *realm, s *response) goja.Value { return r.rt.ToValue(s.url) }), nil},
			{"redirected", get(func(r *realm, s *response) goja.Value { return r.rt.ToValue(s.redirected) }), nil},
			{"status", get(func(r *realm, s *response) goja.Value { return r.rt.ToValue(s.status) }), nil},
			{"ok", get(func(r *realm, s *response) goja.Value { return r.rt.ToValue(s.status >= 200 && s.status <= 299) }), nil},
			{"statusText", get(func(r *realm, s *response) goja.Value { return r.byteString(s.statusText) }), nil},
			{"headers", get(func(r *realm, s *response) goja.Value { return r.headersObject(&s.headers) }), nil},
		},
	}
}

// headersObject returns the object of headers, made on first use.
func (r *realm) headersObject(h *headers) goja.Value {
	if h.holder == nil {
		h.whole()
		return r.create(classHeaders, h)
	}
	return h.holder
}

func constructResponse(r *realm, call goja.ConstructorCall) {
	s := &response{}
	r.initResponse(s, call.Argument(1))
	if v := call.Argument(0); !isNullish(v) {
		b, kind := r.extractBody(v)
		r.setBody(s, b, kind)
	}
	r.attach(call.This, s)
}

// initResponse is the part of "initialize a response" that ResponseInit sets.
func (r *realm) initResponse(s *response, v goja.Value) {
	s.kind, s.status = "default", http.StatusOK
	init := r.dictionary(v, "Response: options")
	if init == nil {
		return
	}
	// A Response given as init, to copy another one, is read directly.
	if from, ok := stateOf[*response](init); ok {
		s.status, s.statusText = from.status, from.statusText
		s.headers.list, s.headers.shared = from.headers.whole(), true
		from.headers.shared = true
		r.checkStatus(s.status)
		return
	}
	if v, ok := member(init, "status"); ok {
		s.status = r.toUint16(v)
		r.checkStatus(s.status)
	}
	if v, ok := member(init, "statusText"); ok {
		s.statusText = r.toByteString(v, "Response: statusText")
		if strings.ContainsFunc(s.statusText, func(c rune) bool { return c != '\t' && (c < ' ' || c == 0x7f) }) {
			panic(r.rt.NewTypeError("Response: statusText contains a control character"))
		}
	}
	if v, ok := member(init, "headers"); ok {
		s.headers.list = make(http.Header)
		r.fillHeaders(&s.headers, v)
	}
}

func (r *realm) checkStatus(status int) {
	if status < 200 || status > 599 {
		panic(r.iso.NewRangeError("Response: status must be between 200 and 599, not %d", status))
	}
}

func isNullBodyStatus(status int) bool {
	switch status {
	case 101, 103, 204, 205, 304:
		return true
	}
	return false
}

func (r *realm) setBody(s *response, b *body, kind string) {
	if isNullBodyStatus(s.status) {
		panic(r.rt.NewTypeError("Response: status %d allows no body; pass null", s.status))
	}
	s.body = b
	if s.headers.list == nil {
		s.headers.kind = kind
		return
	}
	if _, ok := s.headers.list["Content-Type"]; ok || kind == "" {
		return
	}
	s.headers.unshare()
	s.headers.list["Content-Type"] = []string{kind}
}

func responseJSON(r *realm, call goja.FunctionCall) goja.Value {
	text, ok := r.iso.StringifyJSON(r.argument(call, 0, "Response.json"))
	if !ok {
		panic(r.rt.NewTypeError("Response.json: %s has no JSON form", describe(call.Argument(0))))
	}
	s := &response{}
	r.initResponse(s, call.Argument(1))
	r.setBody(s, &body{content: memory([]byte(text))}, "application/json")
	return r.create(classResponse, s)
}

func responseRedirect(r *realm, call goja.FunctionCall) goja.Value {
	input := r.toString(r.argument(call, 0, "Response.redirect"))
	// A relative URL is relative to the request.
	u, err := urlParser.Parse(input)
	if err != nil {
		if req := r.iso.Request(); req != nil {
			u, err = urlParser.ParseRef(req.URL, input)
		}
	}
	if err != nil {
		panic(r.invalidURL(input))
	}
	status := http.StatusFound
	if v := call.Argument(1); !goja.IsUndefined(v) {
		status = r.toUint16(v)
	}
	if !isRedirect(status) {
		panic(r.iso.NewRangeError("Response.redirect: status must be 301, 302, 303, 307 or 308, not %d", status))
	}
	s := &response{kind: "default", status: status}
	s.headers.list = http.Header{"Location": {u.Href(false)}}
	s.headers.immutable = true
	return r.create(classResponse, s)
}

func isRedirect(status int) bool {
	switch status {
	case 301, 302, 303, 307, 308:
		return true
	}
	return false
}

func cloneResponse(r *realm, s *response, _ goja.FunctionCall) goja.Value {
	if !s.body.usable() {
		panic(r.usedError())
	}
	clone := &response{kind: s.kind, url: s.url, redirected: s.redirected, status: s.status, statusText: s.statusText}
	clone.headers.list, clone.headers.shared, clone.headers.immutable = s.headers.whole(), true, s.headers.immutable
	s.headers.shared = true
	clone.body = r.cloneBody(s.body)
	return r.create(classResponse, clone)
}

// ReadResponse implements jsruntime.WebPlatform.
func (p *Platform) ReadResponse(iso *jsruntime.Isolate, v goja.Value) (*jsruntime.Response, error) {
	r := realmOf(iso)
	s, ok := stateOf[*response](v)
	switch {
	case !ok:
		return nil, badResult("The handler must return a Response, or a promise of one, not " + describe(v) + ".")
	case s.kind == "error":
		return nil, badResult("The handler returned Response.error().")
	case !s.body.usable():
		return nil, badResult("The handler returned a Response whose body was read or sent already; return response.clone(), or build a new Response.")
	}
	out := &jsruntime.Response{Status: s.status, Header: s.headers.list}
	if out.Header == nil {
		out.ContentType = s.headers.kind
	} else if s.headers.shared {
		// The edge may read it while the script goes on and changes another's.
		out.Header = out.Header.Clone()
	} else {
		s.headers.shared = true // also with the script, from now on
	}
	if s.body == nil {
		return out, nil
	}
	c := s.body.take()
	switch {
	case c == nil:
		out.Body, out.BodyLength = r.newPipe(s.body.stream), -1
	case c.reader == nil:
		out.Bytes, out.BodyLength = c.data, int64(len(c.data))
	default:
		out.Body, out.BodyLength, out.PassThrough = c.handOn(), c.length, c.passThrough
	}
	return out, nil
}

func badResult(message string) *jsruntime.ScriptError {
	return &jsruntime.ScriptError{
		Kind:    jsruntime.KindResult,
		Status:  http.StatusInternalServerError,
		Summary: "Script returned no response.",
		Message: message,
		Details: message,
	}
}
