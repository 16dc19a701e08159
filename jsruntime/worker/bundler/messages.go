//go:build unix

package bundler

import (
	"errors"
	"math"
	"strings"
	"unicode"

	"github.com/evanw/esbuild/pkg/api"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/jsruntime/source"
	"github.com/webtask-edge/caddy-webtask/jsruntime/worker/internal/wire"
)

// Bounds of what a process sends.
const (
	maxPlace   = math.MaxInt32 // line or column
	maxText    = 16 << 10      // bytes of a message, stack or frame
	maxProblem = 4 * maxText
)

func encodeModule(b []byte, m *source.Module) []byte {
	return wire.PutString(wire.PutUint(wire.PutString(b, m.Name), uint64(m.Loader)), m.Code)
}

// decoder reads messages.
type decoder struct{ wire.Decoder }

func (d *decoder) module() *source.Module {
	return &source.Module{Name: d.String(), Loader: api.Loader(d.UintUpTo(math.MaxUint16)), Code: d.String()}
}

// encodeJob: the entry is module 0.
func encodeJob(job *source.Job, memory int64) []byte {
	b := wire.PutUint(nil, version)
	b = wire.PutUint(b, uint64(memory))
	b = wire.PutUint(wire.PutUint(b, uint64(job.MaxCode)), uint64(job.MaxMap))
	b = wire.PutUint(wire.PutBool(b, job.Inline), uint64(len(job.External)))
	for _, name := range job.External {
		b = wire.PutString(b, name)
	}
	return encodeModule(b, job.Entry)
}

func decodeJob(payload []byte) (job *source.Job, memory int64, err error) {
	d := &decoder{wire.Decoder{Rest: payload}}
	if d.UintUpTo(math.MaxUint64) != version {
		return nil, 0, wire.Violation("the edge speaks another version")
	}
	memory = int64(d.UintUpTo(math.MaxInt64))
	job = &source.Job{
		MaxCode:  int64(d.UintUpTo(math.MaxInt64)),
		MaxMap:   int64(d.UintUpTo(math.MaxInt64)),
		Inline:   d.Bool(),
		External: d.Strings(math.MaxUint32),
	}
	job.Entry = d.module()
	return job, memory, d.End()
}

// resolveMessage asks for a module.
type resolveMessage struct {
	request  uint64 // the process's number of the question
	importer uint64 // the edge's number of a module
	text     string
}

func encodeResolve(m resolveMessage) []byte {
	return wire.PutString(wire.PutUint(wire.PutUint(nil, m.request), m.importer), m.text)
}

func decodeResolve(payload []byte) (resolveMessage, error) {
	d := &decoder{wire.Decoder{Rest: payload}}
	m := resolveMessage{request: d.UintUpTo(math.MaxUint32), importer: d.UintUpTo(math.MaxUint32), text: d.String()}
	return m, d.End()
}

// answer says what an import means.
type answer uint64

const (
	answerBare   answer = iota // no module of the edge
	answerFailed               // there is something wrong with it
	answerKnown                // a module that was sent before
	answerNew                  // one that comes with it
	answers
)

// moduleMessage is the answer to a resolveMessage.
type moduleMessage struct {
	request uint64
	answer  answer
	text    string         // what is wrong
	id      uint64         // of the module
	module  *source.Module // of answerNew
}

func encodeAnswer(m moduleMessage) []byte {
	b := wire.PutUint(wire.PutUint(nil, m.request), uint64(m.answer))
	switch m.answer {
	case answerFailed:
		b = wire.PutString(b, m.text)
	case answerKnown:
		b = wire.PutUint(b, m.id)
	case answerNew:
		b = encodeModule(wire.PutUint(b, m.id), m.module)
	}
	return b
}

func decodeAnswer(payload []byte) (moduleMessage, error) {
	d := &decoder{wire.Decoder{Rest: payload}}
	m := moduleMessage{request: d.UintUpTo(math.MaxUint32), answer: answer(d.UintUpTo(uint64(answers) - 1))}
	switch m.answer {
	case answerFailed:
		m.text = d.String()
	case answerKnown:
		m.id = d.UintUpTo(math.MaxUint32)
	case answerNew:
		m.id, m.module = d.UintUpTo(math.MaxUint32), d.module()
	}
	return m, d.End()
}

