//go:build unix

package bundler

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/jsruntime/source"
)

// TestSameAsInProcess has both kinds of bundler do the same: what they make,
// and what they find wrong, is the same.
func TestSameAsInProcess(t *testing.T) {
	p := poolOf(t, kind, Options{})
	many := files{"main.js": ""}
	for i := range 300 {
		many["main.js"] += fmt.Sprintf("import { v as v%d } from './m%d.ts'; console.log(v%d);\n", i, i, i)
		many[fmt.Sprintf("m%d.ts", i)] = fmt.Sprintf("import './shared.js'; const x: number = %d; export const v = x", i)
	}
	many["shared.js"] = "import './main.js'; globalThis.shared = true"
	jobs := map[string]*source.Job{
		"empty":           script(""),
		"CommonJS":        script("module.exports = () => 1"),
		"top-level":       script("var x = 1; return function () { return x }"),
		"ESM":             script("export default { fetch() { return new Response('ok') } }"),
		"json":            files{"main.js": "module.exports = require('./d.json')", "d.json": `{"a": [1, "<b>"]}`}.job(),
		"many":            many.job(),
		"renamed":         files{"main.js": "import './a.js'; const x = 1; console.log(x)", "a.js": "const x = 2; console.log(x)"}.job(),
		"syntax":          script("const π = = 2"),
		"engine's syntax": script("module.exports = () => { with ({}) { class A { static { arguments } } } }"),
		"bare":            script("import 'lodash'"),
		"optional":        script("try { require('encoding') } catch {}"),
		"missing":         script("import './nowhere.js'; import './elsewhere.js'"),
		"data":            script("import 'data:text/javascript,1'"),
		"long specifier":  script("import './" + strings.Repeat("x", source.MaxSpecifier) + "'"),
		"long message":    script("import '" + strings.Repeat("x", source.MaxSpecifier) + "'"),
		"in an import":    files{"main.js": "import './b.js'", "b.js": "\n\nlet ="}.job(),
		"not for goja":    script("\nmodule.exports = /(/"),
		"long for goja":   script("module.exports = /" + strings.Repeat("(", 9000) + "/"),
		"large":           script("module.exports = [" + strings.Repeat("'0123456789',\n", 10_000) + "]"),
	}
	inline := script("() => require('./a.js');")
	inline.Inline = true
	jobs["inline"] = inline
	external := script("require('http')")
	external.External = []string{"https", "http"}
	jobs["external"] = external
	for name, job := range jobs {
		t.Run(name, func(t *testing.T) {
			want, wantErr := do(job)
			got, err := p.Bundle(context.Background(), job)
			if !reflect.DeepEqual(err, wantErr) {
				t.Fatalf("error %#v\nwant %#v", err, wantErr)
			}
			if err != nil {
				return
			}
			if got.Code != want.Code || got.ESM != want.ESM {
				t.Errorf("ESM %v, code:\n%s\nwant %v:\n%s", got.ESM, got.Code, want.ESM, want.Code)
			}
			gotMap, err1 := got.Map.JSON()
			wantMap, err2 := want.Map.JSON()
			if err1 != nil || err2 != nil || string(gotMap) != string(wantMap) {
				t.Errorf("map %s, %v\nwant %s, %v", gotMap, err1, wantMap, err2)
			}
		})
	}
	for name, kind := range map[string]any{"syntax": &source.CompileError{}, "not for goja": &jsruntime.ScriptError{}} {
		if _, err := do(jobs[name]); reflect.TypeOf(err) != reflect.TypeOf(kind) {
			t.Errorf("%s: %T, so that this test says nothing about %T", name, err, kind)
		}
	}
}

// TestFinalErrorsOfImports has the edge say that nothing can come of a job.
func TestFinalErrorsOfImports(t *testing.T) {
	p := poolOf(t, kind, Options{})
	for _, want := range []error{
		&source.FetchError{URL: "https://example.com/x.js", Status: 500},
		&source.NotAllowedError{URL: "https://example.com/x.js"},
		&source.TooLargeError{Name: "main.js", Limit: 1},
		&source.CompileError{File: "x.js", Message: "no"},
		&source.BusyError{Name: "main.js"},
	} {
		job := script("import './x.js'")
		job.Resolve = func(context.Context, string, string) (*source.Module, error) { return nil, want }
		if _, err := p.Bundle(context.Background(), job); err != want {
			t.Errorf("%v, want %v", err, want)
		}
	}
	works(t, p)
}

// TestOneBundlePerProcess has every bundle served by another process.
func TestOneBundlePerProcess(t *testing.T) {
	for _, noSpare := range []bool{false, true} {
		p := poolOf(t, "bundler-test-named", Options{NoSpare: noSpare})
		seen := map[string]bool{}
		for range 4 {
			out, err := p.Bundle(context.Background(), script(""))
			if err != nil {
				t.Fatal(err)
			}
			if seen[out.Code] {
				t.Errorf("process %s bundled twice", out.Code)
			}
			seen[out.Code] = true
		}
	}
}

