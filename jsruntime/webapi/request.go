package webapi

import (
	"io"
	"net/http"
	"strings"

	"github.com/dop251/goja"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
)

// request is the state of a Request (Fetch §5.4).
type request struct {
	slot
	method  string
	url     string // serialised
	headers headers
	body    *body
	signal  *abortSignal // made when a script asks for it
	options requestOptions

	// incoming is the request that the isolate serves, until url is needed.
	incoming *jsruntime.Request
}

// requestOptions are attributes that a server keeps but, redirect aside, has no
// use for.
type requestOptions struct {
	redirect, mode, credentials, cache, integrity, referrer, referrerPolicy string
	keepalive                                                               bool
}

var defaultOptions = requestOptions{
	redirect: "follow", mode: "cors", credentials: "same-origin", cache: "default", referrer: "about:client",
}

func (s *request) bodyOf() *body       { return s.body }
func (s *request) contentType() string { return s.headers.list.Get("Content-Type") }

func requestClass() *classDef {
	text := func(name string, field func(*request) string) accessor {
		return accessor{name, get(func(r *realm, s *request) goja.Value { return r.rt.ToValue(field(s)) }), nil}
	}
	return &classDef{
		name:   "Request",
		length: 1,
		construct: func(r *realm, call goja.ConstructorCall) {
			r.argument(goja.FunctionCall{Arguments: call.Arguments}, 0, "Request")
			s := r.newRequest(call.Argument(0), call.Argument(1))
			r.attach(call.This, s)
		},
		finish:  (*realm).includeBody,
		methods: []method{{"clone", 0, on(cloneRequest)}},
		accessors: []accessor{
			text("method", func(s *request) string { return s.method }),
			text("url", (*request).href),
			{"headers", get(func(r *realm, s *request) goja.Value { return r.headersObject(&s.headers) }), nil},
			{"signal", get(func(r *realm, s *request) goja.Value { return r.signalOf(s).object() }), nil},
			text("redirect", func(s *request) string { return s.options.redirect }),
			text("mode", func(s *request) string { return s.options.mode }),
			text("credentials", func(s *request) string { return s.options.credentials }),
			text("cache", func(s *request) string { return s.options.cache }),
			text("integrity", func(s *request) string { return s.options.integrity }),
			text("referrer", func(s *request) string { return s.options.referrer }),
			text("referrerPolicy", func(s *request) string { return s.options.referrerPolicy }),
			text("destination", func(*request) string { return "" }),
			text("duplex", func(*request) string { return "half" }),
			{"keepalive", get(func(r *realm, s *request) goja.Value { return r.rt.ToValue(s.options.keepalive) }), nil},
		},
	}
}

// href returns the URL. That of the incoming request is normalised, and freed
// of what the script must not see, when it is first asked for.
func (s *request) href() string {
	if in := s.incoming; in != nil {
		s.incoming = nil
		s.url = hideQuery(in.URL, in.Query)
		if u, err := urlParser.Parse(s.url); err == nil {
			s.url = u.Href(false)
		}
	}
	return s.url
}

// hideQuery removes the query parameters that filter names.
func hideQuery(url string, filter jsruntime.QueryFilter) string {
	base, query, found := strings.Cut(url, "?")
	if filter == nil || !found {
		return url
	}
	kept := make([]string, 0, strings.Count(query, "&")+1)
	for part := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(part, "=")
		if !filter(decodeForm(name)) {
			kept = append(kept, part)
		}
	}
	if len(kept) == 0 {
		return base
	}
	return base + "?" + strings.Join(kept, "&")
}

// signalOf returns the signal of a request. That of the incoming one is never
// aborted while the script could see it: its end interrupts the script.
func (r *realm) signalOf(s *request) *abortSignal {
	if s.signal == nil {
		s.signal = &abortSignal{}
		r.create(classAbortSignal, s.signal)
	}
	return s.signal
}

// NewRequest implements jsruntime.WebPlatform.
func (p *Platform) NewRequest(iso *jsruntime.Isolate, req *jsruntime.Request) (goja.Value, error) {
	r := realmOf(iso)
	s := &request{method: req.Method, incoming: req, options: defaultOptions}
	s.headers.list, s.headers.shared, s.headers.immutable = req.Header, true, true
	if req.Body != nil && req.Body != http.NoBody && req.Length != 0 && req.Method != http.MethodGet && req.Method != http.MethodHead {
		reader, ok := req.Body.(io.ReadCloser)
		if !ok {
			reader = io.NopCloser(req.Body)
		}
		s.body = &body{content: &content{reader: reader, length: req.Length, passThrough: true}}
	}
	return r.create(classRequest, s), nil
}

