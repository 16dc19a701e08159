package caddymodule

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

func init() {
	httpcaddyfile.RegisterDirective("session_api", parseSessionAPI)
	// As session_backend.
	httpcaddyfile.RegisterDirectiveOrder("session_api", httpcaddyfile.Before, "intercept")
}

// parseSessionAPI sets up the handler. Syntax:
//
//	session_api control [<matcher>] {
//		auth            bearer <secret> | upstream
//		url             <url>
//		token_lifetime  <duration>
//		tokens          signed | kept
//		services        <names...>
//	}
//	session_api public [<matcher>] {
//		services        <names...>
//	}
func parseSessionAPI(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	h.Next() // consume directive name
	a := new(SessionAPI)
	if !h.NextArg() {
		return nil, h.Err("the directive session_api takes its part first: session_api control or session_api public")
	}
	a.Part = h.Val()
	h.Delete()
	h.Reset()
	h.Next()
	matchers, err := h.ExtractMatcherSet()
	if err != nil {
		return nil, err
	}
	h.Next() // consume directive name
	if h.NextArg() {
		return nil, h.Errf("the directive session_api takes its part and a matcher at most, but %q is neither; a path matcher begins with /", h.Val())
	}
	if err := parseBlock(h.Dispenser, "the directive session_api", sessionAPIOptions, a); err != nil {
		return nil, err
	}
	if err := a.check(); err != nil {
		return nil, h.WrapErr(err)
	}
	return h.NewRoute(matchers, a), nil
}

// sessionAPIOptions are the options of the directive session_api.
var sessionAPIOptions = []option[*SessionAPI]{
	{
		name: "auth", syntax: "bearer <secret> | upstream", dflt: "required for control",
		parse: func(d *caddyfile.Dispenser, a *SessionAPI) error {
			args, err := someArgs(d)
			if err != nil {
				return err
			}
			a.Auth = args[0]
			switch len(args) {
			case 1:
			case 2:
				a.Secret = args[1]
			default:
				return d.ArgErr()
			}
			return nil
		},
	},
	{name: "url", syntax: "<url>", dflt: "/s at the host of the call", parse: stringOption(func(a *SessionAPI) *string { return &a.URL })},
	{name: "token_lifetime", syntax: "<duration>", dflt: "1h", parse: durationOption(func(a *SessionAPI) *caddy.Duration { return &a.TokenLifetime })},
	{name: "tokens", syntax: "signed | kept", dflt: "signed", parse: stringOption(func(a *SessionAPI) *string { return &a.Tokens })},
	{
		name: "services", syntax: "<names...>", dflt: "all", repeats: true,
		parse: func(d *caddyfile.Dispenser, a *SessionAPI) error {
			names, err := someArgs(d)
			a.Services = append(a.Services, names...)
			return err
		},
	},
}
