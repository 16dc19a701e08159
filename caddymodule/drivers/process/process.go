// Package process is the guest module webtask.drivers.process, which runs
// session backends as processes of this machine. Importing it registers it.
package process

import (
	"errors"
	"fmt"
	"math"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"
	"go.uber.org/zap"

	"github.com/webtask-edge/caddy-webtask/caddymodule"
	"github.com/webtask-edge/caddy-webtask/sessionbackend"
	"github.com/webtask-edge/caddy-webtask/sessionbackend/process"
)

func init() {
	caddy.RegisterModule(new(Driver))
}

// Driver runs each session backend as a process of this machine.
//
// A backend finds in its environment, besides PATH, HOME and the variables of
// `env`: `SOCKET`, the path of a Unix socket where it is to listen, or `PORT`, a TCP
// port of 127.0.0.1 where it may instead, see `listen`; `SESSION_BACKEND_ID`,
// `SESSION_BACKEND_KEY`, `SESSION_BACKEND_FENCING_TOKEN`; and `NOTIFY_SOCKET`, see
// sd_notify(3). In arguments and variables, `{backend.socket}` and
// `{backend.port}` stand for the first two.
//
// It is in a session of its own, has no descriptors but the standard ones, and
// cannot gain privileges. What it writes is logged. When it ends, or has to, so
// does everything that it started.
type Driver struct {
	// The program, an absolute path or a name that is looked up in PATH, and its
	// arguments. In a Caddyfile a path may be relative to the file.
	Command string   `json:"command,omitempty"`
	Args    []string `json:"args,omitempty"`

	// The directory that it runs in. Default: the server's.
	Dir string `json:"dir,omitempty"`

	// Variables of its environment, by name. A value that is secret should be a
	// global placeholder, {env.NAME} or {file./absolute/path}, which is replaced
	// when the server starts and appears in no configuration.
	Env map[string]string `json:"env,omitempty"`

	// Where it listens: `socket`, at SOCKET, or `port`, at PORT. Default: `port` if
	// arguments or variables tell it that one and not the other, else `socket`.
	// Other processes of the machine can reach a port, and take one that is free.
	Listen string `json:"listen,omitempty"`

	// The user that it runs as, which takes a server that runs as root. Default:
	// the server's.
	User string `json:"user,omitempty"`

	// How many bytes of memory each of its processes may write to. Default: not
	// limited.
	Memory int64 `json:"memory,omitempty"`

	// How many descriptors each of its processes may have open. Default: the
	// server's limit.
	Files int64 `json:"files,omitempty"`

	// How many processes and threads its user may have, all backends together.
	// Default: the server's limit.
	Processes int64 `json:"processes,omitempty"`

	// How much CPU time each of its processes may take. Default: not limited.
	CPUTime caddy.Duration `json:"cpu_time,omitempty"`

	logger *zap.Logger
}

// CaddyModule returns the Caddy module information.
func (*Driver) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "webtask.drivers.process",
		New: func() caddy.Module { return new(Driver) },
	}
}

// Provision keeps the logger of this configuration: that of the host writes to
// the one before, or to none, until this one has started.
func (r *Driver) Provision(ctx caddy.Context) error {
	r.logger = ctx.Logger()
	return nil
}

// UnmarshalCaddyfile sets up the driver. Syntax:
//
//	driver process <command> [<args...>] {
//		env        <name> <value>
//		dir        <directory>
//		listen     socket | port
//		user       <name>
//		memory     <size>
//		files      <number>
//		processes  <number>
//		cpu_time   <duration>
//	}
func (r *Driver) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume driver type
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.Err("driver process takes a command and its arguments")
	}
	r.Command, r.Args = args[0], args[1:]
	if strings.Contains(r.Command, "/") {
		var err error
		if r.Command, err = caddymodule.FilePath(d, r.Command); err != nil {
			return err
		}
	}
	seen := map[string]bool{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		if seen[name] && name != "env" {
			return d.Errf("option %s of driver process is already specified", name)
		}
		seen[name] = true
		if err := r.unmarshalOption(d, name); err != nil {
			return err
		}
	}
	return nil
}

