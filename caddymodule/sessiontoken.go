package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/webtask-edge/caddy-webtask/sessionbackend"
)

// Values of the option auth of session_backend.
const (
	authNone  = "none"
	authToken = "token"
)

// checkAuth reports what is wrong with the option auth.
func (b *SessionBackend) checkAuth() error {
	switch b.Auth {
	case "", authNone, authToken:
		return nil
	case "forward_auth":
		return errors.New("auth: forward_auth is a directive of its own; write it before session_backend, as in " +
			"`forward_auth localhost:9091 { uri /check }`, and leave auth out")
	}
	return fmt.Errorf("auth: %q is unknown; it is none or token", b.Auth)
}

// needBackendTokens notes that tokens of session backends will be made or opened.
func (a *App) needBackendTokens() error {
	if err := a.checkSharedKeys(a.ctx.Storage()); err != nil {
		return err
	}
	a.usesKeys.Store(true)
	return nil
}

// deriveBackendKeys makes the keys of tokens of session backends, if they are
// needed.
func (a *App) deriveBackendKeys() (err error) {
	if a.usesKeys.Load() {
		a.tokens, err = sessionbackend.NewTokens(a.verifier.Keyring())
	}
	return err
}

// openBackendToken returns the token that a text is, or stands for. Whether its
// backend is there, and whether it is revoked, is another question.
func (a *App) openBackendToken(text string) (*sessionbackend.Token, error) {
	id, ok := sessionbackend.BackendOfKept(text)
	if !ok {
		return a.tokens.Open(text, time.Now())
	}
	a.mu.Lock()
	all := slices.Clone(a.backends)
	a.mu.Unlock()
	for _, directive := range all {
		if backend := directive.service.ByID(id); backend != nil {
			return backend.Kept(text, time.Now())
		}
	}
	return nil, sessionbackend.ErrGone
}

// directiveOf returns the directive session_backend of a name, or nil.
func (a *App) directiveOf(service string) *SessionBackend {
	a.mu.Lock()
	defer a.mu.Unlock()
	if i := slices.IndexFunc(a.backends, func(b *SessionBackend) bool { return b.Name == service }); i >= 0 {
		return a.backends[i]
	}
	return nil
}

// pass is the token that a request comes with.
type pass struct {
	token *sessionbackend.Token
	uri   string // what backends are told was requested; empty: what was
}

// data returns what the token says of its user.
func (p *pass) data() string {
	if len(p.token.Auth) == 0 {
		return "{}"
	}
	return string(p.token.Auth)
}

// serveToken proxies a request with a token to the backend that the token is for.
func (b *SessionBackend) serveToken(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, v *visit) error {
	v.key, v.own = v.pass.token.Key, b.host.nodeName()
	backend := b.service.ByID(v.pass.token.Backend)
	if backend == nil {
		// Whether it was revoked, the edge knows that has it.
		return b.serveVisit(w, r, next, v, func(ctx context.Context) (*sessionbackend.Backend, error) {
			if held := b.ownerOfToken(ctx, v.pass.token); held != nil {
				return nil, held
			}
			return nil, sessionbackend.ErrGone
		})
	}
	ctx, done, err := backend.Admit(r.Context(), v.pass.token)
	if err != nil {
		return b.refuse(w, err)
	}
	defer done()
	// The proxy ends what it does for the request, tunnels too, when ctx ends.
	return b.serveVisit(w, r.WithContext(ctx), next, v, func(ctx context.Context) (*sessionbackend.Backend, error) {
		backend, err := b.service.AcquireBackend(ctx, v.pass.token.Backend)
		if err != nil && ctx.Err() != nil {
			err = context.Cause(ctx) // the token was revoked, or the client is gone
		}
		return backend, err
	})
}

var (
	errNoToken   = errors.New("a token of a session backend is missing; send it as Authorization: Bearer, or as the query parameter token")
	errBadToken  = errors.New("the token of a session backend is not valid; ask for another")
	errTwoTokens = errors.New("the request has several tokens of a session backend; send one")
	errOtherKey  = errors.New("the token is for another session backend")
)

// messageGone is what a client is told whose token leads to no backend any more.
const messageGone = "the session backend of this token has ended, or the token was revoked; connect again"

// takeToken opens the token of a request, and returns the request without it.
func (b *SessionBackend) takeToken(r *http.Request, v *visit) (*http.Request, error) {
	signed, bare, err := separateToken(r)
	if err != nil {
		return nil, err
	}
	token, err := b.app.openBackendToken(signed)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBadToken, err)
	}
	if token.Service != b.Name {
		return nil, errOtherKey
	}
	v.pass = &pass{token: token, uri: withoutToken(v.path())}
	return bare, nil
}

// separateToken returns the token of a request, and the request without it.
func separateToken(r *http.Request) (signed string, bare *http.Request, err error) {
	bare = r.WithContext(r.Context())
	var found []string
	if scheme, value, _ := strings.Cut(r.Header.Get("Authorization"), " "); strings.EqualFold(scheme, "Bearer") {
		found = append(found, strings.TrimSpace(value))
		bare.Header = r.Header.Clone()
		bare.Header.Del("Authorization")
	}
	query, inQuery := cutTokenParameter(r.URL.RawQuery)
	if found = append(found, inQuery...); inQuery != nil {
		url := *r.URL
		url.RawQuery = query
		bare.URL, bare.RequestURI = &url, url.RequestURI()
	}
	switch len(found) {
	case 0:
		return "", nil, errNoToken
	case 1:
		return found[0], bare, nil
	}
	return "", nil, errTwoTokens
}

// cutTokenParameter takes the parameter token out of a query, and leaves the rest
// as it is.
func cutTokenParameter(query string) (rest string, values []string) {
	if !strings.Contains(query, "token=") {
		return query, nil
	}
	kept := strings.Split(query, "&")
	kept = slices.DeleteFunc(kept, func(pair string) bool {
		value, is := strings.CutPrefix(pair, "token=")
		if is {
			values = append(values, value)
		}
		return is
	})
	return strings.Join(kept, "&"), values
}

// withoutToken takes the parameter token out of a URI.
func withoutToken(uri string) string {
	path, query, _ := strings.Cut(uri, "?")
	if query, _ = cutTokenParameter(query); query != "" {
		return path + "?" + query
	}
	return path
}

// refuseToken answers a request whose token is missing, or not valid.
func refuseToken(w http.ResponseWriter, err error) error {
	switch {
	case errors.Is(err, errOtherKey):
		return caddyhttp.Error(http.StatusForbidden, err)
	case errors.Is(err, sessionbackend.ErrGone):
		return caddyhttp.Error(http.StatusGone, errors.New(messageGone))
	case errors.Is(err, errTwoTokens):
		return caddyhttp.Error(http.StatusBadRequest, err)
	}
	w.Header().Set("WWW-Authenticate", "Bearer")
	return caddyhttp.Error(http.StatusUnauthorized, err)
}
