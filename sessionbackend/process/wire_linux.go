package process

import (
	"time"

	"github.com/webtask-edge/caddy-webtask/sessionbackend"
	"github.com/webtask-edge/caddy-webtask/sessionbackend/internal/environ"
)

// order is what the edge tells the supervisor process, in a line of JSON.
type order struct {
	ID    string        `json:"id"`
	Start *start        `json:"start,omitempty"`
	Stop  bool          `json:"stop,omitempty"`  // the backend
	Grace time.Duration `json:"grace,omitempty"` // of Stop
	Ping  bool          `json:"ping,omitempty"`  // is to be answered

	// Extend puts off the deadline of the backend.
	Extend sessionbackend.BootTime `json:"extend,omitempty"`
}

// start orders a backend to be started.
type start struct {
	Command string        `json:"command"`
	Args    []string      `json:"args"`
	Dir     string        `json:"dir,omitempty"`
	Env     []string      `json:"env"`   // in which placeholders are replaced
	About   []string      `json:"about"` // variables that tell of the backend, as they are
	User    *User         `json:"user,omitempty"`
	Limits  Limits        `json:"limits"`
	Grace   time.Duration `json:"grace"` // when the edge dies

	Deadline sessionbackend.BootTime `json:"deadline,omitempty"`
}

// report is what the supervisor process tells the edge.
type report struct {
	ID       string   `json:"id,omitempty"`
	Hello    bool     `json:"hello,omitempty"` // nothing is left of earlier supervisors
	Pong     bool     `json:"pong,omitempty"`
	Started  *started `json:"started,omitempty"`
	Failed   string   `json:"failed,omitempty"` // why it could not be started
	Notified bool     `json:"notified,omitempty"`
	Line     string   `json:"line,omitempty"`    // of output
	Dropped  int      `json:"dropped,omitempty"` // lines before it, of too many
	Exit     *exit    `json:"exit,omitempty"`
}

type started struct {
	PID    int    `json:"pid"`
	Socket string `json:"socket"`
	Port   int    `json:"port"`
}

// exit reports that nothing is left of a backend.
type exit struct {
	Code   int    `json:"code"`
	Signal string `json:"signal,omitempty"`
	Output string `json:"output,omitempty"`
}

// settings is what a supervisor process is told by its argument 1.
type settings struct {
	Node string `json:"node"` // marks the processes of all supervisors that have had this lock
}

// argv0 is argument 0 of a supervisor process.
const argv0 = "webtask-session-backends"

// nodeName is the variable by which a supervisor knows what earlier ones left.
const nodeName = environ.Prefix + "BACKEND_NODE"
