//go:build !linux

package process

import (
	"context"
	"errors"

	"github.com/webtask-edge/caddy-webtask/sessionbackend"
)

// Supervisor runs no backends here: other systems than Linux cannot promise that
// a backend, and what it started, is gone when its server is.
type Supervisor struct{}

// NewSupervisor returns a Supervisor.
func NewSupervisor(Options) *Supervisor { return new(Supervisor) }

// Driver checks a Spec, and returns a driver that starts nothing: a site is more
// than its session backends, and serves the rest.
func (*Supervisor) Driver(spec Spec) (sessionbackend.Driver, error) {
	if err := spec.Check(); err != nil {
		return nil, err
	}
	return none{}, nil
}

type none struct{}

// Start implements sessionbackend.Driver.
func (none) Start(context.Context, sessionbackend.Identity) (sessionbackend.Instance, error) {
	return nil, errors.New("driver process: needs Linux; other systems cannot promise that a backend is gone when its server is")
}

// Settle has nothing to wait for.
func (*Supervisor) Settle(context.Context) error { return nil }

// Close has nothing to end.
func (*Supervisor) Close(context.Context) error { return nil }
