//go:build !linux

package docker

import (
	"context"
	"errors"

	"github.com/webtask-edge/caddy-webtask/sessionbackend"
)

// Fleet runs no backends here: the process that ends them when the edge has died
// needs Linux.
type Fleet struct{}

// NewFleet returns a Fleet.
func NewFleet(Options) *Fleet { return new(Fleet) }

// Driver returns a driver that starts nothing: a configuration may have more in it
// than its session backends, and serves the rest.
func (*Fleet) Driver(spec Spec) (sessionbackend.Driver, error) {
	if err := spec.Check(); err != nil {
		return nil, err
	}
	return none{}, nil
}

type none struct{}

// Start implements sessionbackend.Driver.
func (none) Start(context.Context, sessionbackend.Identity) (sessionbackend.Instance, error) {
	return nil, errors.New("driver docker: needs Linux; other systems cannot promise that a backend is gone when its server is")
}

// Settle has nothing to wait for.
func (*Fleet) Settle(context.Context) error { return nil }

// Close has nothing to end.
func (*Fleet) Close(context.Context) error { return nil }
