package webapi

import (
	"strings"

	"github.com/dop251/goja"
	whatwg "github.com/nlnwa/whatwg-url/url"
)

// urlParser follows the URL Standard; it is safe for concurrent use.
var urlParser = whatwg.NewParser()

// urlState is the state of a URL (URL §6.1).
type urlState struct {
	slot
	url    *whatwg.Url
	params *searchParams // made when searchParams is first read
}

func urlClass() *classDef {
	return &classDef{
		name:   "URL",
		length: 1,
		construct: func(r *realm, call goja.ConstructorCall) {
			args := goja.FunctionCall{Arguments: call.Arguments}
			input := r.toString(r.argument(args, 0, "URL"))
			u, err := r.parseURLArguments(args)
			if err != nil {
				panic(r.invalidURL(input))
			}
			r.attach(call.This, &urlState{url: u})
		},
		statics: []method{
			{"canParse", 1, func(r *realm, call goja.FunctionCall) goja.Value {
				r.argument(call, 0, "URL.canParse")
				_, err := r.parseURLArguments(call)
				return r.rt.ToValue(err == nil)
			}},
			{"parse", 1, func(r *realm, call goja.FunctionCall) goja.Value {
				r.argument(call, 0, "URL.parse")
				u, err := r.parseURLArguments(call)
				if err != nil {
					return goja.Null()
				}
				return r.create(classURL, &urlState{url: u})
			}},
		},
		methods: []method{
			{"toString", 0, on(func(r *realm, u *urlState, _ goja.FunctionCall) goja.Value { return r.rt.ToValue(u.url.Href(false)) })},
			{"toJSON", 0, on(func(r *realm, u *urlState, _ goja.FunctionCall) goja.Value { return r.rt.ToValue(u.url.Href(false)) })},
		},
		accessors: []accessor{
			{"href", get(func(r *realm, u *urlState) goja.Value { return r.rt.ToValue(u.url.Href(false)) }), set(setHref)},
			{"origin", get(func(r *realm, u *urlState) goja.Value { return r.rt.ToValue(origin(u.url)) }), nil},
			urlPart("protocol", (*whatwg.Url).Protocol, (*whatwg.Url).SetProtocol),
			urlPart("username", (*whatwg.Url).Username, (*whatwg.Url).SetUsername),
			urlPart("password", (*whatwg.Url).Password, (*whatwg.Url).SetPassword),
			urlPart("host", (*whatwg.Url).Host, (*whatwg.Url).SetHost),
			urlPart("hostname", (*whatwg.Url).Hostname, (*whatwg.Url).SetHostname),
			urlPart("port", (*whatwg.Url).Port, (*whatwg.Url).SetPort),
			urlPart("pathname", (*whatwg.Url).Pathname, (*whatwg.Url).SetPathname),
			{"search", get(func(r *realm, u *urlState) goja.Value { return r.rt.ToValue(u.url.Search()) }), set(setSearch)},
			{"searchParams", get(urlSearchParams), nil},
			urlPart("hash", (*whatwg.Url).Hash, (*whatwg.Url).SetHash),
		},
	}
}

// urlPart is an attribute that reads and writes one component.
func urlPart(name string, read func(*whatwg.Url) string, write func(*whatwg.Url, string)) accessor {
	return accessor{
		name: name,
		get:  get(func(r *realm, u *urlState) goja.Value { return r.rt.ToValue(read(u.url)) }),
		set:  set(func(r *realm, u *urlState, v goja.Value) { write(u.url, r.toString(v)) }),
	}
}

// parseURLArguments parses the arguments (url, base) of the constructor.
func (r *realm) parseURLArguments(call goja.FunctionCall) (*whatwg.Url, error) {
	input := r.toString(call.Argument(0))
	if v := call.Argument(1); !goja.IsUndefined(v) {
		return urlParser.ParseRef(orSpace(r.toString(v)), input)
	}
	return urlParser.Parse(input)
}

// orSpace keeps an empty base from being taken for none by the parser: both
// are invalid, but only the latter is ignored.
func orSpace(base string) string {
	if base == "" {
		return " "
	}
	return base
}

func (r *realm) invalidURL(input string) *goja.Object {
	e := r.rt.NewTypeError("Invalid URL: %q", input)
	r.must(e.Set("code", "ERR_INVALID_URL"))
	return e
}

// origin serialises the origin of a URL (URL §4.7).
func origin(u *whatwg.Url) string {
	switch u.Scheme() {
	case "http", "https", "ws", "wss", "ftp":
		return u.Protocol() + "//" + u.Host()
	case "blob":
		if inner, err := urlParser.Parse(u.Pathname()); err == nil && (inner.Scheme() == "http" || inner.Scheme() == "https") {
			return origin(inner)
		}
	}
	return "null"
}

func setHref(r *realm, u *urlState, v goja.Value) {
	href := r.toString(v)
	parsed, err := urlParser.Parse(href)
	if err != nil {
		panic(r.invalidURL(href))
	}
	u.url = parsed
	u.queryChanged()
}

func setSearch(r *realm, u *urlState, v goja.Value) {
	u.url.SetSearch(r.toString(v))
	u.queryChanged()
}

// queryChanged updates the list of searchParams after the query was set.
func (u *urlState) queryChanged() {
	if u.params != nil {
		u.params.list = parseForm(strings.TrimPrefix(u.url.Search(), "?"))
	}
}

// setQuery sets the query from searchParams; an empty one removes it.
func (u *urlState) setQuery(query string) { u.url.SetSearch(query) }

func urlSearchParams(r *realm, u *urlState) goja.Value {
	if u.params == nil {
		u.params = &searchParams{url: u}
		u.queryChanged()
		return r.create(classURLSearchParams, u.params)
	}
	return u.params.holder
}
