package caddymodule

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/webtask-edge/caddy-webtask/egress"
	"github.com/webtask-edge/caddy-webtask/jsruntime/source"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("webtask", parseHandler)
	// After encode, so that answers are compressed; before intercept and
	// templates, so that what a task answers is data to them, not a template;
	// and so before respond, reverse_proxy and file_server.
	httpcaddyfile.RegisterDirectiveOrder("webtask", httpcaddyfile.Before, "intercept")
}

func parseHandler(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	if err := handler.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return handler, nil
}

// UnmarshalCaddyfile sets up the handler. Syntax:
//
//	webtask [<matcher>] {
//		code            <file> | <url> | <expression>
//		secret          <name> <value>
//		param           <name> <value>
//		meta            <name> <value>
//		container       <name>
//		name            <name>
//		integrity       sha256-<digest>
//		net             <hosts...>
//		parse_body      never | always | by_arity
//		merge_body
//		trusted
//		trust_responses
//		errors          pass
//		<limit>         <value>
//	}
//
// Without `code` the directive is in token mode: it runs what the token of a
// request names, and passes on requests without one.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	if d.NextArg() {
		return d.Errf("the directive webtask takes at most a matcher, but %q is none; a path matcher begins with /, and code is an option of its block", d.Val())
	}
	if err := parseBlock(d, "the directive webtask", handlerOptions, h); err != nil {
		return err
	}
	if err := h.check(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// handlerOptions are the options of the directive webtask.
var handlerOptions = append([]option[*Handler]{
	{
		name: "code", syntax: "<file> | <url> | <expression>", dflt: "token mode",
		parse: func(d *caddyfile.Dispenser, h *Handler) (err error) {
			h.Code, err = parseCode(d)
			return err
		},
	},
	{
		name: "secret", syntax: "<name> <value>", dflt: "none", repeats: true,
		parse: func(d *caddyfile.Dispenser, h *Handler) error { return pair(d, &h.Secrets) },
	},
	{
		name: "param", syntax: "<name> <value>", dflt: "none", repeats: true,
		parse: func(d *caddyfile.Dispenser, h *Handler) error { return pair(d, &h.Params) },
	},
	{
		name: "meta", syntax: "<name> <value>", dflt: "none", repeats: true,
		parse: func(d *caddyfile.Dispenser, h *Handler) error { return pair(d, &h.Meta) },
	},
	{name: "container", syntax: "<name>", dflt: "@ and the site's host", parse: stringOption(func(h *Handler) *string { return &h.Container })},
	{name: "name", syntax: "<name>", dflt: "none", parse: stringOption(func(h *Handler) *string { return &h.Name })},
	{name: "integrity", syntax: "sha256-<digest>", dflt: "not checked", parse: stringOption(func(h *Handler) *string { return &h.Integrity })},
	{
		name: "net", syntax: "<hosts...>", dflt: "whatever `egress` allows", repeats: true,
		parse: func(d *caddyfile.Dispenser, h *Handler) error {
			hosts, err := someArgs(d)
			h.Net = append(h.Net, hosts...)
			return err
		},
	},
	{name: "parse_body", syntax: "never | always | by_arity", dflt: "by_arity", parse: stringOption(func(h *Handler) *string { return &h.ParseBody })},
	{name: "merge_body", dflt: "off", parse: func(d *caddyfile.Dispenser, h *Handler) error { return flagArg(d, &h.MergeBody) }},
	{name: "trusted", dflt: "off", parse: func(d *caddyfile.Dispenser, h *Handler) error { return flagArg(d, &h.Trusted) }},
	{name: "trust_responses", dflt: "off", parse: func(d *caddyfile.Dispenser, h *Handler) error { return flagArg(d, &h.TrustResponses) }},
	{name: "errors", syntax: "pass", dflt: "answered as JSON", parse: stringOption(func(h *Handler) *string { return &h.Errors })},
}, limitOptions((*Handler).limits, func(string) string { return "the global option's" })...)

func (h *Handler) limits() *webtask.Limits { return &h.Limits }

// containerName is what the container of a route may be called: what a token's
// may, and besides a leading @, which marks a site's own.
var containerName = regexp.MustCompile(`^@?[A-Za-z0-9._~!$+=:*\[\]-]{1,127}$`)

func errContainer(name string) error {
	return fmt.Errorf("container: %q is no name of a container; write up to 127 letters, digits or -._~!$+=: and a leading @ at most", name)
}

// check reports what is wrong with the configuration by itself.
func (h *Handler) check() error {
	if h.Container != "" && !containerName.MatchString(h.Container) {
		return errContainer(h.Container)
	}
	if h.Errors != "" && h.Errors != "pass" {
		return fmt.Errorf("errors: %q is unknown; it can be pass, or left out", h.Errors)
	}
	if _, err := h.parseBody(); err != nil {
		return err
	}
	if h.Code == nil {
		return h.checkTokenMode()
	}
	if h.Trusted || h.TrustResponses {
		return errors.New("trusted and trust_responses: are for token mode; a task that `code` binds to the route is the site's own and trusted already; leave them out")
	}
	if _, err := h.Code.ref(); err != nil {
		return err
	}
	if h.Integrity != "" {
		if err := source.CheckIntegrity(h.Integrity); err != nil {
			return fmt.Errorf("integrity: %w", err)
		}
	}
	if _, err := egress.ParsePolicy(h.Net); err != nil {
		return fmt.Errorf("net: %w", err)
	}
	return nil
}

// checkTokenMode refuses what a token decides.
func (h *Handler) checkTokenMode() error {
	var given []string
	for option, is := range map[string]bool{
		"secret": h.Secrets != nil, "param": h.Params != nil, "meta": h.Meta != nil, "name": h.Name != "",
		"integrity": h.Integrity != "", "net": h.Net != nil, "parse_body": h.ParseBody != "", "merge_body": h.MergeBody,
	} {
		if is {
			given = append(given, option)
		}
	}
	if given != nil {
		return fmt.Errorf("%s: needs the option code; in token mode the token decides it", strings.Join(sorted(given), ", "))
	}
	return nil
}

func (h *Handler) parseBody() (webtask.ParseBody, error) {
	switch h.ParseBody {
	case "", "by_arity":
		return webtask.ParseBodyByArity, nil
	case "never":
		return webtask.ParseBodyNever, nil
	case "always":
		return webtask.ParseBodyAlways, nil
	}
	return 0, fmt.Errorf("parse_body: %q is unknown; it is never, always or by_arity", h.ParseBody)
}

// resolveSecrets returns the secrets and parameters with global placeholders
// replaced, and the names of secrets that the configuration itself holds. The
// results never go back into a configuration.
func (h *Handler) resolveSecrets() (secrets, params map[string]string, literal []string, err error) {
	repl := caddy.NewReplacer()
	resolve := func(option string, from map[string]string) (map[string]string, error) {
		if from == nil {
			return nil, nil
		}
		resolved := make(map[string]string, len(from))
		for name, value := range from {
			if err := ResolvePlaceholders(repl, &value); err != nil {
				return nil, fmt.Errorf("%s %s: %w", option, name, err)
			}
			resolved[name] = value
		}
		return resolved, nil
	}
	if secrets, err = resolve("secret", h.Secrets); err != nil {
		return nil, nil, nil, err
	}
	for name, value := range h.Secrets {
		if !isReference(value) {
			literal = append(literal, name)
		}
	}
	if params, err = resolve("param", h.Params); err != nil {
		return nil, nil, nil, err
	}
	return secrets, params, sorted(literal), nil
}

// isReference reports whether a value names where a secret is instead of
// being it.
func isReference(value string) bool {
	return strings.Contains(value, "{env.") || strings.Contains(value, "{file.")
}

// Interface guard
var _ caddyfile.Unmarshaler = (*Handler)(nil)