// encodeOutput names sources by their numbers.
func encodeOutput(out *source.Output, ids map[string]uint64) []byte {
	b := make([]byte, 0, len(out.Code)+len(out.Map.Mappings)+readSize)
	b = wire.PutString(wire.PutBool(b, out.ESM), out.Code)
	b = wire.PutUint(b, uint64(len(out.Map.Sources)))
	for _, name := range out.Map.Sources {
		b = wire.PutUint(b, ids[name])
	}
	b = wire.PutUint(b, uint64(len(out.Map.Names)))
	for _, name := range out.Map.Names {
		b = wire.PutString(b, name)
	}
	return wire.PutString(b, out.Map.Mappings)
}

// decodeOutput takes a script from a process that was given these modules.
func decodeOutput(payload []byte, job *source.Job, modules []string) (*source.Output, error) {
	d := &decoder{wire.Decoder{Rest: payload}}
	out := &source.Output{ESM: d.Bool(), Code: d.String(), Map: &source.SourceMap{Version: 3, Sources: []string{}}}
	for range d.UintUpTo(uint64(len(modules))) {
		if id := d.UintUpTo(uint64(len(modules)) - 1); d.Err == nil {
			out.Map.Sources = append(out.Map.Sources, modules[id])
		}
	}
	out.Map.Names = d.Strings(source.MaxNames)
	out.Map.Mappings = d.String()
	if strings.IndexFunc(out.Map.Mappings, notOfMappings) >= 0 {
		d.Fail("mappings of other characters than those of a source map")
	}
	if err := d.End(); err != nil {
		return nil, err
	}
	// What is too large was to be said, not sent.
	if err := out.Fits(job); err != nil {
		return nil, wire.Violation("%v", err)
	}
	return out, nil
}

func notOfMappings(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '+' && r != '/' && r != ',' && r != ';'
}

// What a problem is.
const (
	problemCompile = iota // a *source.CompileError
	problemScript         // a *jsruntime.ScriptError
	problemOther          // a failure of the bundler or the compiler
	problems
)

func encodeProblem(err error, ids map[string]uint64) []byte {
	var (
		compile *source.CompileError
		script  *jsruntime.ScriptError
	)
	switch {
	case errors.As(err, &compile):
		b := wire.PutUint(wire.PutUint(nil, problemCompile), ids[compile.File])
		b = wire.PutUint(wire.PutUint(b, uint64(max(compile.Line, 0))), uint64(max(compile.Column, 0)))
		return wire.PutString(b, shorten(compile.Message))
	case errors.As(err, &script):
		b := wire.PutString(wire.PutUint(nil, problemScript), shorten(script.Message))
		return wire.PutString(wire.PutString(b, shorten(script.Stack)), shorten(script.Frame))
	default:
		return wire.PutString(wire.PutUint(nil, problemOther), shorten(err.Error()))
	}
}

func shorten(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), maxText)], "\ufffd"[:0])
}

// decodeProblem returns the error of a process that was given these modules, as
// the same type that it was there; violations come apart from it.
func decodeProblem(payload []byte, modules []string) (problem, violated error) {
	d := &decoder{wire.Decoder{Rest: payload}}
	switch d.UintUpTo(problems - 1) {
	case problemCompile:
		file := d.UintUpTo(uint64(len(modules)) - 1)
		e := &source.CompileError{Line: int(d.UintUpTo(maxPlace)), Column: int(d.UintUpTo(maxPlace)), Message: d.text()}
		if d.Err == nil {
			e.File = modules[file]
		}
		problem = e
	case problemScript:
		problem = jsruntime.NewCompileError(d.text(), d.text(), d.text())
	case problemOther:
		problem = errors.New(d.text())
	}
	return problem, d.End()
}

// text reads what is shown to people: answers and logs take it as it is.
func (d *decoder) text() string {
	s := d.String()
	if len(s) > maxText {
		d.Fail("message too long")
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd"))
}
