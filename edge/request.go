package edge

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// errTarget reports a request whose target or Host makes no URL.
var errTarget = errors.New("request target or Host header is not valid")

// requestURL returns the absolute URL of a request as the caller sent it, less
// a token in its query: scheme, host and request target. It is the URL of
// request.url, so it always parses, and its host is the Host header's.
//
// hasKey says that the query of r holds a token. That of uri may hold one also
// when r's does not: a rewrite can have taken it away.
func requestURL(r *http.Request, uri string, secure, hasKey bool) (string, error) {
	target := uri
	if target == "" {
		target = r.RequestURI
	}
	if target == "" || target[0] != '/' {
		// Absolute-form, or the * of OPTIONS (RFC 9112 §3.2): net/http has
		// taken it apart.
		target = r.URL.RequestURI()
		if target == "*" || !strings.HasPrefix(target, "/") {
			target = "/"
		}
	}
	if _, query, _ := strings.Cut(target, "?"); hasKey || query != r.URL.RawQuery {
		target = withoutKey(target)
	}
	if strings.IndexByte(target, '#') >= 0 {
		// A request target has no fragment; what comes after is still path or
		// query.
		target = strings.ReplaceAll(target, "#", "%23")
	}
	if !plainHost(r.Host) {
		return "", errTarget
	}
	scheme := "http://"
	if secure {
		scheme = "https://"
	}
	return scheme + r.Host + target, nil
}

// plainHost reports whether a Host header is a name or address with an optional
// port, in characters that stand for themselves in a URL.
func plainHost(host string) bool {
	if host == "" {
		return false
	}
	bracket := false
	for i := range len(host) {
		c := host[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_', c == ':':
		case c == '[' && i == 0, c == ']' && i > 0 && host[0] == '[':
			bracket = true
		default:
			return false
		}
	}
	if !bracket && strings.Count(host, ":") <= 1 && !strings.ContainsAny(host[len(host)-1:], ":") && host[0] != ':' {
		_, port, ok := strings.Cut(host, ":")
		return !ok || allDigits(port)
	}
	// Everything else is for the parser to judge; it is rare.
	u, err := url.Parse("http://" + host + "/")
	return err == nil && u.Host == host && u.Hostname() != ""
}

func allDigits(s string) bool {
	return strings.Trim(s, "0123456789") == ""
}

// forced reports whether a query asks for what the webtask API calls name
// (webtask_pb, webtask_mb): 1 forces it.
func forced(query, name string) bool {
	if !strings.Contains(query, name) {
		return false
	}
	values, _ := url.ParseQuery(query) // what is malformed forces nothing
	return values.Get(name) == "1"
}

// newRequestID returns an id that no other request has, in 32 hex digits.
func newRequestID() string {
	var buf [32]byte
	id := strconv.AppendUint(buf[:0], rand.Uint64()|1<<63, 16)
	id = strconv.AppendUint(id, rand.Uint64()|1<<63, 16)
	return string(id)
}

// isPreflight reports whether a request asks whether another may be sent
// across origins (Fetch Standard, CORS-preflight request).
func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && len(r.Header["Origin"]) > 0 && len(r.Header["Access-Control-Request-Method"]) > 0
}

// asksForToken reports whether a preflight is for a request with one of the
// headers that hold a token. Others are the site's own to answer: what follows
// passes on to it.
func asksForToken(r *http.Request) bool {
	for _, list := range r.Header["Access-Control-Request-Headers"] {
		for name := range strings.SplitSeq(list, ",") {
			switch http.CanonicalHeaderKey(strings.TrimSpace(name)) {
			case headerAuthorization, headerToken:
				return true
			}
		}
	}
	return false
}

// callsAcrossOrigins reports whether a request in token mode is one that a page
// of another origin makes; a page of a foreign task, being sandboxed, is one
// too. Such a page may read the answer, as its preflight was told: it shows a
// token and, since * never goes with credentials, nothing of the visitor's.
func callsAcrossOrigins(r *http.Request, route *Route) bool {
	return route.Task == nil && len(r.Header["Origin"]) > 0
}

// answerPreflight lets any origin call with a token. No credentials are
// allowed, so that no page can act with a visitor's cookies. Authorization has
// to be named: the * does not cover it.
func answerPreflight(w http.ResponseWriter) {
	h := w.Header()
	h["Access-Control-Allow-Origin"] = []string{"*"}
	h["Access-Control-Allow-Methods"] = []string{"*"}
	h["Access-Control-Allow-Headers"] = []string{"Authorization, *"}
	h["Access-Control-Max-Age"] = []string{"7200"}
	w.WriteHeader(http.StatusNoContent)
}