// TestProcessesOfOneContainer has the imports of a container take all the
// processes that it may have. Others find one.
func TestProcessesOfOneContainer(t *testing.T) {
	p := poolOf(t, kind, Options{Processes: 4, Wait: time.Millisecond})
	answer := newSignal()
	done := make(chan error, 2)
	for range 2 {
		asked := newSignal()
		slow := files{"main.js": "import './a.js'", "a.js": ""}.job()
		slow.Container = "acme"
		resolve := slow.Resolve
		slow.Resolve = func(ctx context.Context, importer, specifier string) (*source.Module, error) {
			asked.give()
			answer.await()
			return resolve(ctx, importer, specifier)
		}
		go func() {
			_, err := p.Bundle(context.Background(), slow)
			done <- err
		}()
		asked.await()
	}
	third := script("")
	third.Container = "acme"
	var busy *source.BusyError
	if _, err := p.Bundle(context.Background(), third); !errors.As(err, &busy) || busy.Wait != time.Millisecond {
		t.Errorf("a third one of it: %v", err)
	}
	works(t, p)
	answer.give()
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestProcessesAreBounded(t *testing.T) {
	p := poolOf(t, kind, Options{Processes: 1, Wait: time.Millisecond})
	asked, answer := newSignal(), newSignal()
	slow := files{"main.js": "import './a.js'", "a.js": ""}.job()
	resolve := slow.Resolve
	slow.Resolve = func(ctx context.Context, importer, specifier string) (*source.Module, error) {
		asked.give()
		answer.await()
		return resolve(ctx, importer, specifier)
	}
	done := make(chan error)
	go func() {
		_, err := p.Bundle(context.Background(), slow)
		done <- err
	}()
	asked.await()
	var busy *source.BusyError
	if _, err := p.Bundle(context.Background(), script("")); !errors.As(err, &busy) || busy.Err != nil {
		t.Errorf("a second one: %v", err)
	}
	p.options.Wait = patient
	ctx, cancel := context.WithCancelCause(context.Background())
	gone := errors.New("gone")
	cancel(gone)
	if _, err := p.Bundle(ctx, script("")); err != gone {
		t.Errorf("one whose caller has gone: %v", err)
	}
	answer.give()
	if err := <-done; err != nil {
		t.Error(err)
	}
	works(t, p)
}

// TestEndsWithItsContext ends a bundle that computes, and one that waits for an
// import; Close does the same.
func TestEndsWithItsContext(t *testing.T) {
	for name, end := range map[string]func(p *Pool, cancel context.CancelCauseFunc){
		"context": func(_ *Pool, cancel context.CancelCauseFunc) { cancel(errClosed) },
		"pool":    func(p *Pool, _ context.CancelCauseFunc) { p.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			p := poolOf(t, kind, Options{Timeout: patient})
			ctx, cancel := context.WithCancelCause(context.Background())
			var wg sync.WaitGroup
			for i, code := range []string{"import './a.js'; import './b.js'", "import './a.js'; x = 3n**(2n**30n)"} {
				asked := newSignal()
				job := script(code)
				job.Resolve = func(ctx context.Context, _, _ string) (*source.Module, error) {
					asked.give()
					<-ctx.Done()
					return nil, ctx.Err()
				}
				wg.Go(func() {
					if _, err := p.Bundle(ctx, job); !errors.Is(err, errClosed) {
						t.Errorf("job %d: %v", i, err)
					}
				})
				asked.await()
			}
			end(p, cancel)
			wg.Wait()
			cancel(nil)
		})
	}
	p := poolOf(t, kind, Options{})
	p.Close()
	var busy *source.BusyError
	if _, err := p.Bundle(context.Background(), script("")); !errors.As(err, &busy) || !errors.Is(err, errClosed) {
		t.Errorf("a closed pool: %v", err)
	}
}

func TestManyAtOnce(t *testing.T) {
	p := poolOf(t, kind, Options{Processes: 3, Wait: patient})
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			out, err := p.Bundle(context.Background(), files{"main.js": "import './a.js'", "a.js": fmt.Sprintf("console.log('job %d.')", i)}.job())
			if err != nil || !strings.Contains(out.Code, fmt.Sprintf("job %d.", i)) {
				t.Errorf("job %d: %v, %v", i, out, err)
			}
		})
	}
	wg.Wait()
}

func TestOptionsAreChecked(t *testing.T) {
	for field, options := range map[string]Options{"Memory": {Memory: -1}, "Timeout": {Timeout: -1}, "Processes": {Processes: -1}, "Wait": {Wait: -1}} {
		if _, err := New(options); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// The time for imports is the origin's, not the code's.
func TestTimeForImportsIsNotCounted(t *testing.T) {
	fired := newSignal()
	var w stopwatch
	w.start(time.Millisecond, fired.give)
	w.pause()
	w.pause()
	w.resume()
	if w.timer.Stop() {
		t.Error("it runs while an import is looked for")
	}
	w.resume()
	fired.await()
	w.stop()
	w.pause()
	w.resume()
	if w.timer.Stop() {
		t.Error("it runs again after it was stopped")
	}
}
