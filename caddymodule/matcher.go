package caddymodule

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	caddy.RegisterModule(new(MatchToken))
}

// MatchToken matches requests that carry a webtask token which passes every
// check: it is signed by a key of this server, valid now, not revoked, and
// allowed at the request's host. It counts against no rate limit.
//
// COMPATIBILITY NOTE: a token that does not pass does not match; it is not
// answered with an error, as the directive `webtask` would.
type MatchToken struct {
	// The container whose tokens match. Default: any.
	Container string `json:"container,omitempty"`

	app *App
}

// CaddyModule returns the Caddy module information.
func (*MatchToken) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.matchers.webtask_token",
		New: func() caddy.Module { return new(MatchToken) },
	}
}

// UnmarshalCaddyfile sets up the matcher. Syntax:
//
//	webtask_token [<container>]
func (m *MatchToken) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	for d.Next() {
		if d.NextArg() {
			if m.Container != "" {
				return d.Err("webtask_token takes one container; write several matchers, or an expression")
			}
			m.Container = d.Val()
		}
		if d.NextArg() {
			return d.Err("webtask_token takes one container at most")
		}
		if d.NextBlock(0) {
			return d.Err("webtask_token takes no block")
		}
	}
	return nil
}

// Provision finds the app.
func (m *MatchToken) Provision(ctx caddy.Context) error {
	if m.Container != "" && !containerName.MatchString(m.Container) {
		return fmt.Errorf("webtask_token: %q is no name of a container", m.Container)
	}
	app, err := ctx.App("webtask")
	if err != nil {
		return err
	}
	m.app = app.(*App)
	return m.app.needKeys()
}

// MatchWithError implements caddyhttp.RequestMatcherWithError.
func (m *MatchToken) MatchWithError(r *http.Request) (bool, error) {
	if !m.app.life.enter() {
		return false, caddyhttp.Error(http.StatusServiceUnavailable, errors.New("the configuration that this request belongs to has ended"))
	}
	defer m.app.life.leave()
	e := m.app.running(r.Context())
	if e == nil {
		return false, caddyhttp.Error(http.StatusServiceUnavailable, errors.New("webtask is not running"))
	}
	matched, err := e.Match(r, m.Container)
	return matched, passedError(err)
}

// Interface guards
var (
	_ caddy.Provisioner                 = (*MatchToken)(nil)
	_ caddyfile.Unmarshaler             = (*MatchToken)(nil)
	_ caddyhttp.RequestMatcherWithError = (*MatchToken)(nil)
)
