package source

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-sourcemap/sourcemap"
)

func TestInlineForms(t *testing.T) {
	r := newRig(t, Options{})
	tests := []struct {
		name, code string
		want       any
		esm        bool
	}{
		{"arrow", `(a) => a + 1`, int64(42), false},
		{"arrow with semicolon and comment", "a => a + 1; // adds one\n", int64(42), false},
		{"anonymous function", `function (a) { return a + 1 }`, int64(42), false},
		{"named function", `function add(a) { return a + 1 }`, int64(42), false},
		{"object with fetch", `{ fetch(a) { return a + 1 } }`, int64(42), false},
		{"assignment", `module.exports = a => a + 1`, int64(42), false},
		{"statements", "const one = 1\nmodule.exports = a => a + one", int64(42), false},
		{"old return", "'use latest'; var one = 1;\nreturn function (a) { return a + one }", int64(42), false},
		{"early return", "if (true) return a => a + 1\nmodule.exports = null", int64(42), false},
		{"module", "export default { fetch(a) { return a + 1 } }", int64(42), true},
		{"default function", "export default a => a + 1", int64(42), true},
		{"compiled module", "Object.defineProperty(exports, '__esModule', {value: true}); exports.default = a => a + 1", int64(42), true},
		{"typed", "module.exports = (a: number): number => a + 1", int64(42), false},
		{"typed expression", "(a: number): number => a + 1", int64(42), false},
		{"byte order mark", "\ufeffa => a + 1", int64(42), false},
		{"source map of the disk", "module.exports = a => a + 1\n//# sourceMappingURL=file:///dev/zero", int64(42), false},
		{"source map of data", "module.exports = a => a + 1\n/*# sourceMappingURL=DATA:application/json;base64,W1tb*/", int64(42), false},
		{"class fields that goja's parser rejects", "class A { set = 41; get = 1 }; module.exports = () => new A().set + new A().get", int64(42), false},
		{"async generator", "async function* g() { yield 1 }; module.exports = a => a + 1", int64(42), false},
		{"computed import", "const load = x => import(x); module.exports = a => a + 1", int64(42), false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := r.load(t, inlineRef(test.code))
			if b.ESM != test.esm {
				t.Errorf("ESM is %v", b.ESM)
			}
			if b.Name != "inline" || !slices.Equal(b.Files, []string{"inline"}) || b.Size != int64(len(test.code)) {
				t.Errorf("name %q, files %q, size %d", b.Name, b.Files, b.Size)
			}
			if b.Integrity != pinOf(test.code) {
				t.Errorf("integrity %s", b.Integrity)
			}
			if got := result(t, b, 41); got != test.want {
				t.Errorf("result %v\n%s", got, b.Code)
			}
		})
	}
}

func TestBundledFiles(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"module.ts":       "import { add } from './lib/add'\nimport data from './data.json'\nimport text from './greeting.txt'\nimport util from './util.js'\nenum E { One = 1 }\nexport default { fetch(a: number) { return text + add(a, E.One) + data.unit + util.name } }",
		"lib/add.ts":      "export const add = (a: number, b: number) => a + b",
		"data.json":       `{"unit": "km"}`,
		"greeting.txt":    "go ",
		"util.js":         "module.exports = { name: '!' }",
		"common.js":       "const { add } = require('./lib')\nif (add) return function (a) { return add(a, 1) }",
		"lib/index.js":    "exports.add = (a, b) => a + b",
		"component.tsx":   "const React = { createElement: (tag: string, p: any, ...c: any[]) => `<${tag}>${c.join('')}</${tag}>` }\nmodule.exports = (a: number) => <b>{a}</b>",
		"output.mjs":      "import { one } from './typed.js'\nexport default a => a + one",
		"typed.ts":        "export const one: number = 1",
		"cycle.js":        "const b = require('./cycle-b'); exports.x = 1; module.exports = a => b.get(a)",
		"cycle-b.js":      "require('./cycle'); exports.get = a => a",
		"dynamic.js":      "module.exports = () => typeof import('./util.js').then",
		"optional.js":     "let x = 'none'; try { x = require('encoding') } catch {}\nmodule.exports = () => x",
		"sub/tsconfig.js": "export default a => a",
		"tsconfig.json":   `{"compilerOptions": {"target": "es3", "jsxFactory": "wrong"}}`,
	})
	tests := []struct {
		entry string
		files []string
		want  any
	}{
		{"module.ts", []string{"module.ts", "data.json", "greeting.txt", "lib/add.ts", "util.js"}, "go 42km!"},
		{"common.js", []string{"common.js", "lib/index.js"}, int64(42)},
		{"component.tsx", []string{"component.tsx"}, "<b>41</b>"},
		{"output.mjs", []string{"output.mjs", "typed.ts"}, int64(42)},
		{"cycle.js", []string{"cycle.js", "cycle-b.js"}, int64(41)},
		{"dynamic.js", []string{"dynamic.js", "util.js"}, "function"},
		{"optional.js", []string{"optional.js"}, "required encoding"},
	}
	r := newRig(t, Options{})
	for _, test := range tests {
		t.Run(test.entry, func(t *testing.T) {
			b := r.load(t, fileRef(filepath.Join(dir, test.entry)))
			var files []string
			for _, f := range b.Files {
				rel, err := filepath.Rel(dir, f)
				if err != nil {
					t.Fatal(err)
				}
				files = append(files, rel)
			}
			if !slices.Equal(files, test.files) {
				t.Errorf("files %q", files)
			}
			if got := result(t, b, 41); got != test.want {
				t.Errorf("result %v\n%s", got, b.Code)
			}
		})
	}
}

