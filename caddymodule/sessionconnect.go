package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/webtask-edge/caddy-webtask/sessionbackend"
)

func init() {
	caddy.RegisterModule(new(SessionConnect))
	httpcaddyfile.RegisterHandlerDirective("session_connect", parseSessionConnect)
	// As session_backend.
	httpcaddyfile.RegisterDirectiveOrder("session_connect", httpcaddyfile.Before, "intercept")
}

// SessionConnect proxies requests whose path has a token of a session backend in
// it, as `session_api control` gives out, to that backend: `/s/{token}/path` arrives
// there as `/path`. What is configured for the backend's `session_backend` holds,
// its matcher aside. Besides the headers that this sets, backends get
// `X-Verified-Secret`, and `X-Verified-Username` and `X-Verified-User-Data` are the
// token's.
//
// A path without token gets 400, one whose token is unknown, expired or revoked, or
// whose backend has ended, 410.
type SessionConnect struct {
	app *App
}

// CaddyModule returns the Caddy module information.
func (*SessionConnect) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.session_connect",
		New: func() caddy.Module { return new(SessionConnect) },
	}
}

// parseSessionConnect sets up the handler. Syntax:
//
//	session_connect [<matcher>]
func parseSessionConnect(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	c := new(SessionConnect)
	return c, c.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile reads the directive; see parseSessionConnect.
func (c *SessionConnect) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	if d.NextArg() {
		return d.Errf("the directive session_connect takes a matcher at most, but %q is none; a path matcher begins with /", d.Val())
	}
	if d.NextBlock(0) {
		return d.Err("the directive session_connect takes no block; how it proxies, the blocks of session_backend say")
	}
	return nil
}

// Provision finds the app.
func (c *SessionConnect) Provision(ctx caddy.Context) error {
	app, err := ctx.App("webtask")
	if err != nil {
		return err
	}
	c.app = app.(*App)
	at := placeUnderway(ctx.Modules())
	if err := c.bind(at); err != nil {
		return err
	}
	if err := c.app.needBackendTokens(); err != nil {
		return fmt.Errorf("the directive session_connect: %w", err)
	}
	return nil
}

// bind refuses to stand where what backends answer would be processed.
func (c *SessionConnect) bind(at place) error {
	if at.processors == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", strings.TrimSpace("the directive session_connect at "+at.String()), errProcessed(at))
}

var errTokenInPath = errors.New("the path has no token of a session backend in it")

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (c *SessionConnect) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if err := c.app.enter(w, r); err != nil {
		return err
	}
	defer c.app.life.leave()
	// The URL is a secret: it goes to no other site.
	w.Header().Set("Referrer-Policy", "no-referrer")
	signed, rest, ok := cutPathToken(r.URL)
	if !ok {
		return caddyhttp.Error(http.StatusBadRequest, errTokenInPath)
	}
	token, err := c.app.openBackendToken(signed)
	if err != nil {
		return caddyhttp.Error(http.StatusGone, fmt.Errorf("%s: %w", messageGone, err))
	}
	backend := c.app.directiveOf(token.Service)
	if backend == nil {
		return caddyhttp.Error(http.StatusGone, errors.New(messageGone))
	}
	if err := backend.checkOrigin(r); err != nil {
		return caddyhttp.Error(http.StatusForbidden, err)
	}
	v := &visit{request: r, repl: r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer), pass: &pass{token: token}}
	r = r.WithContext(r.Context())
	r.URL, r.RequestURI = rest, rest.RequestURI()
	return backend.serveToken(w, r, next, v)
}

// cutPathToken finds the token in a path, whatever it is mounted under, and returns
// the URL of what follows it. Without any that looks like one it is the second
// segment, as in /s/{token}/: what is not even that has no token.
func cutPathToken(from *url.URL) (token string, rest *url.URL, ok bool) {
	segments := strings.Split(strings.TrimPrefix(from.EscapedPath(), "/"), "/")
	at := -1
	for i, segment := range segments {
		if looksLikeToken(segment) {
			at = i
			break
		}
	}
	if at < 0 {
		if len(segments) < 2 || segments[1] == "" {
			return "", nil, false
		}
		at = 1
	}
	after := at + 1
	if sessionbackend.IsStatic(segments[at]) {
		after = at // as with Plane, the backend sees it
	}
	whole := "/" + strings.Join(segments[after:], "/")
	path, err := url.PathUnescape(whole)
	if err != nil {
		return "", nil, false
	}
	bare := *from
	bare.Path, bare.RawPath = path, whole
	return segments[at], &bare, true
}

// looksLikeToken reports whether a segment of a path has the form of a token.
func looksLikeToken(segment string) bool {
	if _, kept := sessionbackend.BackendOfKept(segment); kept {
		return true
	}
	return strings.HasPrefix(segment, jwsStart) && strings.Count(segment, ".") == 2
}

// Interface guards
var (
	_ caddy.Provisioner           = (*SessionConnect)(nil)
	_ caddyhttp.MiddlewareHandler = (*SessionConnect)(nil)
	_ caddyfile.Unmarshaler       = (*SessionConnect)(nil)
)
