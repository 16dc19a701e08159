package caddymodule

import (
	"context"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"

	"github.com/webtask-edge/caddy-webtask/sessionbackend"
)

// drainer asks session backends to end as soon as the server is to stop. Caddy
// waits for requests first, and one that streams from a backend would go on for
// ever.
type drainer struct{}

// Handle implements caddyevents.Handler.
func (drainer) Handle(context.Context, caddy.Event) error {
	if caddy.Exiting() { // and not a reload, which stops the old configuration
		eachService((*sessionbackend.Service).Drain)
	}
	return nil
}

// drainWhenStopping has session backends drained when the server stops.
func drainWhenStopping(ctx caddy.Context) error {
	app, err := ctx.App("events")
	if err != nil {
		return err
	}
	return app.(*caddyevents.App).On("stopping", drainer{})
}

// Interface guard
var _ caddyevents.Handler = drainer{}
