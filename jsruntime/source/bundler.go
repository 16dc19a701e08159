package source

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/evanw/esbuild/pkg/api"
)

// Bundler turns a module and all that it imports into one script. What it is
// given may kill it, or keep it busy for ever: a Bundler that must survive does
// its work in a process of its own, see package jsruntime/worker/bundler.
type Bundler interface {
	// Bundle returns the script, or a *CompileError about the code's text; its
	// frame is added by the Loader. It may check also that the script compiles;
	// what is wrong with it is then what Options.Check would return. Failures
	// that are not the code's fault are a *BusyError.
	Bundle(ctx context.Context, job *Job) (*Output, error)
}

// Job is what a Bundler is to do, and the only way by which it gets at files.
type Job struct {
	Entry     *Module
	Container string   // whose code it is, or who asked first for what several share
	Inline    bool     // the entry may be a single expression
	External  []string // modules that are left to the runtime's require
	MaxCode   int64    // bytes of Output.Code
	MaxMap    int64    // bytes of what Output.Map holds

	// Resolve returns the module that a specifier means within another, which
	// is named as Resolve or Entry named it; nil says that the specifier is
	// bare. It may be called concurrently. After an error of the edge's side
	// (see IsFinal) the job fails with that error, whatever comes of it.
	Resolve func(ctx context.Context, importer, specifier string) (*Module, error)

	// Begin, if set, is called once, before anything is computed and after all
	// else has been waited for. It waits for a processor.
	Begin func() error
}

// Bounds of what a Bundler may ask of a Job.
const (
	MaxImports        = 10_000  // in all modules together
	MaxSpecifier      = 4 << 10 // bytes of one
	MaxSpecifierBytes = 2 << 20 // of all together
)

// MaxNames bounds SourceMap.Names.
const MaxNames = 1 << 19

// Module is one file that goes into a bundle.
type Module struct {
	Name   string // how messages and source maps name it; unique in its task
	Code   string // less a byte order mark
	Loader api.Loader
}

// Output is what a Bundler made.
type Output struct {
	Code string
	ESM  bool // see Bundle.ESM
	Map  *SourceMap
}

// SourceMap is a source map of version 3 (ECMA-426) without content. Sources
// are names of modules.
type SourceMap struct {
	Version  int      `json:"version"`
	Sources  []string `json:"sources"`
	Names    []string `json:"names"`
	Mappings string   `json:"mappings"`
}

// JSON returns the text of a map, or nil for one without mappings, which is
// that of an empty file: readers take none.
func (m *SourceMap) JSON() ([]byte, error) {
	if m == nil || m.Mappings == "" {
		return nil, nil
	}
	return json.Marshal(m)
}

// Fits reports what is too large about a script.
func (o *Output) Fits(job *Job) error {
	mapSize := int64(len(o.Map.Mappings))
	for _, name := range o.Map.Names {
		mapSize += int64(len(name))
	}
	switch {
	case int64(len(o.Code)) > job.MaxCode:
		return &CompileError{File: job.Entry.Name, Message: fmt.Sprintf("the code could not be compiled: it becomes %d bytes when it is bundled, more than %d; make it smaller, or raise code_size, from which this limit follows", len(o.Code), job.MaxCode)}
	case mapSize > job.MaxMap || len(o.Map.Names) > MaxNames:
		return &CompileError{File: job.Entry.Name, Message: fmt.Sprintf("the code could not be compiled: its source map becomes larger than %d bytes; make it smaller, or raise code_size, from which this limit follows", job.MaxMap)}
	}
	return nil
}