// newRequest is the constructor's work: input is a Request or a URL.
func (r *realm) newRequest(input, v goja.Value) *request {
	s := &request{method: http.MethodGet, options: defaultOptions}
	from, copied := stateOf[*request](input)
	if copied {
		s.method, s.url, s.options, s.signal = from.method, from.href(), from.options, nil
		s.headers.list, s.headers.shared = from.headers.list, true
		from.headers.shared = true
	} else {
		s.url = r.requestURL(r.toString(input))
		s.headers.list = make(http.Header)
	}
	init := r.dictionary(v, "Request: options")
	r.initOptions(s, init)
	if v, ok := member(init, "method"); ok {
		s.method = r.requestMethod(r.toString(v))
	}
	if v, ok := member(init, "headers"); ok {
		s.headers.list, s.headers.shared = make(http.Header), false
		r.fillHeaders(&s.headers, v)
	}
	r.initSignal(s, from, init)
	given, hasBody := member(init, "body")
	hasBody = hasBody && !goja.IsNull(given)
	inherits := copied && from.body != nil && !hasBody
	if (hasBody || inherits) && (s.method == http.MethodGet || s.method == http.MethodHead) {
		panic(r.rt.NewTypeError("Request: a %s request cannot have a body", s.method))
	}
	switch {
	case hasBody:
		var kind string
		s.body, kind = r.extractBody(given)
		if _, ok := s.headers.list["Content-Type"]; !ok && kind != "" {
			s.headers.unshare()
			s.headers.list["Content-Type"] = []string{kind}
		}
	case inherits:
		if !from.body.usable() {
			panic(r.usedError())
		}
		// The body moves; the original counts as used.
		moved := *from.body
		s.body = &moved
		*from.body = body{taken: true}
	}
	return s
}

func (r *realm) initOptions(s *request, init *goja.Object) {
	if v, ok := member(init, "redirect"); ok {
		s.options.redirect = r.toString(v)
		switch s.options.redirect {
		case "follow", "error", "manual":
		default:
			panic(r.rt.NewTypeError("Request: redirect must be follow, error or manual, not %q", s.options.redirect))
		}
	}
	for _, option := range []struct {
		name    string
		field   *string
		allowed string // values, each between spaces; empty: any
	}{
		{"mode", &s.options.mode, " cors no-cors same-origin "},
		{"credentials", &s.options.credentials, " omit same-origin include "},
		{"cache", &s.options.cache, " default no-store reload no-cache force-cache only-if-cached "},
		{"referrerPolicy", &s.options.referrerPolicy, "  no-referrer no-referrer-when-downgrade same-origin origin strict-origin origin-when-cross-origin strict-origin-when-cross-origin unsafe-url "},
		{"integrity", &s.options.integrity, ""},
		{"referrer", &s.options.referrer, ""},
	} {
		v, ok := member(init, option.name)
		if !ok {
			continue
		}
		*option.field = r.toString(v)
		if option.allowed != "" && !strings.Contains(option.allowed, " "+*option.field+" ") {
			panic(r.rt.NewTypeError("Request: %s must be one of%snot %q", option.name, option.allowed, *option.field))
		}
	}
	if v, ok := member(init, "window"); ok && !goja.IsNull(v) {
		panic(r.rt.NewTypeError("Request: window must be null"))
	}
	if v, ok := member(init, "duplex"); ok && r.toString(v) != "half" {
		panic(r.rt.NewTypeError("Request: duplex must be \"half\", not %q", r.toString(v)))
	}
	if v, ok := member(init, "keepalive"); ok {
		s.options.keepalive = v.ToBoolean()
	}
}

// initSignal has the request follow the signal that it was made with.
func (r *realm) initSignal(s, from *request, init *goja.Object) {
	var followed *abortSignal
	if from != nil {
		followed = from.signal
	}
	if v, ok := member(init, "signal"); ok {
		followed = nil
		if !goja.IsNull(v) {
			if followed, ok = stateOf[*abortSignal](v); !ok {
				panic(r.rt.NewTypeError("Request: signal is not an AbortSignal"))
			}
		}
	}
	if followed == nil {
		return
	}
	s.signal = r.follow([]*abortSignal{followed})
}

// requestURL parses the URL of a request that a script makes; a relative one
// is relative to the incoming request.
func (r *realm) requestURL(input string) string {
	u, err := urlParser.Parse(input)
	if err != nil {
		if req := r.iso.Request(); req != nil {
			u, err = urlParser.ParseRef(req.URL, input)
		}
	}
	if err != nil {
		panic(r.invalidURL(input))
	}
	if u.Username() != "" || u.Password() != "" {
		panic(r.rt.NewTypeError("Request: the URL carries credentials; send them in the header Authorization"))
	}
	return u.Href(false)
}

// requestMethod validates and normalises a method (Fetch §2.2.1).
func (r *realm) requestMethod(method string) string {
	if method == "" || strings.ContainsFunc(method, func(c rune) bool {
		return c <= ' ' || c >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, c)
	}) {
		panic(r.rt.NewTypeError("Request: %q is not a valid method", method))
	}
	switch upper := strings.ToUpper(method); upper {
	case "CONNECT", "TRACE", "TRACK":
		panic(r.rt.NewTypeError("Request: the method %s is not allowed", upper))
	case "DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT":
		return upper
	}
	return method
}

func cloneRequest(r *realm, s *request, _ goja.FunctionCall) goja.Value {
	if !s.body.usable() {
		panic(r.usedError())
	}
	clone := &request{method: s.method, url: s.href(), options: s.options}
	clone.headers.list, clone.headers.shared, clone.headers.immutable = s.headers.list, true, s.headers.immutable
	s.headers.shared = true
	clone.body = r.cloneBody(s.body)
	if s.signal != nil {
		r.initSignal(clone, s, nil)
	}
	return r.create(classRequest, clone)
}
