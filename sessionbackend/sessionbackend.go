// Package sessionbackend gives each key, be it of a user, a document or a
// room, a process of its own: started by the first request for the key, there
// for all later ones, and stopped when nobody has been connected for a while.
//
//	service := sessionbackend.NewService("docs", sessionbackend.ServiceOptions{Ownership: node})
//	err := service.Configure(sessionbackend.Config{Driver: driver, Idle: time.Minute})
//
//	backend, err := service.Acquire(ctx, "report.md", sessionbackend.Caller{Client: "192.0.2.1"})
//	defer backend.Release()         // when the request, stream or WebSocket has ended
//	net.Dial(backend.Address().Network, backend.Address().Address)
//
//	err = service.Close(ctx)        // ends all backends
//
// There are never two backends of a key at once: one that is to be replaced
// has to be gone before its successor starts. Each has a fencing token, larger
// than those of all before it.
package sessionbackend

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// A Driver starts the processes of backends.
type Driver interface {
	// Start starts a backend and does not wait until it is ready. When ctx ends
	// first, nothing is left of it.
	Start(ctx context.Context, identity Identity) (Instance, error)
}

// Identity is what tells a backend from others. Backends are told it in their
// environment, under the names that Plane gave it.
type Identity struct {
	Service string
	Key     string // SESSION_BACKEND_KEY
	ID      string // SESSION_BACKEND_ID: lower-case letters and digits, never used again
	Fence   int64  // SESSION_BACKEND_FENCING_TOKEN: microseconds since 1970 or more, below 2^53

	// Env are variables of its environment that it has besides those of the driver,
	// which they replace. Their values are taken as they are.
	Env map[string]string

	// Deadline returns when the backend has to be gone unless Instance.Extend has
	// put that off by then; 0: never. Nil: never.
	Deadline func() BootTime `json:"-"`
}

// Instance is the process of a backend.
type Instance interface {
	// Address is where it is to listen.
	Address() Address

	// Notified is closed when the backend has said that it is ready, as
	// sd_notify(3) does.
	Notified() <-chan struct{}

	// Stop asks the backend to end, and kills it when it has not within grace.
	// It does not wait. With a grace of zero it is killed at once.
	Stop(grace time.Duration)

	// Extend puts off the deadline of the backend, at which it is killed whether the
	// edge is there or not. A deadline that has passed cannot be put off. It does
	// nothing where the identity has none.
	Extend(deadline BootTime)

	// Done is closed when nothing of the backend is left: neither the process
	// nor any that it started.
	Done() <-chan struct{}

	// Exit says how the process ended. It may be called once Done is closed.
	Exit() Exit
}

// Address is a network address as net.Dial takes it: of a Unix socket or of a
// TCP port.
type Address struct {
	Network, Address string
}

// Exit is how a process ended.
type Exit struct {
	Code   int    // its status; -1 if a signal ended it
	Signal string // the name of that signal, such as SIGKILL
	Output string // the last that it wrote, at most 4 KiB
	Err    error  // why more is not known of it
}

// Clean reports whether the process ended without an error.
func (e Exit) Clean() bool { return e.Err == nil && e.Signal == "" && e.Code == 0 }

func (e Exit) String() string {
	switch {
	case e.Err != nil:
		return e.Err.Error()
	case e.Signal != "":
		return "killed by " + e.Signal
	default:
		return fmt.Sprintf("exited with status %d", e.Code)
	}
}

// Caller is who asks for a backend.
type Caller struct {
	Client string // the IP address whose starts are counted; anything else is not counted
	Peer   bool   // another edge asks, which starts the backend itself if there is none
}

// Spawn is what the starter of a backend says of that one. What is zero is as the
// service has it.
type Spawn struct {
	Tag      string            // who asks for the backend with another is refused
	Static   bool              // has a token for everybody, see Backend.Static
	Env      map[string]string // see Identity
	Idle     time.Duration     // can only be shorter than Config.Idle
	Lifetime time.Duration     // likewise
}

// Defaults of a Config.
const (
	DefaultIdle         = time.Minute
	DefaultStartTimeout = 30 * time.Second
	DefaultStopGrace    = 10 * time.Second
	DefaultMaxBackends  = 100
	DefaultClientStarts = 60
)

// Config is how a service treats its backends. What is zero gets its default.
type Config struct {
	Driver Driver

	// Idle is how long a backend that is ready goes on without a connection;
	// default 1m. Negative: for ever.
	Idle time.Duration

	// Lifetime is how long a backend goes on whoever is connected; default: for
	// ever.
	Lifetime time.Duration

	// StartTimeout is how long a backend may take until it is ready, and so how
	// long a request waits for it; default 30s.
	StartTimeout time.Duration

	// StopGrace is how long a backend that was asked to end may take before it
	// is killed; default 10s.
	StopGrace time.Duration

	// Ready is how a backend shows that it is ready; default: it accepts
	// connections.
	Ready Readiness

	// MaxBackends is how many backends there may be at once; default 100. With
	// Evict the one that has been idle longest makes room for another.
	MaxBackends int
	Evict       bool

	// ClientStarts is how many backends the requests of one client address (or
	// /64 of IPv6) may start in a minute; default 60, negative: any number.
	ClientStarts int
}

func (c Config) withDefaults() Config {
	for value, dflt := range map[*time.Duration]time.Duration{
		&c.Idle: DefaultIdle, &c.StartTimeout: DefaultStartTimeout, &c.StopGrace: DefaultStopGrace,
	} {
		if *value == 0 {
			*value = dflt
		}
	}
	for value, dflt := range map[*int]int{&c.MaxBackends: DefaultMaxBackends, &c.ClientStarts: DefaultClientStarts} {
		if *value == 0 {
			*value = dflt
		}
	}
	if c.Ready.Kind == "" {
		c.Ready.Kind = ReadyTCP
	}
	return c
}

// Observer is told what a service does, for metrics. Its methods may be called
// at any time from any goroutine.
type Observer interface {
	// BackendStarted is called when a backend has become ready, or has failed to.
	BackendStarted(service string, took time.Duration, err error)

	// BackendEnded is called when nothing of a backend is left.
	BackendEnded(service string, reason Reason)

	// RequestHeld is called for each request that had to wait for a backend.
	RequestHeld(service string, took time.Duration)
}

// maxKey is how many bytes a key may have.
const maxKey = 1024

// CheckKey reports what is wrong with a key, in a *KeyError.
func CheckKey(key string) error {
	switch {
	case key == "":
		return &KeyError{"is empty"}
	case len(key) > maxKey:
		return &KeyError{fmt.Sprintf("has %d bytes; %d are the most", len(key), maxKey)}
	case !utf8.ValidString(key):
		return &KeyError{"is no UTF-8"}
	case strings.ContainsFunc(key, unicode.IsControl):
		return &KeyError{"has a control character in it"}
	case strings.Trim(key, " ") != key:
		return &KeyError{"begins or ends with a space"} // which headers lose
	}
	return nil
}
