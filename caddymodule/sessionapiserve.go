package caddymodule

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (a *SessionAPI) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	if err := a.app.enter(w, r); err != nil {
		return err
	}
	leave := sync.OnceFunc(a.app.life.leave)
	defer leave()
	var err error
	if a.Part == partPublic {
		err = a.servePublic(w, r, leave)
	} else {
		err = a.serveControl(w, r)
	}
	if err != nil {
		return a.answerFault(w, r, err)
	}
	return nil
}

// crossOrigin refuses calls that pages of other sites make in a browser, with the
// credentials that it has of this one.
var crossOrigin = http.NewCrossOriginProtection()

// authorize refuses callers of the part control that may not call it.
func (a *SessionAPI) authorize(w http.ResponseWriter, r *http.Request) error {
	if a.Auth == apiAuthUpstream {
		repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
		if user, _ := repl.GetString("http.auth.user.id"); user == "" {
			return &fault{status: http.StatusUnauthorized, kind: kindUnauthorized, message: "the call is of no known user"}
		}
	} else {
		scheme, secret, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		given := sha256.Sum256([]byte(strings.TrimSpace(secret)))
		if !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(given[:], a.secret[:]) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			return &fault{status: http.StatusUnauthorized, kind: kindUnauthorized, message: "the call needs the secret of this API: Authorization: Bearer …"}
		}
	}
	if err := crossOrigin.Check(r); err != nil {
		return &fault{status: http.StatusForbidden, kind: kindForbidden, message: err.Error()}
	}
	return nil
}

// call is one of the API: method and path, of which {} stands for any segment and
// a last {…} for all that follow.
type call struct {
	method, path string
	serve        func(w http.ResponseWriter, r *http.Request, args []string) error
}

// dispatch serves the call that a request is.
func dispatch(w http.ResponseWriter, r *http.Request, path []string, calls []call) error {
	var allowed []string
	for _, c := range calls {
		args, ok := matchCall(strings.Split(c.path, "/"), path)
		if !ok {
			continue
		}
		if c.method == r.Method {
			return c.serve(w, r, args)
		}
		allowed = append(allowed, c.method)
	}
	if allowed != nil {
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		return &fault{status: http.StatusMethodNotAllowed, kind: kindMethodNotAllowed, message: fmt.Sprintf("the method %s is not allowed; use %s", r.Method, strings.Join(allowed, " or "))}
	}
	return &fault{status: http.StatusNotFound, kind: kindNotFound, message: "there is no such call"}
}

// matchCall returns what stands for the placeholders of a pattern.
func matchCall(pattern, path []string) (args []string, ok bool) {
	for i, part := range pattern {
		switch {
		case part == "{…}" && len(path) > i:
			rest, err := url.PathUnescape(strings.Join(path[i:], "/"))
			return append(args, rest), err == nil
		case len(path) <= i:
			return nil, false
		case part == "{}":
			arg, err := url.PathUnescape(path[i])
			if err != nil || arg == "" {
				return nil, false
			}
			args = append(args, arg)
		case part != path[i]:
			return nil, false
		}
	}
	return args, len(path) == len(pattern)
}

// callPath returns the segments, still escaped, that follow one of the roots in the
// path that the client sent, else in the one that there is, or all of that: what
// strips a prefix before the directive may have taken the root away, and then a key
// could be taken for one.
func callPath(r *http.Request, roots ...string) (root string, path []string) {
	urls := []*url.URL{r.URL}
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		urls = []*url.URL{original.URL, r.URL}
	}
	for _, from := range urls {
		path = strings.Split(strings.Trim(from.EscapedPath(), "/"), "/")
		if i := slices.IndexFunc(path, func(segment string) bool { return slices.Contains(roots, segment) }); i >= 0 {
			return path[i], path[i+1:]
		}
	}
	return "", path
}

// jamsocketRoot is what the paths of Jamsocket's API begin with.
const jamsocketRoot = "v2"

// isJamsocket reports whether a call is one of Jamsocket's API.
func isJamsocket(r *http.Request) bool {
	root, _ := callPath(r, "ctrl", "pub", jamsocketRoot)
	return root == jamsocketRoot
}
