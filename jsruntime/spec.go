package jsruntime

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// Limits that hold when the Spec leaves them unset; those not named here are
// then unlimited.
const (
	DefaultTimeout   = 30 * time.Second
	DefaultCPUTime   = 2 * time.Second
	DefaultWaitUntil = 30 * time.Second
	DefaultTimers    = 1000
	DefaultIsolates  = 512 // per container
)

// SpecOptions is what a handler of one webtask sees and may take.
type SpecOptions struct {
	Container string            // tenant
	Group     string            // webtasks of a container and group may share a worker process
	Name      string            // webtask name, or empty
	ID        string            // ctx.webtask.id
	Token     string            `json:"-"` // ctx.token; empty hides it
	Secrets   map[string]string `json:"-"` // by name
	Params    map[string]string // by name
	Meta      map[string]string // by name
	Limits    webtask.Limits    // the effective ones
	ParseBody webtask.ParseBody // when ctx.body is read and parsed
	MergeBody bool              // add fields of a parsed body to ctx.data
}

// Format writes which webtask it is, so that no verb of package fmt shows its
// secrets or token.
func (o SpecOptions) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "jsruntime.Spec(%s/%s %s)", o.Container, o.Name, o.ID)
}

// Spec says how to run one webtask: the program, what it sees, and the key of
// the isolates that may run it. It is immutable and shared by concurrent
// requests; keep it, since it remembers its pool.
type Spec struct {
	SpecOptions
	Key     string
	Program *Program

	pool atomic.Pointer[pool]
}

// NewSpec returns the Spec of a webtask. Specs of equal key share isolates, so
// key must cover Container, Program.Digest, Name, Secrets, Params, Meta and
// Limits. The maps are not copied and must not change.
func NewSpec(key string, program *Program, options SpecOptions) *Spec {
	limits := &options.Limits
	setDefault(&limits.Timeout, DefaultTimeout)
	setDefault(&limits.CPUTime, DefaultCPUTime)
	setDefault(&limits.WaitUntil, DefaultWaitUntil)
	setDefault(&limits.Timers, DefaultTimers)
	return &Spec{SpecOptions: options, Key: key, Program: program}
}

func setDefault[T comparable](field *T, value T) {
	var unset T
	if *field == unset {
		*field = value
	}
}
