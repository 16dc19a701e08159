package jsruntime_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/evanw/esbuild/pkg/api"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

// bundled compiles TypeScript as package source does.
func bundled(t *testing.T, name, code string) jsruntime.Script {
	t.Helper()
	result := api.Transform(code, api.TransformOptions{
		Loader: api.LoaderTS, Format: api.FormatCommonJS, Target: api.ES2022,
		Sourcemap: api.SourceMapExternal, Sourcefile: name, SourcesContent: api.SourcesContentInclude,
		MinifyWhitespace: true,
	})
	if len(result.Errors) > 0 {
		t.Fatalf("esbuild: %v", result.Errors)
	}
	return jsruntime.Script{Name: name, Code: string(result.Code), Map: result.Map, ESM: true}
}

func TestErrorsNameTheAuthorsPosition(t *testing.T) {
	const code = `interface Unused { a: string }

enum Also { Unused }

export default {
	async fetch(request: Request): Promise<Response> {
		const here: string = "é"; return undefinedThing.property;
	},
};
`
	for _, name := range []string{"/srv/tasks/hello.ts", "https://example.com/tasks/hello.ts", "hello.ts"} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, jsruntime.Options{})
			program, err := b.engine.Compile(context.Background(), bundled(t, name, code))
			if err != nil {
				t.Fatal(err)
			}
			failure := fails[*jsruntime.ScriptError](b, jsruntime.NewSpec("k", program, jsruntime.SpecOptions{Container: "c"}), request(newHost()))
			if at := name + ":7:36"; failure.Name != "ReferenceError" || !strings.Contains(failure.Stack, at) {
				t.Errorf("%s does not name %s", failure.Stack, at)
			}
			want := "> 7 | \t\tconst here: string = \"é\"; return undefinedThing.property;\n    | \t\t" + strings.Repeat(" ", 34-1) + "^\n"
			if !strings.Contains(failure.Frame, want) {
				t.Errorf("frame:\n%s\nwant in it:\n%s", failure.Frame, want)
			}
		})
	}
}

// A top-level return makes the code be wrapped as text.
func TestErrorsOfTopLevelReturn(t *testing.T) {
	b := newBench(t, jsruntime.Options{})
	failure := fails[*jsruntime.ScriptError](b, b.spec("return cb => {\n  throw new Error('x') }", jsruntime.SpecOptions{}), request(newHost()))
	if !strings.Contains(failure.Stack, "hello.js:2:9") {
		t.Errorf("stack: %s", failure.Stack)
	}
	script := bundled(t, "old.ts", "const a: number = 1;\nmodule.exports = (cb: Function) => {\n  throw new Error('x') }")
	script.Code, script.ESM = script.Code+";return module.exports", false
	program, err := b.engine.Compile(context.Background(), script)
	if err != nil {
		t.Fatal(err)
	}
	failure = fails[*jsruntime.ScriptError](b, jsruntime.NewSpec("k", program, jsruntime.SpecOptions{Container: "c"}), request(newHost()))
	if !strings.Contains(failure.Stack, "old.ts:3:9") {
		t.Errorf("stack: %s", failure.Stack)
	}
}

func TestSyntaxErrors(t *testing.T) {
	b := newBench(t, jsruntime.Options{})
	for name, test := range map[string]struct{ code, message, at string }{
		"token":      {"module.exports = cb => {\n  cb(null, 1));\n}", "Unexpected token )", "bad.js:2:14"},
		"end":        {"module.exports = cb => {", "Unexpected end of input", "bad.js:1:"},
		"html":       {"<!DOCTYPE html><p>not found", "Unexpected token <", "bad.js:1:1"},
		"by grammar": {"let a;\nlet a;", "already been declared", "bad.js:2:"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := b.engine.Compile(context.Background(), jsruntime.Script{Name: "bad.js", Code: test.code})
			var failure *jsruntime.ScriptError
			if !errors.As(err, &failure) {
				t.Fatalf("got %v", err)
			}
			if failure.Kind != jsruntime.KindCompile || failure.Status != 400 || failure.Name != "SyntaxError" ||
				!strings.Contains(failure.Message, test.message) || !strings.Contains(failure.Stack, test.at) || !strings.Contains(failure.Frame, "^") {
				t.Errorf("got %q\nstack %s\nframe\n%s", failure.Message, failure.Stack, failure.Frame)
			}
		})
	}
}

func TestCompileRefusesABadMap(t *testing.T) {
	b := newBench(t, jsruntime.Options{})
	for _, bad := range []string{`{`, `{"version":3}`, `{"version":3,"sources":["a"],"mappings":"%%"}`, `{"version":3,"sources":["a"],"mappings":"AAAg"}`} {
		if _, err := b.engine.Compile(context.Background(), jsruntime.Script{Name: "a.js", Code: "1", Map: []byte(bad)}); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
}

// Code that names a source map has it read from nowhere.
func TestSourceMapsAreNotReadFromDisk(t *testing.T) {
	b := newBench(t, jsruntime.Options{})
	code := "module.exports = cb => { try { eval('1\\n//# sourceMappingURL=file:///dev/zero'); new Function('1\\n//# sourceMappingURL=/dev/zero') } catch (e) { return cb(e) } cb(null, 'fine') }\n//# sourceMappingURL=/dev/zero"
	if got, _ := b.do(b.spec(code, jsruntime.SpecOptions{}), request(newHost())); got != `"fine"` {
		t.Errorf("got %s", got)
	}
}

// A regular expression that backtracks without end counts as no match.
func TestRegexpsAreBounded(t *testing.T) {
	b := newBench(t, jsruntime.Options{})
	spec := b.spec(`module.exports = cb => cb(null, String(/^(?=.)(a+)+$/.test("a".repeat(40) + "!")))`, jsruntime.SpecOptions{})
	if got, _ := b.do(spec, request(newHost())); got != `"false"` {
		t.Errorf("got %s", got)
	}
}

func ExampleEngine_Do() {
	engine := jsruntime.NewEngine(jsruntime.Options{Web: fakeWeb{newGates()}, Node: fakeNode{}})
	defer engine.Close(context.Background())
	program, err := engine.Compile(context.Background(), jsruntime.Script{
		Name: "hello.js",
		Code: `module.exports = (ctx, cb) => cb(null, { hello: ctx.params.name })`,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	spec := jsruntime.NewSpec("acme/hello", program, jsruntime.SpecOptions{
		Container: "acme",
		Params:    map[string]string{"name": "world"},
		Limits:    webtask.Limits{Isolates: 8},
	})
	resp, err := engine.Do(context.Background(), spec, &jsruntime.Request{Method: "GET", URL: "https://example.com/"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(resp.Status, string(resp.Bytes))
	// Output: 200 {"hello":"world"}
}
