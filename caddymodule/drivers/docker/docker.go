// Package docker is the guest module webtask.drivers.docker, which runs session
// backends as containers of a Docker Engine. Importing it registers it.
package docker

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"

	"github.com/webtask-edge/caddy-webtask/caddymodule"
	"github.com/webtask-edge/caddy-webtask/sessionbackend"
	"github.com/webtask-edge/caddy-webtask/sessionbackend/docker"
)

func init() {
	caddy.RegisterModule(new(Driver))
}

// Driver runs each session backend as a container of a Docker Engine.
//
// A backend finds in its environment, besides what its image and `env` set:
// `PORT`, the TCP port where it is to listen; `SESSION_BACKEND_ID`,
// `SESSION_BACKEND_KEY` and `SESSION_BACKEND_FENCING_TOKEN`.
//
// Its container has no capabilities and cannot gain privileges. Its process 1 is
// the engine's init. What it writes is logged. When it ends, or has to, its
// container is removed, and with it all that was written in it.
type Driver struct {
	// The image, and what follows its entry point. Default of the latter: what the
	// image says.
	Image string   `json:"image,omitempty"`
	Args  []string `json:"args,omitempty"`

	// The Docker Engine: `unix:///absolute/path` or `tcp://host:port`. Who reaches
	// it is root on its machine, so the latter is for trusted networks only.
	// Default: `unix:///var/run/docker.sock`.
	Host string `json:"host,omitempty"`

	// Variables of its environment, by name. A value that is secret should be a
	// global placeholder, {env.NAME} or {file./absolute/path}, which is replaced
	// when the server starts and appears in no configuration.
	Env map[string]string `json:"env,omitempty"`

	// When the engine pulls the image: `always`, before each start; `if_not_present`;
	// or `never`. It pulls without a login. Default: `if_not_present`.
	Pull string `json:"pull,omitempty"`

	// Where it listens, which PORT says. Default: 8080. In the network `host` each
	// backend gets a free port of its own, and there is none here.
	Port int `json:"port,omitempty"`

	// The network of the engine that it is in. Others in that network can reach it.
	// `host`: it listens at 127.0.0.1, and has the network of the machine. Default:
	// `bridge`.
	Network string `json:"network,omitempty"`

	// How many bytes of memory it may take. Default: not limited.
	Memory int64 `json:"memory,omitempty"`

	// How many processors it may keep busy, as in 0.5. Default: not limited.
	CPUs float64 `json:"cpus,omitempty"`

	// How many processes and threads it may have. Default: not limited.
	Processes int64 `json:"processes,omitempty"`

	// The user of the image that it runs as, by name or number. Default: what the
	// image says, which often is root.
	User string `json:"user,omitempty"`

	// The runtime of the engine, such as `runsc`. Default: the engine's.
	Runtime string `json:"runtime,omitempty"`

	// Files and directories of the engine's machine that it sees, each as
	// `source:target`, or `source:target:ro` for one that it may not change. In a
	// Caddyfile a source may be relative to the file.
	Mounts []string `json:"mounts,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*Driver) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "webtask.drivers.docker",
		New: func() caddy.Module { return new(Driver) },
	}
}

// UnmarshalCaddyfile sets up the driver. Syntax:
//
//	driver docker <image> [<args...>] {
//		host       <address>
//		env        <name> <value>
//		pull       always | if_not_present | never
//		port       <number>
//		network    <name>
//		memory     <size>
//		cpus       <number>
//		processes  <number>
//		user       <name>
//		runtime    <name>
//		mount      <host path>:<container path>[:ro]
//	}
func (r *Driver) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume driver type
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.Err("driver docker takes an image and its arguments")
	}
	r.Image, r.Args = args[0], args[1:]
	seen := map[string]bool{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		if seen[name] && name != "env" && name != "mount" {
			return d.Errf("option %s of driver docker is already specified", name)
		}
		seen[name] = true
		if err := r.unmarshalOption(d, name); err != nil {
			return err
		}
	}
	return nil
}

// options are the names of all options, in the order of the documentation.
const options = "host, env, pull, port, network, memory, cpus, processes, user, runtime, mount"

func (r *Driver) unmarshalOption(d *caddyfile.Dispenser, name string) error {
	if name == "env" {
		return r.unmarshalEnv(d)
	}
	var value string
	if !d.AllArgs(&value) || value == "" {
		return d.Errf("option %s of driver docker takes one value; the options are: %s", name, options)
	}
	var err error
	switch name {
	case "host":
		r.Host = value
	case "pull":
		r.Pull = value
	case "port":
		if r.Port, err = strconv.Atoi(value); err != nil || r.Port < 1 || r.Port > math.MaxUint16 {
			return d.Errf("option port: %q is no TCP port; it is between 1 and 65535", value)
		}
	case "network":
		r.Network = value
	case "memory":
		var size uint64
		if size, err = humanize.ParseBytes(value); err != nil || size == 0 || size > math.MaxInt64 {
			return d.Errf("option memory: %q is no size; write one such as 256MiB", value)
		}
		r.Memory = int64(size)
	case "cpus":
		if r.CPUs, err = strconv.ParseFloat(value, 64); err != nil || !(r.CPUs > 0) {
			return d.Errf("option cpus: %q is no number of processors; write one such as 0.5", value)
		}
	case "processes":
		if r.Processes, err = strconv.ParseInt(value, 10, 64); err != nil || r.Processes < 1 {
			return d.Errf("option processes: %q is no number above zero", value)
		}
	case "user":
		r.User = value
	case "runtime":
		r.Runtime = value
	case "mount":
		return r.unmarshalMount(d, value)
	default:
		return d.Errf("unknown option %q of driver docker; it has: %s", name, options)
	}
	return nil
}

func (r *Driver) unmarshalEnv(d *caddyfile.Dispenser) error {
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

// unmarshalMount takes a mount, whose source may be relative to the Caddyfile.
func (r *Driver) unmarshalMount(d *caddyfile.Dispenser, value string) error {
	source, rest, _ := strings.Cut(value, ":")
	if source != "" {
		var err error
		if source, err = caddymodule.FilePath(d, source); err != nil {
			return err
		}
	}
	r.Mounts = append(r.Mounts, source+":"+rest)
	return nil
}

// OpenDriver implements caddymodule.BackendDriver.
func (r *Driver) OpenDriver(host *caddymodule.BackendHost, grace time.Duration) (sessionbackend.Driver, error) {
	spec, err := r.spec()
	if err != nil {
		return nil, err
	}
	spec.Grace = grace
	part := host.Part("docker", func() caddymodule.BackendPart {
		return docker.NewFleet(docker.Options{Lock: host.Node.Lock, Logger: host.Logger})
	})
	return part.(*docker.Fleet).Driver(spec)
}

// CannotNotify implements caddymodule.MuteDriver: no socket of the edge is in a
// container.
func (*Driver) CannotNotify() {}

// spec returns what the driver runs, with global placeholders replaced.
func (r *Driver) spec() (docker.Spec, error) {
	spec := docker.Spec{
		Pull: r.Pull, Port: r.Port,
		Limits: docker.Limits{Memory: r.Memory, CPUs: r.CPUs, Processes: r.Processes},
	}
	repl := caddy.NewReplacer()
	resolve := func(option, value string) (string, error) {
		if err := caddymodule.ResolvePlaceholders(repl, &value); err != nil {
			return "", fmt.Errorf("driver docker: %s: %w", option, err)
		}
		return value, nil
	}
	for _, field := range []struct {
		option, value string
		target        *string
	}{
		{"image", r.Image, &spec.Image}, {"host", r.Host, &spec.Host}, {"network", r.Network, &spec.Network},
		{"user", r.User, &spec.User}, {"runtime", r.Runtime, &spec.Runtime},
	} {
		var err error
		if *field.target, err = resolve(field.option, field.value); err != nil {
			return spec, err
		}
	}
	for _, arg := range r.Args {
		arg, err := resolve("args", arg)
		if err != nil {
			return spec, err
		}
		spec.Args = append(spec.Args, arg)
	}
	spec.Env = make(map[string]string, len(r.Env))
	for name, value := range r.Env {
		var err error
		if spec.Env[name], err = resolve("env "+name, value); err != nil {
			return spec, err
		}
	}
	for _, text := range r.Mounts {
		text, err := resolve("mount", text)
		if err != nil {
			return spec, err
		}
		mount, err := docker.ParseMount(text)
		if err != nil {
			return spec, fmt.Errorf("driver docker: mount: %w", err)
		}
		spec.Mounts = append(spec.Mounts, mount)
	}
	return spec, nil
}

// Interface guards
var (
	_ caddyfile.Unmarshaler  = (*Driver)(nil)
	_ caddymodule.MuteDriver = (*Driver)(nil)
)