func (r *Driver) unmarshalOption(d *caddyfile.Dispenser, name string) error {
	if name == "env" {
		var key, value string
		if !d.AllArgs(&key, &value) {
			return d.Err("option env takes a name and a value")
		}
		if _, ok := r.Env[key]; ok {
			return d.Errf("env %s is already specified", key)
		}
		if r.Env == nil {
			r.Env = map[string]string{}
		}
		r.Env[key] = value
		return nil
	}
	var value string
	if !d.AllArgs(&value) || value == "" {
		return d.Errf("option %s of driver process takes one value; the options are: env, dir, listen, user, memory, files, processes, cpu_time", name)
	}
	var err error
	switch name {
	case "dir":
		r.Dir, err = caddymodule.FilePath(d, value)
	case "listen":
		r.Listen = value
	case "user":
		r.User = value
	case "memory":
		var size uint64
		if size, err = humanize.ParseBytes(value); err != nil || size == 0 || size > math.MaxInt64 {
			return d.Errf("option memory: %q is no size; write one such as 256MiB", value)
		}
		r.Memory = int64(size)
	case "files":
		r.Files, err = number(value)
	case "processes":
		r.Processes, err = number(value)
	case "cpu_time":
		var duration time.Duration
		if duration, err = caddy.ParseDuration(value); err != nil || duration < time.Second {
			return d.Errf("option cpu_time: %q is no duration of a second or more", value)
		}
		r.CPUTime = caddy.Duration(duration)
	default:
		return d.Errf("unknown option %q of driver process; it has: env, dir, listen, user, memory, files, processes, cpu_time", name)
	}
	if err != nil {
		return d.Errf("option %s: %v", name, err)
	}
	return nil
}

func number(value string) (int64, error) {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%q is no number above zero", value)
	}
	return n, nil
}

// OpenDriver implements caddymodule.BackendDriver.
func (r *Driver) OpenDriver(host *caddymodule.BackendHost, grace time.Duration) (sessionbackend.Driver, error) {
	spec, err := r.spec()
	if err != nil {
		return nil, err
	}
	spec.Grace = grace
	if spec.User == nil {
		r.logger.Warn("session backends run as the server's own user, and can read what the server can: keys, certificates, the store; give them a user of their own with the option user of driver process",
			zap.String("command", spec.Command))
	}
	part := host.Part("process", func() caddymodule.BackendPart {
		return process.NewSupervisor(process.Options{Lock: host.Node.Lock, Overdue: host.Overdue(), Logger: host.Logger})
	})
	return part.(*process.Supervisor).Driver(spec)
}

// Program implements caddymodule.BackendProgram.
func (r *Driver) Program() []string { return []string{r.Command} }

// spec returns what the driver runs, with global placeholders replaced.
func (r *Driver) spec() (process.Spec, error) {
	var spec process.Spec
	repl := caddy.NewReplacer()
	// These are replaced for each backend.
	for _, name := range []string{"backend.socket", "backend.port"} {
		repl.Set(name, "{"+name+"}")
	}
	resolve := func(option string, value string) (string, error) {
		if err := caddymodule.ResolvePlaceholders(repl, &value); err != nil {
			return "", fmt.Errorf("driver process: %s: %w", option, err)
		}
		return value, nil
	}
	var err error
	if spec.Command, err = resolve("command", r.Command); err != nil {
		return spec, err
	}
	if !strings.Contains(spec.Command, "/") {
		if spec.Command, err = exec.LookPath(spec.Command); err != nil {
			return spec, fmt.Errorf("driver process: the command %q is not in PATH: %w", r.Command, err)
		}
	}
	if spec.Dir, err = resolve("dir", r.Dir); err != nil {
		return spec, err
	}
	for _, arg := range r.Args {
		if arg, err = resolve("args", arg); err != nil {
			return spec, err
		}
		spec.Args = append(spec.Args, arg)
	}
	spec.Env = make(map[string]string, len(r.Env))
	for name, value := range r.Env {
		if spec.Env[name], err = resolve("env "+name, value); err != nil {
			return spec, err
		}
	}
	if spec.User, err = lookUp(r.User); err != nil {
		return spec, err
	}
	spec.Listen = r.Listen
	spec.Limits = process.Limits{
		Memory: r.Memory, Files: r.Files, Processes: r.Processes, CPU: int64(time.Duration(r.CPUTime) / time.Second),
	}
	return spec, nil
}

// lookUp returns a user of the system; nil for the server's own.
func lookUp(name string) (*process.User, error) {
	if name == "" {
		return nil, nil
	}
	found, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("driver process: user: %w", err)
	}
	ids, err := found.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("driver process: user: groups of %s: %w", name, err)
	}
	one := &process.User{Home: found.HomeDir}
	var errs []error
	parse := func(text string) uint32 {
		id, err := strconv.ParseUint(text, 10, 32)
		errs = append(errs, err)
		return uint32(id)
	}
	one.UID, one.GID = parse(found.Uid), parse(found.Gid)
	for _, id := range ids {
		one.Groups = append(one.Groups, parse(id))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("driver process: user: %s: %w", name, err)
	}
	return one, nil
}

// Interface guards
var (
	_ caddy.Provisioner          = (*Driver)(nil)
	_ caddyfile.Unmarshaler      = (*Driver)(nil)
	_ caddymodule.BackendDriver  = (*Driver)(nil)
	_ caddymodule.BackendProgram = (*Driver)(nil)
)
