package caddymodule

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/webtask-edge/caddy-webtask/sessionbackend"
)

func init() {
	httpcaddyfile.RegisterDirective("session_backend", parseSessionBackend)
	// As webtask: answers are compressed, and are data to templates and
	// intercept.
	httpcaddyfile.RegisterDirectiveOrder("session_backend", httpcaddyfile.Before, "intercept")
}

// parseSessionBackend sets up the handler. Syntax:
//
//	session_backend [<name>] [<matcher>] {
//		key             <value>
//		container       <name>
//		driver          <type> …
//		idle            <duration> | never
//		lifetime        <duration>
//		start_timeout   <duration>
//		stop_grace      <duration>
//		ready           tcp | http <path> | notify
//		max_backends    <number>
//		on_full         refuse | evict
//		client_starts   <number> | unlimited
//		origins         <origins...>
//		auth            none | token
//		allow_env       <names...>
//		trust_responses
//		<subdirective of reverse_proxy>
//	}
//
// A first argument that is no matcher is the name.
func parseSessionBackend(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	h.Next() // consume directive name
	b := new(SessionBackend)
	if h.NextArg() {
		if first := h.Val(); !strings.HasPrefix(first, "/") && !strings.HasPrefix(first, "@") && first != "*" {
			b.Name = first
			h.Delete()
		}
	}
	h.Reset()
	h.Next()
	matchers, err := h.ExtractMatcherSet()
	if err != nil {
		return nil, err
	}
	proxied, err := b.unmarshal(h.Dispenser)
	if err != nil {
		return nil, err
	}
	if len(proxied) > 0 {
		if err := b.Proxy.FinalizeUnmarshalCaddyfile(h); err != nil {
			return nil, err
		}
	}
	return h.NewRoute(matchers, b), nil
}

