package jsruntime

import (
	"github.com/webtask-edge/caddy-webtask/webtask"
)

// SpecOptions is what a handler of one webtask sees and may take.
type SpecOptions struct {
	Container string            // tenant
	Name      string            // webtask name, or empty
	ID        string            // ctx.webtask.id
	Token     string            // ctx.token; empty hides it
	Secrets   map[string]string //
	Params    map[string]string //
	Meta      map[string]string //
	Limits    webtask.Limits    // effective ones; zero fields: unlimited, but for those with a default here
	ParseBody webtask.ParseBody //
	MergeBody bool              //
}

// Spec says how to run one webtask: the program, what it sees, and the key of
// the isolates that may run it. It is immutable and shared by concurrent
// requests; keep it, since it remembers its pool.
type Spec struct {
	SpecOptions
	Key     string
	Program *Program
}

// NewSpec returns the Spec of a webtask. Specs of equal key share isolates, so
// key must cover Container, Program.Digest, Name, Secrets, Params, Meta and
// Limits. The maps are not copied and must not change.
func NewSpec(key string, program *Program, options SpecOptions) *Spec {
	return &Spec{SpecOptions: options, Key: key, Program: program}
}
