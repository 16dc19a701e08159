// Package process is the driver that runs session backends as processes of this
// machine.
//
//	supervisor := process.NewSupervisor(process.Options{Lock: node.Lock})
//	driver, err := supervisor.Driver(process.Spec{Command: "/srv/editor", Args: []string{"--socket", "{backend.socket}"}})
//	instance, err := driver.Start(ctx, identity)
//	err = supervisor.Close(ctx)
//
// All backends are children of one process, this binary again: the supervisor
// process. It holds the node's lock for as long as anything of a backend is
// left, kills what a backend leaves behind, keeps the deadlines of backends, and
// when the edge dies, it ends all backends as if they had been asked to. When it
// dies itself, so do they.
//
// A backend gets the environment of its Spec, PATH and HOME, and besides:
//
//	SOCKET          path of a Unix socket where it is to listen
//	PORT            number of a TCP port of 127.0.0.1, for where Spec.Listen says so
//	NOTIFY_SOCKET   where it may say READY=1, see sd_notify(3)
//	SESSION_BACKEND_ID, SESSION_BACKEND_KEY, SESSION_BACKEND_FENCING_TOKEN
//
// In arguments and in values of the environment {backend.socket} and
// {backend.port} stand for the first two. It is the leader of a session of its
// own, has no descriptors but the standard ones, and cannot gain privileges by
// executing files. What it writes to standard output and error goes to the
// edge's log, line by line.
package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/webtask-edge/caddy-webtask/sessionbackend"
	"github.com/webtask-edge/caddy-webtask/sessionbackend/internal/environ"
)

// Options configure a Supervisor. Lock is needed.
type Options struct {
	// Lock returns a locked file, which the supervisor process keeps for as long
	// as anything of a backend is left. It waits until nobody else has it.
	Lock func(context.Context) (*os.File, error)

	// Patience is how long the supervisor process may say nothing, though it is
	// asked, before it is killed, and its backends with it; default 30s.
	Patience time.Duration

	// Overdue is how long after its deadline a backend may be there as far as the
	// supervisor process has told, before that is killed, and all its backends with
	// it; default 1s.
	Overdue time.Duration

	Logger *zap.Logger // default: none
}

// Spec is what a driver runs.
type Spec struct {
	Command string            // absolute path of the program
	Args    []string          // what follows it
	Dir     string            // where it runs; default: that of the edge
	Env     map[string]string // what it gets besides

	// Listen is where it listens, ListenSocket or ListenPort; default: the port if
	// that is what an argument or variable tells it, else the socket.
	Listen string

	// User is who it runs as; default: the user of the edge. Another one takes an
	// edge that runs as root.
	User *User

	Limits Limits

	// Grace is how long it may take to end when the edge dies, before it is
	// killed; default 10s.
	Grace time.Duration
}

// User is a user of the system.
type User struct {
	UID, GID uint32
	Groups   []uint32 // supplementary
	Home     string
}

// Limits bound each process of a backend. What is zero is not limited.
type Limits struct {
	Memory    int64 // bytes of private memory that can be written (RLIMIT_DATA)
	Files     int64 // open descriptors (RLIMIT_NOFILE)
	Processes int64 // processes and threads of its user (RLIMIT_NPROC)
	CPU       int64 // seconds of CPU time (RLIMIT_CPU)
}

// Names that the driver sets itself, besides those of environ.
var ownNames = []string{"SOCKET", "PORT", "NOTIFY_SOCKET"}

// Check reports what is wrong with a Spec.
func (s *Spec) Check() error {
	if !filepath.IsAbs(s.Command) {
		return fmt.Errorf("driver process: the command %q is not an absolute path", s.Command)
	}
	info, err := os.Stat(s.Command)
	if err != nil {
		return fmt.Errorf("driver process: the command cannot be run: %w", err)
	}
	if info.IsDir() || info.Mode()&0o111 == 0 {
		return fmt.Errorf("driver process: the command %s is no program: it is a directory, or nobody may execute it (chmod +x)", s.Command)
	}
	if s.Dir != "" {
		if info, err := os.Stat(s.Dir); err != nil {
			return fmt.Errorf("driver process: dir: %w", err)
		} else if !info.IsDir() {
			return fmt.Errorf("driver process: dir: %s is no directory", s.Dir)
		}
	}
	if s.Listen != "" && s.Listen != ListenSocket && s.Listen != ListenPort {
		return fmt.Errorf("driver process: listen: %q is unknown; it is socket or port", s.Listen)
	}
	for name, value := range s.Env {
		if err := environ.Check(name, value, ownNames...); err != nil {
			return fmt.Errorf("driver process: %w", err)
		}
	}
	if slices.ContainsFunc(s.Args, environ.HasNUL) {
		return errors.New("driver process: an argument has a NUL byte in it")
	}
	if min(s.Limits.Memory, s.Limits.Files, s.Limits.Processes, s.Limits.CPU) < 0 {
		return errors.New("driver process: a limit is negative")
	}
	return nil
}

// uses reports whether an argument or a value of the environment has a
// placeholder in it.
func (s *Spec) uses(placeholder string) bool {
	if slices.ContainsFunc(s.Args, func(arg string) bool { return strings.Contains(arg, placeholder) }) {
		return true
	}
	for _, value := range s.Env {
		if strings.Contains(value, placeholder) {
			return true
		}
	}
	return false
}

const (
	socketPlaceholder = "{backend.socket}"
	portPlaceholder   = "{backend.port}"
)

// Where a backend listens.
const (
	ListenSocket = "socket"
	ListenPort   = "port"
)

// address returns where a backend listens. It is one place: a port that is not
// used by the backend may be used by any other process.
func (s *Spec) address(socket string, port int) sessionbackend.Address {
	onPort := s.Listen == ListenPort || s.Listen == "" && s.uses(portPlaceholder) && !s.uses(socketPlaceholder)
	if onPort {
		return sessionbackend.Address{Network: "tcp", Address: fmt.Sprintf("127.0.0.1:%d", port)}
	}
	return sessionbackend.Address{Network: "unix", Address: socket}
}
