package source

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/dop251/goja/parser"
	"github.com/evanw/esbuild/pkg/api"
	"github.com/go-sourcemap/sourcemap"

	"github.com/webtask-edge/caddy-webtask/jsruntime/internal/vlq"
)

func TestAllowPatterns(t *testing.T) {
	tests := []struct {
		pattern  string
		yes, not []string
	}{
		{"https://example.com/tasks/*",
			[]string{"https://example.com/tasks/a.js", "https://EXAMPLE.com:443/tasks/b/c.js?x=1#y", "https://example.com/tasks/"},
			[]string{"https://example.com/tasks", "https://example.com/a.js", "http://example.com/tasks/a.js", "https://example.com:8443/tasks/a.js", "https://example.com.evil.org/tasks/a.js", "https://www.example.com/tasks/a.js"}},
		{"https://*.example.com/",
			[]string{"https://a.example.com/", "https://a.b.example.com"},
			[]string{"https://example.com/", "https://a.example.com/x.js", "https://notexample.com/"}},
		{"http://localhost:8080", []string{"http://localhost:8080/any/thing.js"}, []string{"https://localhost:8080/x", "http://localhost/x"}},
		{"https://example.com/v1*", []string{"https://example.com/v1.2.js", "https://example.com/%761.js"}, []string{"https://example.com/v2.js"}},
		{"https://example.com/one.js", []string{"https://example.com/one.js?v=1"}, []string{"https://example.com/one.js.map"}},
	}
	for _, test := range tests {
		list, err := parseAllow([]string{test.pattern})
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range slices.Concat(test.yes, test.not) {
			u, err := parseCodeURL(text)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := list.check(u) == nil, slices.Contains(test.yes, text); got != want {
				t.Errorf("%s allows %s: %v", test.pattern, text, got)
			}
		}
	}
	for _, bad := range []string{"", "example.com/*", "ftp://example.com/*", "https:///x", "https://*.*.com/", "https://ex*ample.com/", "https://example.com/*/x", "https://u:p@example.com/", "https://example.com/?q", "https://[::1/"} {
		if _, err := NewLoader(Options{Allow: []string{bad}}); err == nil || !strings.Contains(err.Error(), "code_allow") || !strings.Contains(err.Error(), "https://example.com/tasks/*") {
			t.Errorf("pattern %q: %v", bad, err)
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for field, o := range map[string]Options{
		"code_max_age": {MaxAge: -1}, "code_size": {CodeSize: -1}, "StaleFor": {StaleFor: -1}, "MemoryBytes": {MemoryBytes: -1},
	} {
		if _, err := NewLoader(o); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestIntegrityFormat(t *testing.T) {
	a, b := sha256.Sum256([]byte("a")), sha256.Sum256([]byte("b"))
	text := func(sum [32]byte) string { return "sha256-" + base64.StdEncoding.EncodeToString(sum[:]) }
	if got := Integrity(map[string][32]byte{"https://x/a.js": a}); got != text(a) {
		t.Errorf("one file: %s", got)
	}
	list := "https://x/a.js " + text(a) + "\nhttps://x/b.js " + text(b) + "\n"
	if got := Integrity(map[string][32]byte{"https://x/b.js": b, "https://x/a.js": a}); got != text(sha256.Sum256([]byte(list))) {
		t.Errorf("two files: %s", got)
	}
}

func TestCheckNesting(t *testing.T) {
	many := func(s string) string { return strings.Repeat(s, 20000) }
	refused := map[string]string{
		"parentheses":          many("("),
		"hidden in a comment":  many("(/*)*/"),
		"hidden in strings":    many("[']',"),
		"hidden in a template": many("(`)`+"),
		"nested templates":     many("`${"),
		"hidden in regexes":    many("(/)/.x,"),
		"after a condition":    many("{if(0)/}/;"),
		"prefix operators":     many("!"),
		"unary words":          many("typeof "),
		"assignments":          many("a="),
		"arrows":               many("a=>"),
		"conditionals":         many("a?b:"),
		"sums":                 "1" + many("+1"),
		"conditions":           many("if(0)"),
		"members":              "a" + many(".a"),
		"calls":                "a" + many("()"),
		"sequence":             many("0,"),
		"sequence of calls":    many("f(),"),
		"sequence in a block":  "{" + many("0,"),
		"sequence in a group":  "(" + many("0,"),
	}
	for name, code := range refused {
		err := CheckNesting(code)
		var ce *CompileError
		if !errors.As(err, &ce) || ce.Line != 1 || ce.Column < 1 {
			t.Errorf("%s: %v", name, err)
		}
	}
	accepted := map[string]string{
		"numbers":             "x = [" + many("1,") + "]",
		"records":             "x = {" + many("a: 1, ") + "}",
		"statements":          many("f(a / b) / g[1] / 2;\n"),
		"functions":           many("function f(a) { return /[/)]/.test(a) ? (a) : 'it\\'s ((' }\n"),
		"no semicolons":       many("if (a) { b = `${a} ( ${b}` }\n"),
		"strings of brackets": many("s += '(((('; // ((("),
		"block comments":      "/*" + many("(") + "*/",
		"short":               strings.Repeat("(", 4000),
	}
	for name, code := range accepted {
		if err := CheckNesting(code); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLooksMangled(t *testing.T) {
	for _, code := range []string{
		"const {http.request.uri.path} = req", "`${http.request.host}`", "f({http.vars.client_ip})", "{http.request.header.X-Key}",
	} {
		if err := LooksMangled(code); err == nil || !strings.Contains(err.Error(), "{http.") {
			t.Errorf("%s: %v", code, err)
		}
	}
	for _, code := range []string{"const { path } = req", "`${http.STATUS_CODES}`", "x = {http: {request: 1}}", "{http.request(x)}", "${path}"} {
		if err := LooksMangled(code); err != nil {
			t.Errorf("%s: %v", code, err)
		}
	}
}

func TestFrameOfLongLines(t *testing.T) {
	code := strings.Repeat("a", 500) + "\x1b!" + strings.Repeat("b", 500)
	frame := codeFrame(code, 1, 502)
	lines := strings.Split(frame, "\n")
	if len(lines) != 3 || len(lines[0]) > 140 || strings.Contains(frame, "\x1b") {
		t.Fatalf("frame:\n%s", frame)
	}
	if caret := strings.IndexByte(lines[1], '^'); lines[0][caret] != '!' {
		t.Errorf("the caret is elsewhere:\n%s", frame)
	}
	if codeFrame("x", 0, 0) != "" {
		t.Error("a frame without a place")
	}
}

// The codec is checked against an independent reader, which is known to drop
// what maps to the very first character.
func TestShiftFirstLine(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	type segment [5]int
	for range 200 {
		var b strings.Builder
		var last segment
		var segments []segment
		for line := range 1 + rng.IntN(4) {
			if line > 0 {
				b.WriteByte(';')
			}
			last[0] = 0
			col := 0
			for i := range rng.IntN(6) {
				if i > 0 {
					b.WriteByte(',')
				}
				col += 1 + rng.IntN(50)
				s := segment{col, rng.IntN(2), rng.IntN(3), 19 + rng.IntN(1000), line}
				for f := range 4 {
					b.Write(vlq.Append(nil, s[f]-last[f]))
				}
				last = s
				segments = append(segments, s)
			}
		}
		shifted, err := shiftFirstLine(b.String(), 18)
		if err != nil {
			t.Fatal(err)
		}
		if len(segments) == 0 {
			continue
		}
		m, err := sourcemap.Parse("", []byte(`{"version":3,"sources":["a","b"],"names":[],"mappings":"`+shifted+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range segments {
			file, _, line, col, ok := m.Source(s[4]+1, s[0])
			want := s[3]
			if s[1] == 0 && s[2] == 0 {
				want -= 18
			}
			if !ok || file != []string{"a", "b"}[s[1]] || line != s[2]+1 || col != want {
				t.Fatalf("segment %v reads as %s:%d:%d", s, file, line, col)
			}
		}
	}
	for _, bad := range []string{"?", "A?", "AAAAAAA", "gggggggggggg"} {
		if _, err := shiftFirstLine(bad, 1); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

// FuzzCheckNesting repeats short pieces of code: what the guard accepts must
// not kill the parsers, which would end the fuzzing process.
func FuzzCheckNesting(f *testing.F) {
	for _, seed := range []string{"(/*)*/", "`${a/b}`", "if(0)/}/;", "a=>", "else if(0){}", "(a)=>{", "'\\", "<a>", "x?.[", "new ", "class extends ", "0000,000"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, piece string) {
		if piece == "" || len(piece) > 100 {
			return
		}
		code := strings.Repeat(piece, 1+(300<<10)/len(piece))
		if CheckNesting(code) != nil {
			return
		}
		out := api.Transform(code, api.TransformOptions{Loader: api.LoaderTSX, TsconfigRaw: "{}", LogLevel: api.LogLevelSilent})
		if len(out.Errors) == 0 {
			// Both parsers say what is wrong; that they return is what counts.
			_, _ = parser.ParseFile(nil, "", string(out.Code), 0, parser.WithDisableSourceMaps)
		}
	})
}

func FuzzCodeURL(f *testing.F) {
	f.Add("https://example.com/tasks/../x.js")
	f.Add("https://example.com/tasks/%2e%2e/x.js")
	f.Add("https://user@example.com:443/tasks/%2Fx?y#z")
	list, err := parseAllow([]string{"https://example.com/tasks/*"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, err := parseCodeURL(text)
		if err != nil || list.check(u) != nil {
			return
		}
		again, err := url.Parse(u.String())
		if err != nil {
			t.Fatalf("%q is allowed but %q does not parse", text, u)
		}
		if again.Hostname() != "example.com" || !strings.HasPrefix(again.Path, "/tasks/") || strings.Contains(again.Path, "/../") || again.User != nil {
			t.Errorf("%q is allowed as %q", text, u)
		}
		if once, err := normalizeURL(again); err != nil || once.String() != u.String() {
			t.Errorf("%q is not normal: %v, %v", u, once, err)
		}
	})
}