func TestCompileErrors(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(t.TempDir(), "outside.js")
	if err := os.WriteFile(outside, []byte("module.exports = 1"), 0o644); err != nil {
		t.Fatal(err)
	}
	write(t, dir, map[string]string{
		"syntax.js":   "const a = 1\nconst π = = 2\n",
		"imports.js":  "import './lib/bad.js'",
		"lib/bad.js":  "\n\nfunction (",
		"bare.js":     "\nimport _ from 'lodash'",
		"node.js":     "const fs = require('node:fs')",
		"missing.js":  "import './nowhere.js'",
		"escape.js":   "import '../outside.js'",
		"absolute.js": "import '/etc/hostname'",
		"url.js":      "import 'https://example.com/x.js'",
		"data.js":     "import 'data:text/javascript,1'",
		"file.js":     "import 'file:///etc/hostname'",
		"link.js":     "import './linked.js'",
		"await.js":    "export default await 1",
		"deep.js":     "module.exports = " + strings.Repeat("[", 20000) + strings.Repeat("]", 20000),
	})
	if err := os.Symlink(outside, filepath.Join(dir, "linked.js")); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		entry, file  string
		line, column int
		message      string
	}{
		{"syntax.js", "syntax.js", 2, 11, `Unexpected "="`},
		{"imports.js", "lib/bad.js", 3, 10, "Expected identifier"},
		{"bare.js", "bare.js", 2, 15, `Could not resolve "lodash"; only relative imports`},
		{"node.js", "node.js", 1, 20, `Could not resolve "node:fs"`},
		{"missing.js", "missing.js", 1, 8, `"./nowhere.js" was not found in ` + dir},
		{"escape.js", "escape.js", 1, 8, `"../outside.js" leaves the folder of the entry`},
		{"absolute.js", "absolute.js", 1, 8, `is an absolute path`},
		{"url.js", "url.js", 1, 8, `cannot be imported: imports are relative`},
		{"data.js", "data.js", 1, 8, `cannot be imported: imports are relative`},
		{"file.js", "file.js", 1, 8, `cannot be imported: imports are relative`},
		{"await.js", "await.js", 1, 16, "await inside the handler"},
		{"deep.js", "deep.js", 1, 1018, "too complex: more than 1000 brackets"},
	}
	r := newRig(t, Options{})
	for _, test := range tests {
		t.Run(test.entry, func(t *testing.T) {
			err := r.fail(t, fileRef(filepath.Join(dir, test.entry)))
			var ce *CompileError
			if !errors.As(err, &ce) {
				t.Fatalf("%T: %v", err, err)
			}
			if ce.File != filepath.Join(dir, test.file) || ce.Line != test.line || ce.Column != test.column {
				t.Errorf("at %s:%d:%d, want %s:%d:%d", ce.File, ce.Line, ce.Column, test.file, test.line, test.column)
			}
			if !strings.Contains(ce.Message, test.message) {
				t.Errorf("message %q", ce.Message)
			}
		})
	}
	t.Run("link", func(t *testing.T) {
		err := r.fail(t, fileRef(filepath.Join(dir, "link.js")))
		if !strings.Contains(err.Error(), "linked.js") || !strings.Contains(err.Error(), "escapes") {
			t.Errorf("%T: %v", err, err)
		}
	})
	t.Run("frame", func(t *testing.T) {
		err := r.fail(t, fileRef(filepath.Join(dir, "syntax.js")))
		want := "     1 | const a = 1\n>    2 | const π = = 2\n       |           ^\n"
		if ce := err.(*CompileError); ce.Frame != want {
			t.Errorf("frame:\n%s\nwant:\n%s", ce.Frame, want)
		}
	})
	t.Run("inline", func(t *testing.T) {
		err := r.fail(t, inlineRef("import './x.js'"))
		if !strings.Contains(err.Error(), "inline:1:8: inline code cannot import") {
			t.Error(err)
		}
	})
}

