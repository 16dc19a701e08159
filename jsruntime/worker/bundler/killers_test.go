//go:build unix

package bundler

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/evanw/esbuild/pkg/api"

	"github.com/webtask-edge/caddy-webtask/jsruntime/source"
)

// TestKillers gives bundlers what kills any process that embeds them, or keeps
// it busy: the code is said to be at fault, and the next bundle works.
func TestKillers(t *testing.T) {
	repeat := strings.Repeat
	big := `const enum E { S = "` + repeat("x", 64<<10) + `" }` + "\n"
	tests := map[string]struct {
		files   files
		message string // a part of it
	}{
		"prefix operators": {files{"main.js": repeat("!", 250<<10)}, "out of"},
		"parentheses":      {files{"main.js": repeat("(", 500<<10)}, "out of"},
		"brackets":         {files{"main.js": repeat("[", 500<<10)}, "out of"},
		"templates":        {files{"main.js": repeat("`${", 300<<10)}, "out of"},
		"arrows":           {files{"main.js": repeat("a=>", 500<<10)}, "out of"},
		"functions":        {files{"main.js": repeat("function(){", 500<<10)}, ""},
		"blocks":           {files{"main.js": repeat("{", 500<<10) + repeat("}", 500<<10)}, "out of"},
		"types":            {files{"main.js": "import './t.ts'", "t.ts": "let x: " + repeat("(", 500<<10)}, "out of"},
		"classes":          {files{"main.js": repeat("class extends ", 300<<10)}, ""},
		"sum":              {files{"main.js": "x = 1" + repeat("+y", 1<<20)}, "out of"},
		"json":             {files{"main.js": "import './d.json'", "d.json": repeat("[", 2<<20)}, "out of"},
		"json object":      {files{"main.js": "import './d.json'", "d.json": repeat(`{"a":`, 500<<10)}, "out of"},
		"constant folding": {files{"main.js": "x = 3n**(2n**40n)"}, "out of"},
		"slow folding":     {files{"main.js": "x = 3n**(2n**28n)"}, "time"},
		"huge output":      {files{"main.js": big + "x = [" + repeat("E.S,", 100_000) + "]"}, "out of"},
		"source map":       {files{"main.js": repeat("a\n", 16<<20)}, "out of"},
		"comma":            {files{"main.js": repeat("0,", 1<<20)}, ""},
	}
	p := poolOf(t, kind, Options{Memory: 128 << 20, Timeout: 2 * time.Second})
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			out, err := p.Bundle(context.Background(), test.files.job())
			if err == nil {
				t.Fatalf("it was bundled to %d bytes", len(out.Code))
			}
			ce := compileError(t, err)
			if test.message != "" && !strings.Contains(ce.Message, test.message) {
				t.Errorf("message %q", ce.Message)
			}
			if len(ce.Message) > 3000 || ce.File == "" {
				t.Errorf("file %q, message of %d bytes", ce.File, len(ce.Message))
			}
			works(t, p)
		})
	}
}

// TestStack dies of its stack, although it has memory for a larger one.
func TestStack(t *testing.T) {
	p := poolOf(t, kind, Options{Memory: 2 << 30, Timeout: patient})
	_, err := p.Bundle(context.Background(), script(strings.Repeat("!", 250<<10)))
	if ce := compileError(t, err); !ce.Exhausted || !strings.Contains(ce.Message, "out of stack") {
		t.Errorf("%v", err)
	}
	works(t, p)
}

// TestLargeOutput makes more of the code than may come of it.
func TestLargeOutput(t *testing.T) {
	p := poolOf(t, kind, Options{})
	for name, code := range map[string]string{
		"code":       "const enum E { S = '" + strings.Repeat("x", 8<<10) + "' }\nx = [" + strings.Repeat("E.S,", 10) + "]",
		"source map": strings.Repeat("a\n", 20_000),
	} {
		job := script(code)
		job.MaxCode, job.MaxMap = 64<<10, 32<<10
		_, err := p.Bundle(context.Background(), job)
		if ce := compileError(t, err); ce.Exhausted || !strings.Contains(ce.Message, "raise code_size") {
			t.Errorf("%s: %v", name, err)
		}
		works(t, p)
	}
}

// TestTooManyImports has a module import more than it may.
func TestTooManyImports(t *testing.T) {
	p := poolOf(t, kind, Options{})
	var code strings.Builder
	for i := range source.MaxImports + 1 {
		fmt.Fprintf(&code, "import './%d';", i)
	}
	job := script(code.String())
	shared := &source.Module{Name: "shared.js", Loader: api.LoaderJS}
	job.Resolve = func(context.Context, string, string) (*source.Module, error) { return shared, nil }
	_, err := p.Bundle(context.Background(), job)
	if ce := compileError(t, err); ce.Exhausted || !strings.Contains(ce.Message, "more than 10000 imports") {
		t.Errorf("%v", err)
	}
	works(t, p)
}

// TestWhatTheGuardLetsPass needs as much stack as anything that reaches a
// bundler through a Loader whose guard has looked at it.
func TestWhatTheGuardLetsPass(t *testing.T) {
	p := poolOf(t, kind, Options{})
	for name, code := range map[string]string{
		"prefix operators": "x = " + strings.Repeat("!", 9990) + "0",
		"parentheses":      "x = " + strings.Repeat("(", 990) + "0" + strings.Repeat(")", 990),
		"arrows":           "x = " + strings.Repeat("a=>", 400) + "0",
		"sum":              "x = 1" + strings.Repeat("+y", 4900),
		"calls":            "x = a" + strings.Repeat("()", 4900),
	} {
		if err := source.CheckNesting(code); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := p.Bundle(context.Background(), script(code)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestProcessThatCannotStart is no fault of the code.
func TestProcessThatCannotStart(t *testing.T) {
	for _, kind := range []string{"bundler-test-dead", "bundler-test-old"} {
		p := poolOf(t, kind, Options{NoSpare: true})
		_, err := p.Bundle(context.Background(), script(""))
		var busy *source.BusyError
		if !errors.As(err, &busy) || busy.Name != "main.js" || busy.Err == nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// TestDeadSpare kills the process that is kept ready.
func TestDeadSpare(t *testing.T) {
	p := poolOf(t, kind, Options{})
	w := <-p.spare
	defer w.close()
	w.process.Kill()
	<-w.process.Done()
	_, err := w.bundle(context.Background(), script(""), &p.options)
	if !errors.Is(err, errNotBegun) {
		t.Errorf("%v", err)
	}
	p.wantSpare()
	works(t, p)
}
