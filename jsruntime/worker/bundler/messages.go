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
)

// Bounds of what a process sends.
const (
	maxPlace   = math.MaxInt32 // line or column
	maxText    = 16 << 10      // bytes of a message, stack or frame
	maxProblem = 4 * maxText
)

func encodeModule(b []byte, m *source.Module) []byte {
	return putString(putUint(putString(b, m.Name), uint64(m.Loader)), m.Code)
}

func (d *decoder) module() *source.Module {
	return &source.Module{Name: d.string(), Loader: api.Loader(d.uint(math.MaxUint16)), Code: d.string()}
}

// encodeJob: the entry is module 0.
func encodeJob(job *source.Job, memory int64) []byte {
	b := putUint(nil, version)
	b = putUint(b, uint64(memory))
	b = putUint(putUint(b, uint64(job.MaxCode)), uint64(job.MaxMap))
	b = putUint(putBool(b, job.Inline), uint64(len(job.External)))
	for _, name := range job.External {
		b = putString(b, name)
	}
	return encodeModule(b, job.Entry)
}

func decodeJob(payload []byte) (job *source.Job, memory int64, err error) {
	d := &decoder{rest: payload}
	if d.uint(math.MaxUint64) != version {
		return nil, 0, violation("the edge speaks another version")
	}
	memory = int64(d.uint(math.MaxInt64))
	job = &source.Job{
		MaxCode:  int64(d.uint(math.MaxInt64)),
		MaxMap:   int64(d.uint(math.MaxInt64)),
		Inline:   d.bool(),
		External: d.strings(math.MaxUint32),
	}
	job.Entry = d.module()
	return job, memory, d.end()
}

// resolveMessage asks for a module.
type resolveMessage struct {
	request  uint64 // the process's number of the question
	importer uint64 // the edge's number of a module
	text     string
}

func encodeResolve(m resolveMessage) []byte {
	return putString(putUint(putUint(nil, m.request), m.importer), m.text)
}

func decodeResolve(payload []byte) (resolveMessage, error) {
	d := &decoder{rest: payload}
	m := resolveMessage{request: d.uint(math.MaxUint32), importer: d.uint(math.MaxUint32), text: d.string()}
	return m, d.end()
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
	b := putUint(putUint(nil, m.request), uint64(m.answer))
	switch m.answer {
	case answerFailed:
		b = putString(b, m.text)
	case answerKnown:
		b = putUint(b, m.id)
	case answerNew:
		b = encodeModule(putUint(b, m.id), m.module)
	}
	return b
}

func decodeAnswer(payload []byte) (moduleMessage, error) {
	d := &decoder{rest: payload}
	m := moduleMessage{request: d.uint(math.MaxUint32), answer: answer(d.uint(uint64(answers) - 1))}
	switch m.answer {
	case answerFailed:
		m.text = d.string()
	case answerKnown:
		m.id = d.uint(math.MaxUint32)
	case answerNew:
		m.id, m.module = d.uint(math.MaxUint32), d.module()
	}
	return m, d.end()
}

// encodeOutput names sources by their numbers.
func encodeOutput(out *source.Output, ids map[string]uint64) []byte {
	b := make([]byte, 0, len(out.Code)+len(out.Map.Mappings)+readSize)
	b = putString(putBool(b, out.ESM), out.Code)
	b = putUint(b, uint64(len(out.Map.Sources)))
	for _, name := range out.Map.Sources {
		b = putUint(b, ids[name])
	}
	b = putUint(b, uint64(len(out.Map.Names)))
	for _, name := range out.Map.Names {
		b = putString(b, name)
	}
	return putString(b, out.Map.Mappings)
}

// decodeOutput takes a script from a process that was given these modules.
func decodeOutput(payload []byte, job *source.Job, modules []string) (*source.Output, error) {
	d := &decoder{rest: payload}
	out := &source.Output{ESM: d.bool(), Code: d.string(), Map: &source.SourceMap{Version: 3, Sources: []string{}}}
	for range d.uint(uint64(len(modules))) {
		if id := d.uint(uint64(len(modules)) - 1); d.err == nil {
			out.Map.Sources = append(out.Map.Sources, modules[id])
		}
	}
	out.Map.Names = d.strings(source.MaxNames)
	out.Map.Mappings = d.string()
	if strings.IndexFunc(out.Map.Mappings, notOfMappings) >= 0 {
		d.fail("mappings of other characters than those of a source map")
	}
	if err := d.end(); err != nil {
		return nil, err
	}
	// What is too large was to be said, not sent.
	if err := out.Fits(job); err != nil {
		return nil, violation("%v", err)
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
		b := putUint(putUint(nil, problemCompile), ids[compile.File])
		b = putUint(putUint(b, uint64(max(compile.Line, 0))), uint64(max(compile.Column, 0)))
		return putString(b, shorten(compile.Message))
	case errors.As(err, &script):
		b := putString(putUint(nil, problemScript), shorten(script.Message))
		return putString(putString(b, shorten(script.Stack)), shorten(script.Frame))
	default:
		return putString(putUint(nil, problemOther), shorten(err.Error()))
	}
}

func shorten(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), maxText)], "\ufffd"[:0])
}

// decodeProblem returns the error of a process that was given these modules, as
// the same type that it was there; violations come apart from it.
func decodeProblem(payload []byte, modules []string) (problem, violated error) {
	d := &decoder{rest: payload}
	switch d.uint(problems - 1) {
	case problemCompile:
		file := d.uint(uint64(len(modules)) - 1)
		e := &source.CompileError{Line: int(d.uint(maxPlace)), Column: int(d.uint(maxPlace)), Message: d.text()}
		if d.err == nil {
			e.File = modules[file]
		}
		problem = e
	case problemScript:
		problem = jsruntime.NewCompileError(d.text(), d.text(), d.text())
	case problemOther:
		problem = errors.New(d.text())
	}
	return problem, d.end()
}

// text reads what is shown to people: answers and logs take it as it is.
func (d *decoder) text() string {
	s := d.string()
	if len(s) > maxText {
		d.fail("message too long")
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd"))
}