// unmarshal reads the directive, and returns the subdirectives of reverse_proxy
// in it.
func (b *SessionBackend) unmarshal(d *caddyfile.Dispenser) (proxied []caddyfile.Token, err error) {
	d.Next() // consume directive name
	directive := d.Token()
	if d.NextArg() {
		return nil, d.Errf("the directive session_backend takes a name and a matcher at most, but %q is neither; a path matcher begins with /", d.Val())
	}
	err = parseBlockOr(d, "the directive session_backend", sessionBackendOptions, b, func() (bool, error) {
		name := d.Val()
		if instead, ok := refusedSubdirective(name); ok {
			return false, d.Errf("%s has no place in session_backend, which has one upstream for each key: %s", name, instead)
		}
		if !strings.HasPrefix(name, "@") && !proxySubdirectives[name] {
			return false, nil
		}
		proxied = append(proxied, d.NextSegment()...)
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	if len(proxied) > 0 {
		b.Proxy = new(reverseproxy.Handler)
		if err := b.Proxy.UnmarshalCaddyfile(caddyfile.NewDispenser(inBlock(directive, proxied))); err != nil {
			return nil, err
		}
	}
	if err := b.check(); err != nil {
		return nil, d.WrapErr(err)
	}
	return proxied, nil
}

// inBlock returns the tokens of a directive with a block.
func inBlock(directive caddyfile.Token, content []caddyfile.Token) []caddyfile.Token {
	last := content[len(content)-1]
	name, open, end := directive, directive, last
	name.Text, open.Text, end.Text = "reverse_proxy", "{", "}"
	end.Line++
	return append(append([]caddyfile.Token{name, open}, content...), end)
}

// proxySubdirectives are those of reverse_proxy that make sense here.
var proxySubdirectives = map[string]bool{
	"flush_interval": true, "request_buffers": true, "response_buffers": true, "stream_buffer_size": true, "stream_timeout": true,
	"trusted_proxies": true, "header_up": true, "header_down": true, "method": true, "rewrite": true, "transport": true,
	"handle_response": true, "replace_status": true, "verbose_logs": true, "proxy_status_name": true,
}

// refusedSubdirective reports that one of reverse_proxy makes no sense here, and
// what to do instead.
func refusedSubdirective(name string) (instead string, refused bool) {
	switch {
	case name == "to" || name == "dynamic":
		return "leave it out; the driver starts the upstream", true
	case strings.HasPrefix(name, "lb_"):
		return "leave it out; there is nothing to choose from", true
	case strings.HasPrefix(name, "health_"):
		return "use `ready` to say when a backend has started; one that ends is started again by the next request", true
	case name == "fail_duration" || name == "max_fails" || strings.HasPrefix(name, "unhealthy_"):
		return "leave it out; a backend that ends is started again by the next request", true
	case name == "stream_close_delay":
		return "leave it out; a reload closes no stream", true
	}
	return "", false
}

const (
	onFullRefuse = "refuse"
	onFullEvict  = "evict"
)

// sessionBackendOptions are the options of the directive session_backend.
var sessionBackendOptions = []option[*SessionBackend]{
	{name: "key", syntax: "<value>", dflt: "required", parse: stringOption(func(b *SessionBackend) *string { return &b.Key })},
	{name: "container", syntax: "<name>", dflt: "@ and the site's host", parse: stringOption(func(b *SessionBackend) *string { return &b.Container })},
	{
		name: "driver", syntax: "<type> …", dflt: "required",
		parse: func(d *caddyfile.Dispenser, b *SessionBackend) error {
			if !d.NextArg() {
				return d.Err("option driver takes the type of a driver, such as process")
			}
			kind := d.Val()
			module, err := caddyfile.UnmarshalModule(d, "webtask.drivers."+kind)
			if err != nil {
				return err
			}
			b.DriverRaw = caddyconfig.JSONModuleObject(module, "type", kind, nil)
			return nil
		},
	},
	{
		name: "idle", syntax: "<duration> | never", dflt: "1m",
		parse: func(d *caddyfile.Dispenser, b *SessionBackend) error {
			return durationOr(d, "never", &b.Idle)
		},
	},
	{name: "lifetime", syntax: "<duration>", dflt: "for ever", parse: durationOption(func(b *SessionBackend) *caddy.Duration { return &b.Lifetime })},
	{name: "start_timeout", syntax: "<duration>", dflt: "30s", parse: durationOption(func(b *SessionBackend) *caddy.Duration { return &b.StartTimeout })},
	{name: "stop_grace", syntax: "<duration>", dflt: "10s", parse: durationOption(func(b *SessionBackend) *caddy.Duration { return &b.StopGrace })},
	{
		name: "ready", syntax: "tcp | http <path> | notify", dflt: "tcp",
		parse: func(d *caddyfile.Dispenser, b *SessionBackend) error {
			args, err := someArgs(d)
			if err != nil {
				return err
			}
			b.Ready = args[0]
			switch len(args) {
			case 1:
			case 2:
				b.ReadyPath = args[1]
			default:
				return d.ArgErr()
			}
			return nil
		},
	},
	{name: "max_backends", syntax: "<number>", dflt: "100", parse: numberOption("", func(b *SessionBackend) *int { return &b.MaxBackends })},
	{name: "on_full", syntax: "refuse | evict", dflt: "refuse", parse: stringOption(func(b *SessionBackend) *string { return &b.OnFull })},
	{name: "client_starts", syntax: "<number> | unlimited", dflt: "60", parse: numberOption("unlimited", func(b *SessionBackend) *int { return &b.ClientStarts })},
	{
		name: "origins", syntax: "<origins...>", dflt: "the request's own host", repeats: true,
		parse: func(d *caddyfile.Dispenser, b *SessionBackend) error {
			origins, err := someArgs(d)
			b.Origins = append(b.Origins, origins...)
			return err
		},
	},
	{name: "auth", syntax: "none | token", dflt: "none", parse: stringOption(func(b *SessionBackend) *string { return &b.Auth })},
	{
		name: "allow_env", syntax: "<names...>", dflt: "none", repeats: true,
		parse: func(d *caddyfile.Dispenser, b *SessionBackend) error {
			names, err := someArgs(d)
			b.AllowEnv = append(b.AllowEnv, names...)
			return err
		},
	},
	{name: "trust_responses", dflt: "off", parse: func(d *caddyfile.Dispenser, b *SessionBackend) error { return flagArg(d, &b.TrustResponses) }},
}

// durationOr reads an option whose value is a duration above zero, or a word for
// none, which becomes negative.
func durationOr(d *caddyfile.Dispenser, none string, target *caddy.Duration) error {
	name := d.Val()
	value, err := oneArg(d)
	if err != nil {
		return err
	}
	if none != "" && value == none {
		*target = -1
		return nil
	}
	duration, err := caddy.ParseDuration(value)
	if err != nil {
		return d.Errf("option %s: %q is no duration; write one such as 30s, 5m or 12h", name, value)
	}
	if duration <= 0 {
		return d.Errf("option %s: %s is not above zero", name, value)
	}
	*target = caddy.Duration(duration)
	return nil
}

func durationOption[T any](field func(T) *caddy.Duration) func(*caddyfile.Dispenser, T) error {
	return func(d *caddyfile.Dispenser, target T) error { return durationOr(d, "", field(target)) }
}

// numberOption reads a number above zero, or a word that stands for any number.
func numberOption[T any](unlimited string, field func(T) *int) func(*caddyfile.Dispenser, T) error {
	return func(d *caddyfile.Dispenser, target T) error {
		name := d.Val()
		value, err := oneArg(d)
		if err != nil {
			return err
		}
		if unlimited != "" && value == unlimited {
			*field(target) = -1
			return nil
		}
		number, err := strconv.Atoi(value)
		if err != nil || number < 1 || number > math.MaxInt32 {
			return d.Errf("option %s: %q is no number above zero", name, value)
		}
		*field(target) = number
		return nil
	}
}

// check reports what is wrong with the configuration by itself.
func (b *SessionBackend) check() error {
	if b.Key == "" {
		return errors.New("key: is missing; it tells one session from another, as in `key {http.request.uri.path.1}`")
	}
	if b.Container != "" && !containerName.MatchString(b.Container) {
		return errContainer(b.Container)
	}
	if b.DriverRaw == nil {
		return errors.New("driver: is missing; it starts the processes, as in `driver process ./server --socket {backend.socket}`")
	}
	if err := (sessionbackend.Readiness{Kind: sessionbackend.ReadyKind(b.Ready), Path: b.ReadyPath}).Check(); err != nil {
		return err
	}
	if b.OnFull != "" && b.OnFull != onFullRefuse && b.OnFull != onFullEvict {
		return fmt.Errorf("on_full: %q is unknown; it is refuse or evict", b.OnFull)
	}
	if min(b.Lifetime, b.StartTimeout, b.StopGrace) < 0 || b.MaxBackends < 0 {
		return errors.New("lifetime, start_timeout, stop_grace and max_backends cannot be negative")
	}
	if err := b.checkAuth(); err != nil {
		return err
	}
	if err := checkAllowEnv(b.AllowEnv); err != nil {
		return err
	}
	for i, origin := range b.Origins {
		if origin == "*" {
			continue
		}
		parsed, err := url.Parse(origin)
		if err != nil || parsed.Scheme == "" || parsed.Host == "" || parsed.Scheme+"://"+parsed.Host != origin {
			return fmt.Errorf("origins: %q is no origin; write scheme and host, such as https://app.example.com, or * for all", origin)
		}
		b.Origins[i] = strings.ToLower(origin)
	}
	if b.Proxy != nil {
		if refused := b.refusedInProxy(); refused != nil {
			return fmt.Errorf("proxy: %s has no place here, for each key has one upstream; leave it out", strings.Join(refused, ", "))
		}
	}
	return nil
}
