package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

func init() {
	caddy.RegisterModule(new(adminAPI))
}

// adminAPI adds to Caddy's administration endpoint:
//
//	GET    /webtask/pools              the isolates, by task
//	DELETE /webtask/pools?container=c  throws isolates away, of one container or all
//	GET    /webtask/backends           the session backends
//	DELETE /webtask/backends?service=s[&key=k][&kind=hard]
//	                                   ends those of a service, or of one key
//	POST   /webtask/revoke             revokes {"token": "…"} or {"id": "…"}
//
// No answer holds a secret, a token or a session.
type adminAPI struct {
	app *App
}

// CaddyModule returns the Caddy module information.
func (*adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.webtask",
		New: func() caddy.Module { return new(adminAPI) },
	}
}

// Provision finds the app; a server may run without.
func (a *adminAPI) Provision(ctx caddy.Context) error {
	app, err := ctx.AppIfConfigured("webtask")
	switch {
	case errors.Is(err, caddy.ErrNotConfigured):
		return nil
	case err != nil:
		return err
	}
	a.app = app.(*App)
	return nil
}

// Routes implements caddy.AdminRouter.
func (a *adminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: "/webtask/pools", Handler: caddy.AdminHandlerFunc(a.pools)},
		{Pattern: "/webtask/backends", Handler: caddy.AdminHandlerFunc(serveBackends)},
		{Pattern: "/webtask/revoke", Handler: caddy.AdminHandlerFunc(a.revoke)},
	}
}

func apiError(status int, format string, args ...any) error {
	return caddy.APIError{HTTPStatus: status, Err: fmt.Errorf(format, args...)}
}

func writeJSON(w http.ResponseWriter, value any) error {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(value); err != nil {
		return apiError(http.StatusInternalServerError, "writing the answer: %w", err)
	}
	return nil
}

func (a *adminAPI) pools(w http.ResponseWriter, r *http.Request) error {
	switch r.Method {
	case http.MethodGet:
		stats := []jsruntime.PoolStats{}
		eachEngine(func(engine *sharedEngine) { stats = append(stats, engine.Stats()...) })
		return writeJSON(w, stats)
	case http.MethodDelete:
		flushed := 0
		eachEngine(func(engine *sharedEngine) { flushed += engine.Flush(r.URL.Query().Get("container"), "") })
		return writeJSON(w, map[string]int{"flushed": flushed})
	}
	return apiError(http.StatusMethodNotAllowed, "method %s is not allowed; use GET or DELETE", r.Method)
}

// revocation is the body of POST /webtask/revoke.
type revocation struct {
	// Token is the token to revoke; it must be one of this server.
	Token string `json:"token,omitempty"`
	// ID is its id (jti), for when the token itself is not at hand. It is kept
	// for ever, since only the token says when it ends.
	ID string `json:"id,omitempty"`
}

// revoked is the answer: what was revoked, until when it is kept.
type revoked struct {
	ID    string     `json:"id"`
	Until *time.Time `json:"until,omitempty"`
}

// maxRevocation bounds the body of a revocation: a token and its JSON.
const maxRevocation = webtask.MaxTokenLength + 1<<10

func (a *adminAPI) revoke(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost {
		return apiError(http.StatusMethodNotAllowed, "method %s is not allowed; use POST", r.Method)
	}
	if a.app == nil || a.app.running(r.Context()) == nil || a.app.verifier == nil {
		return apiError(http.StatusNotFound, "no route of this server accepts webtask tokens; add the directive webtask to a site")
	}
	var body revocation
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRevocation))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&body); err != nil || (body.Token == "") == (body.ID == "") {
		return apiError(http.StatusBadRequest, `the body must be JSON: {"token": "…"} or {"id": "…"}`)
	}
	if body.ID != "" {
		if err := checkTokenID(body.ID); err != nil {
			return apiError(http.StatusBadRequest, "id: %w", err)
		}
	}
	done := revoked{ID: body.ID}
	if body.Token != "" {
		verified, problem, err := openToken(a.app.verifier.Keyring(), body.Token, time.Now())
		switch {
		case err != nil:
			return apiError(http.StatusBadRequest, "the token cannot be revoked here: %w", err)
		case errors.Is(problem, webtask.ErrTokenExpired):
			return apiError(http.StatusBadRequest, "the token has expired already")
		}
		claims := verified.Claims()
		done.ID = claims.ID
		if !claims.Expires.IsZero() {
			done.Until = &claims.Expires
		}
	}
	return a.apply(r.Context(), w, done)
}

func (a *adminAPI) apply(ctx context.Context, w http.ResponseWriter, done revoked) error {
	var until time.Time
	if done.Until != nil {
		until = *done.Until
	}
	if err := a.app.store.revocations.Revoke(ctx, done.ID, until); err != nil {
		return apiError(http.StatusServiceUnavailable, "the store did not take the revocation, so that other edges will not know of it: %w; try again", err)
	}
	return writeJSON(w, done)
}

// Interface guards
var (
	_ caddy.Provisioner = (*adminAPI)(nil)
	_ caddy.AdminRouter = (*adminAPI)(nil)
)
