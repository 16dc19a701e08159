package caddymodule

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/webtask-edge/caddy-webtask/edge"
	"github.com/webtask-edge/caddy-webtask/egress"
	"github.com/webtask-edge/caddy-webtask/jsruntime/source"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("webtask", parseApp)
}

// parseApp sets up the app from the global option. Syntax:
//
//	webtask {
//		keys          <file>
//		store         file [<file>]
//		store         redis { … }
//		isolation     none
//		<limit>       <value>
//		queue         <length> [<wait>]
//		code_allow    <urls...>
//		code_max_age  <duration>
//		egress        allow <hosts...>
//		run_domain    *.<domain>
//		revocation    strict
//		peer_listen   <address> [<address for others>]
//		node          <name>
//		lease         <duration>
//	}
func parseApp(d *caddyfile.Dispenser, previous any) (any, error) {
	app := new(App)
	if earlier, ok := previous.(httpcaddyfile.App); ok {
		// A second block adds to the first, as an import may bring one.
		if err := json.Unmarshal(earlier.Value, app); err != nil {
			return nil, err
		}
	}
	if err := app.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "webtask", Value: caddyconfig.JSON(app, nil)}, nil
}

// UnmarshalCaddyfile reads the global option block; see parseApp.
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume option name
	if d.NextArg() {
		return d.Err("the global option webtask takes a block, no arguments")
	}
	if err := parseBlock(d, "the global option webtask", appOptions, a); err != nil {
		return err
	}
	if err := a.check(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// appOptions are the options of the global option webtask.
var appOptions = append([]option[*App]{
	{
		name: "keys", syntax: "<file>", dflt: "made on first start in Caddy's storage",
		parse: func(d *caddyfile.Dispenser, a *App) (err error) {
			a.Keys, err = pathArg(d)
			return err
		},
	},
	{
		name: "store", syntax: "file [<file>] | redis { … }", dflt: "file {data dir}/webtask/store.db",
		parse: func(d *caddyfile.Dispenser, a *App) (err error) {
			a.Store, err = parseStore(d)
			return err
		},
	},
	{
		name: "isolation", syntax: "process [strict] | none", dflt: "process",
		parse: func(d *caddyfile.Dispenser, a *App) error {
			args, err := someArgs(d)
			a.Isolation = strings.Join(args, " ")
			return err
		},
	},
	{
		name: "queue", syntax: "<length> [<wait>]", dflt: "1024 5s",
		parse: func(d *caddyfile.Dispenser, a *App) error {
			args, err := someArgs(d)
			if err != nil {
				return err
			}
			a.Queue = new(Queue)
			a.Queue.Length, err = strconv.Atoi(args[0])
			if err != nil || a.Queue.Length < 1 || len(args) > 2 {
				return d.Err("option queue takes how many requests may wait, a positive number, and how long, a duration: queue 1024 5s")
			}
			if len(args) == 2 {
				wait, err := parseDuration("queue", args[1])
				if err != nil {
					return d.WrapErr(err)
				}
				a.Queue.Wait = wait
			}
			return nil
		},
	},
	{
		name: "peer_listen", syntax: "<address> [<address for others>]", dflt: "this server is alone",
		parse: func(d *caddyfile.Dispenser, a *App) error {
			args, err := someArgs(d)
			if err != nil {
				return err
			}
			a.PeerListen = args[0]
			switch len(args) {
			case 1:
			case 2:
				a.PeerAddress = args[1]
			default:
				return d.ArgErr()
			}
			return nil
		},
	},
	{name: "node", syntax: "<name>", dflt: "the machine's name", parse: stringOption(func(a *App) *string { return &a.Node })},
	{name: "lease", syntax: "<duration>", dflt: "15s", parse: durationOption(func(a *App) *caddy.Duration { return &a.Lease })},
	{
		name: "code_allow", syntax: "<urls...>", dflt: "any https URL", repeats: true,
		parse: func(d *caddyfile.Dispenser, a *App) error {
			urls, err := someArgs(d)
			if err != nil {
				return err
			}
			a.CodeAllow = append(a.CodeAllow, urls...)
			return wrapped(d, source.CheckAllow(urls))
		},
	},
	{
		name: "code_max_age", syntax: "<duration>", dflt: "5m",
		parse: func(d *caddyfile.Dispenser, a *App) error {
			value, err := oneArg(d)
			if err != nil {
				return err
			}
			a.CodeMaxAge, err = parseDuration("code_max_age", value)
			if err != nil {
				return d.WrapErr(err)
			}
			return nil
		},
	},
	{
		name: "egress", syntax: "allow <hosts...>", dflt: "public addresses, ports 80 and 443", repeats: true,
		parse: func(d *caddyfile.Dispenser, a *App) error {
			args, err := someArgs(d)
			if err != nil {
				return err
			}
			if args[0] != "allow" || len(args) == 1 {
				return d.Err("option egress takes allow and what may be reached: egress allow api.example.com *.internal:8080 10.1.0.0/16")
			}
			a.EgressAllow = append(a.EgressAllow, args[1:]...)
			return wrapped(d, checkEgress(args[1:]))
		},
	},
	{
		name: "run_domain", syntax: "*.<domain>", dflt: "none",
		parse: func(d *caddyfile.Dispenser, a *App) (err error) {
			if a.RunDomain, err = oneArg(d); err != nil {
				return err
			}
			return wrapped(d, edge.CheckRunDomain(a.RunDomain))
		},
	},
	{
		name: "revocation", syntax: "strict", dflt: "the last known set holds while the store is down",
		parse: func(d *caddyfile.Dispenser, a *App) (err error) {
			a.Revocation, err = oneArg(d)
			return err
		},
	},
}, limitOptions((*App).limits, defaultLimit)...)

// wrapped returns an error with the place in the Caddyfile.
func wrapped(d *caddyfile.Dispenser, err error) error {
	if err == nil {
		return nil
	}
	return d.WrapErr(err)
}

func checkEgress(rules []string) error {
	if _, err := egress.ParsePolicy(rules); err != nil {
		return fmt.Errorf("egress allow: %w", err)
	}
	return nil
}

func (a *App) limits() *webtask.Limits { return &a.Limits }

// defaultLimit returns the edge's default of a limit, as documents put it.
func defaultLimit(name string) string {
	switch name {
	case "memory":
		return "128MiB"
	case "isolates":
		return "auto"
	}
	if value := edge.DefaultLimits.Get(name); value != "" {
		return value
	}
	return "none"
}

// parseDuration reads a positive duration of the option called name.
func parseDuration(name, value string) (caddy.Duration, error) {
	duration, err := caddy.ParseDuration(value)
	if err != nil || duration <= 0 {
		return 0, fmt.Errorf(`%s: %q is not a positive duration; write one with a unit, like "5s" or "1d"`, name, value)
	}
	return caddy.Duration(duration), nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*App)(nil)
