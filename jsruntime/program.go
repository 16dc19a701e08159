package jsruntime

import (
	"context"

	"github.com/dop251/goja"
)

// Program is a compiled script. It is not bound to an isolate: all isolates of
// a process share it.
type Program struct {
	Name   string // the author's entry, as errors name it
	Digest string // identity: sha256 of the code, hex
	ESM    bool   // uses the Web model

	code *goja.Program
}

// Compile parses and compiles a script without running it. A syntax error is a
// *ScriptError of KindCompile.
func (e *Engine) Compile(ctx context.Context, script Script) (*Program, error) {
	return &Program{Name: script.Name, Digest: script.Digest, ESM: script.ESM}, nil
}
