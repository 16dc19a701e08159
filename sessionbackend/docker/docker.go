// Package docker is the driver that runs session backends as containers of a
// Docker Engine.
//
//	fleet := docker.NewFleet(docker.Options{Lock: node.Lock})
//	driver, err := fleet.Driver(docker.Spec{Image: "registry.example.com/editor:3", Memory: 256 << 20})
//	instance, err := driver.Start(ctx, identity)
//	err = fleet.Close(ctx)
//
// An engine goes on when the edge ends, and so do its containers. Two things see
// to it that none is left. One is the reaper process, this binary again: it holds
// the node's lock for as long as there are containers, ends them as if they had
// been asked to when the edge is gone, and kills those whose deadline has come,
// whatever the edge is doing. The other is the next edge, which removes all that
// has the node's label before it starts anything on an engine.
//
// A backend gets the environment of its image and of its Spec, and besides:
//
//	PORT            number of the TCP port where it is to listen
//	SESSION_BACKEND_ID, SESSION_BACKEND_KEY, SESSION_BACKEND_FENCING_TOKEN
//
// It has no capabilities, cannot gain privileges, and its process 1 is the
// engine's init, which passes signals on and reaps. What it writes goes to the
// edge's log, line by line, and nowhere else.
package docker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/moby/moby/client"
	"go.uber.org/zap"

	"github.com/webtask-edge/caddy-webtask/sessionbackend/internal/environ"
)

// Options configure a Fleet. Lock is needed.
type Options struct {
	// Lock returns a locked file, which the reaper process keeps for as long as
	// there are containers. It waits until nobody else has it. The directory of
	// the file remembers whose containers are whose.
	Lock func(context.Context) (*os.File, error)

	// Patience is how long the reaper process may say nothing, though it is asked,
	// before it is killed and another started; default 30s.
	Patience time.Duration

	Logger *zap.Logger // default: none
}

// Spec is what a driver runs.
type Spec struct {
	Image string
	Args  []string // what follows the image's entry point; default: the image's own

	Host string            // of the engine; default DefaultHost
	Pull string            // PullAlways, PullIfNotPresent or PullNever; default PullIfNotPresent
	Env  map[string]string // what it gets besides

	// Port is where it listens, by default 8080. With HostNetwork each backend gets
	// a port of its own, and there is none here.
	Port int

	Network string // that the container is in; default DefaultNetwork
	User    string // of the image, by name or number; default: the image's
	Runtime string // of the engine; default: the engine's
	Mounts  []Mount
	Limits  Limits

	// Grace is how long it may take to end when the edge dies, before it is
	// killed; default 10s.
	Grace time.Duration
}

// Limits bound a container. What is zero is not limited.
type Limits struct {
	Memory    int64   // bytes, without swap
	CPUs      float64 // how many it may keep busy
	Processes int64   // processes and threads
}

// Mount is a file or directory of the engine's machine that a container sees.
type Mount struct {
	Source, Target string // absolute paths
	ReadOnly       bool
}

// Defaults of a Spec, and the network that is none.
const (
	DefaultHost    = "unix:///var/run/docker.sock"
	DefaultPort    = 8080
	DefaultNetwork = "bridge"
	HostNetwork    = "host"
)

// When the engine is told to pull an image.
const (
	PullAlways       = "always"         // before each start
	PullIfNotPresent = "if_not_present" // when the engine does not have it
	PullNever        = "never"
)

// ownName is the variable that the driver sets itself, besides those of environ.
const ownName = "PORT"

// minMemory is the least that engines accept.
const minMemory = 6 << 20

// aName is what engines take for the name of a network, a runtime or a user.
var aName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)