// Errors must point at what the author wrote, whatever was put around it.
func TestPositionsAreTheAuthors(t *testing.T) {
	r := newRig(t, Options{})
	tests := []struct{ name, code, token string }{
		{"expression", "(ctx, cb) => { throw new Error('here') }", "throw"},
		{"expression on the second line", "(ctx,\n  cb) => { throw new Error('here') }", "throw"},
		{"old return", "var x;\n  return function (cb) {\n    throw new Error('here') }", "throw"},
		{"statements", "var x;\nmodule.exports = function (cb) { throw new Error('here') }", "throw"},
		{"module", "const x = 1\nexport default function () { throw new Error(x) }", "throw"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := r.load(t, inlineRef(test.code))
			m, err := sourcemap.Parse("", b.Map)
			if err != nil {
				t.Fatal(err)
			}
			line, col := place(b.Code, test.token)
			file, _, gotLine, gotCol, ok := m.Source(line, col)
			wantLine, wantCol := place(test.code, test.token)
			if !ok || file != "inline" || gotLine != wantLine || gotCol != wantCol {
				t.Errorf("%s:%d:%d, want inline:%d:%d\n%s\n%s", file, gotLine, gotCol, wantLine, wantCol, b.Code, b.Map)
			}
		})
	}
}

// place returns the 1-based line and 0-based column of a token.
func place(code, token string) (line, col int) {
	before, _, _ := strings.Cut(code, token)
	return 1 + strings.Count(before, "\n"), len(before) - 1 - strings.LastIndex(before, "\n")
}

func TestDigestIsTheIdentityOfCodeAndPlaces(t *testing.T) {
	r := newRig(t, Options{})
	plain := r.load(t, inlineRef("var x = 1;\nmodule.exports = a => a"))
	moved := r.load(t, inlineRef("var x = 1; // a comment\n\nmodule.exports = a => a"))
	if plain.Code != moved.Code {
		t.Fatalf("a comment changed the code:\n%s\n%s", plain.Code, moved.Code)
	}
	if plain.Digest == moved.Digest {
		t.Error("two sets of places have one digest")
	}
	again := newRig(t, Options{}).load(t, inlineRef("var x = 1;\nmodule.exports = a => a"))
	if again.Digest != plain.Digest {
		t.Error("one code has two digests")
	}
}

// goja reads \p{…} in a literal as the letters themselves; only what goes
// through the constructor can be mended by the runtime.
func TestUnicodeRegularExpressionsAreConstructed(t *testing.T) {
	b := newRig(t, Options{}).load(t, inlineRef(`s => /^[\p{L}]+$/u.test(s) && /x/y.test(s)`))
	if strings.Contains(b.Code, "/u") || strings.Count(b.Code, "new RegExp(") != 2 {
		t.Errorf("literals are left:\n%s", b.Code)
	}
}

func TestExternal(t *testing.T) {
	r := newRig(t, Options{External: []string{"http"}})
	if got := result(t, r.load(t, inlineRef("const h = require('http'); module.exports = () => h"))); got != "required http" {
		t.Error(got)
	}
}
