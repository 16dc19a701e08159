//go:build unix

package bundler

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evanw/esbuild/pkg/api"
	"go.uber.org/goleak"

	"github.com/webtask-edge/caddy-webtask/jsruntime/source"
)

// The thread that starts processes lives as long as the program.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/webtask-edge/caddy-webtask/jsruntime/worker/process.(*forker).live"))
}

func poolOf(t testing.TB, kind string, options Options) *Pool {
	t.Helper()
	p, err := newPool(kind, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// files are the modules of a job, the entry under "main.js". What is imported
// is named as it stands there.
type files map[string]string

func (f files) job() *source.Job {
	return &source.Job{
		Entry:   f.module("main.js"),
		MaxCode: 8 << 20,
		MaxMap:  16 << 20,
		Resolve: func(_ context.Context, importer, specifier string) (*source.Module, error) {
			if _, ok := f[importer]; !ok {
				return nil, fmt.Errorf("no module %q", importer)
			}
			name, ok := strings.CutPrefix(specifier, "./")
			if !ok {
				return nil, nil
			}
			m := f.module(name)
			if m == nil {
				return nil, fmt.Errorf("%q was not found", specifier)
			}
			return m, nil
		},
	}
}

func (f files) module(name string) *source.Module {
	code, ok := f[name]
	if !ok {
		return nil
	}
	loader := api.LoaderJS
	switch {
	case strings.HasSuffix(name, ".ts") || strings.Contains(code, "const enum"):
		loader = api.LoaderTS
	case strings.HasSuffix(name, ".json"):
		loader = api.LoaderJSON
	}
	return &source.Module{Name: name, Code: code, Loader: loader}
}

func script(code string) *source.Job { return files{"main.js": code}.job() }

// works bundles something harmless.
func works(t *testing.T, p *Pool) {
	t.Helper()
	out, err := p.Bundle(context.Background(), script("module.exports = () => 42"))
	if err != nil || !strings.Contains(out.Code, "42") {
		t.Fatalf("the next bundle: %v, %v", out, err)
	}
}

// compileError demands that code is at fault.
func compileError(t *testing.T, err error) *source.CompileError {
	t.Helper()
	var ce *source.CompileError
	if !errors.As(err, &ce) {
		t.Fatalf("%T: %v", err, err)
	}
	return ce
}

// signal is closed once, by whoever comes first.
type signal struct {
	once sync.Once
	ch   chan struct{}
}

func newSignal() *signal { return &signal{ch: make(chan struct{})} }
func (s *signal) give()  { s.once.Do(func() { close(s.ch) }) }
func (s *signal) await() { <-s.ch }

// patient is a time that no test waits for.
const patient = time.Hour