// aUser is a user, and its group if need be.
var aUser = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?$`)

// Check reports what is wrong with a Spec.
func (s *Spec) Check() error {
	for _, check := range []func() error{s.checkImage, s.checkPlace, s.checkLimits, s.checkMounts} {
		if err := check(); err != nil {
			return fmt.Errorf("driver docker: %w", err)
		}
	}
	return nil
}

func (s *Spec) checkImage() error {
	if _, err := reference.ParseNormalizedNamed(s.Image); err != nil {
		return fmt.Errorf("%q is no image: %w", s.Image, err)
	}
	if s.Pull != "" && s.Pull != PullAlways && s.Pull != PullIfNotPresent && s.Pull != PullNever {
		return fmt.Errorf("pull: %q is unknown; it is always, if_not_present or never", s.Pull)
	}
	for name, value := range s.Env {
		if err := environ.Check(name, value, ownName); err != nil {
			return err
		}
	}
	if slices.ContainsFunc(s.Args, environ.HasNUL) {
		return errors.New("an argument has a NUL byte in it")
	}
	if s.User != "" && !aUser.MatchString(s.User) {
		return fmt.Errorf("user: %q is neither a name nor a number", s.User)
	}
	return nil
}

// checkPlace looks at the engine and the network.
func (s *Spec) checkPlace() error {
	local, err := isLocal(s.host())
	if err != nil {
		return err
	}
	if s.Runtime != "" && !aName.MatchString(s.Runtime) {
		return fmt.Errorf("runtime: %q is no name of a runtime", s.Runtime)
	}
	if s.Port < 0 || s.Port > 65535 {
		return fmt.Errorf("port: %d is no TCP port; it is between 1 and 65535", s.Port)
	}
	switch {
	case s.Network == "":
	case s.Network == "none" || !aName.MatchString(s.Network):
		return fmt.Errorf("network: a backend cannot be reached in %q; name a bridge network of the engine, or host", s.Network)
	case s.Network == HostNetwork && s.Port != 0:
		return errors.New("port: in the network host each backend gets a free port of its own; leave port out, and have it listen at PORT")
	case s.Network == HostNetwork && !local:
		return errors.New("network: host takes an engine of this machine, since its backends listen at 127.0.0.1")
	}
	return nil
}

// isLocal checks the address of an engine, and reports whether it is one of this
// machine.
func isLocal(host string) (bool, error) {
	url, err := client.ParseHostURL(host)
	if err == nil && url.Scheme == "unix" && path.IsAbs(url.Host) {
		return true, nil
	}
	if err == nil && url.Scheme == "tcp" && url.Path == "" {
		if name, port, err := net.SplitHostPort(url.Host); err == nil && name != "" && port != "" {
			ip, err := netip.ParseAddr(name)
			return name == "localhost" || err == nil && ip.IsLoopback(), nil
		}
	}
	return false, fmt.Errorf("host: %q is no address of a Docker Engine; write unix:///absolute/path or tcp://host:port", host)
}

func (s *Spec) checkLimits() error {
	if s.Limits.Memory != 0 && s.Limits.Memory < minMemory {
		return errors.New("memory: no container can do with less than 6MiB")
	}
	if s.Limits.CPUs < 0 || s.Limits.CPUs > 1<<20 || s.Limits.CPUs != 0 && nanoCPUs(s.Limits.CPUs) == 0 || s.Limits.CPUs != s.Limits.CPUs {
		return errors.New("cpus: is no number of processors")
	}
	if s.Limits.Processes < 0 {
		return errors.New("processes: is negative")
	}
	return nil
}

func nanoCPUs(cpus float64) int64 { return int64(cpus * 1e9) }

func (s *Spec) checkMounts() error {
	for _, mount := range s.Mounts {
		for _, place := range []string{mount.Source, mount.Target} {
			if !path.IsAbs(place) || environ.HasNUL(place) {
				return fmt.Errorf("mount: %q is not an absolute path", place)
			}
		}
		if path.Clean(mount.Target) == "/" {
			return errors.New("mount: nothing can be mounted over the root of a container")
		}
	}
	return nil
}

func (s *Spec) host() string {
	if s.Host == "" {
		return DefaultHost
	}
	return s.Host
}

// ParseMount reads a mount of the form source:target or source:target:ro.
func ParseMount(text string) (Mount, error) {
	source, rest, ok := strings.Cut(text, ":")
	target, mode, limited := strings.Cut(rest, ":")
	if !ok || source == "" || target == "" || limited && mode != "ro" {
		return Mount{}, fmt.Errorf("%q is no mount; write <host path>:<container path> or <host path>:<container path>:ro", text)
	}
	return Mount{Source: source, Target: target, ReadOnly: limited}, nil
}
