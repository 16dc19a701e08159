package docker

import (
	"time"

	"github.com/webtask-edge/caddy-webtask/sessionbackend"
)

// order is what the edge tells the reaper process, in a line of JSON. All but a
// ping is of a backend, and of its engine.
type order struct {
	ID       string                  `json:"id,omitempty"`
	Engine   string                  `json:"engine,omitempty"`
	Grace    time.Duration           `json:"grace,omitempty"`    // when the edge dies
	Deadline sessionbackend.BootTime `json:"deadline,omitempty"` // 0: none
	Gone     bool                    `json:"gone,omitempty"`     // nothing is left of the backend
	Ping     bool                    `json:"ping,omitempty"`     // is to be answered
}

// pong is the answer to a ping.
type pong struct{}

// settings is what a reaper process is told by its argument 1.
type settings struct {
	Node string `json:"node"` // whose containers it ends
}

// argv0 is argument 0 of a reaper process.
const argv0 = "webtask-session-containers"
