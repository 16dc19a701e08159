package caddymodule

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
)

// TestMangledCode adapts Caddyfiles that are on disk, where code can be compared
// with what was written.
func TestMangledCode(t *testing.T) {
	t.Setenv("MANGLED_LINES", "one\n\ttwo\nthree")
	t.Setenv("MANGLED_WORD", "word")
	t.Setenv("MANGLED_EMPTY", "")
	const heredoc = "code <<JS\n\t\t(cb) =>\n\t\t\tcb(null, { a: 'b' })\n\t\tJS"
	for name, test := range map[string]struct {
		before, option string
		mangled        bool
	}{
		"plain":                          {"", heredoc, false},
		"lines of the environment above": {"header X \"{$MANGLED_LINES}\"\n", heredoc, false},
		"an empty value above":           {"{$MANGLED_EMPTY}\n", heredoc, false},
		"a default of lines above":       {"header X \"{$MANGLED_UNSET:a\nb}\"\n", heredoc, false},
		"no name above":                  {"header X {$}\n", heredoc, false},
		"a comment behind it":            {"", "code \"(cb) => cb()\" # {$MANGLED_WORD}", false},
		"an option behind it":            {"", "code \"(cb) => cb()\"\n\t\tparam a {$MANGLED_WORD}", false},
		"escaped quotes":                 {"", `code "(cb) => cb(null, \"x\")"`, false},
		"escaped braces":                 {"", `code "(cb) => cb(null, /\{/)"`, false},
		"a value within":                 {"", "code <<JS\n\t\t(cb) => cb(null, `${$MANGLED_WORD}`)\n\t\tJS", true},
		"a value within, lines above":    {"header X \"{$MANGLED_LINES}\"\n", "code <<JS\n\t\t(cb) => cb(null, `${$MANGLED_WORD}`)\n\t\tJS", true},
		"an empty value within":          {"", "code \"(cb) => cb(null, '${$MANGLED_EMPTY}')\"", true},
		"an unset one within":            {"", "code \"(cb) => cb(null, '{$MANGLED_UNSET}')\"", true},
		"a value that also stands there": {"# word\n", "code \"(cb) => cb(null, '{$MANGLED_WORD}')\" # word", true},
		"a shorthand":                    {"", "code \"(cb) => cb(null, {path})\"", true},
	} {
		t.Run(name, func(t *testing.T) {
			text := "http://localhost {\n" + test.before + "\twebtask /x {\n\t\t" + test.option + "\n\t}\n}\n"
			if err := adaptFile(t, text, text); (err != nil) != test.mangled || (err != nil && !strings.Contains(err.Error(), errMangled.Error())) {
				t.Errorf("the Caddyfile\n%s\ngives %v", text, err)
			}
		})
	}
}

// TestMangledByImport has code in a snippet, whose arguments Caddy replaces.
func TestMangledByImport(t *testing.T) {
	for name, test := range map[string]struct {
		code, argument string
		mangled        bool
	}{
		"an argument elsewhere":  {`"(cb) => cb()"`, "x", false},
		"the code is one":        {"{args[0]}", `"(cb) => cb(null, 'x')"`, false},
		"an argument within":     {"\"(cb) => cb(null, '{args[0]}')\"", "x", true},
		"escaped braces":         {`"(cb) => cb(null, /\{/)"`, "x", true},
		"an old argument within": {"\"(cb) => cb(null, '{args.0}')\"", "x", true},
	} {
		t.Run(name, func(t *testing.T) {
			text := "(task) {\n\twebtask /{args[0]} {\n\t\tcode " + test.code + "\n\t}\n}\nhttp://localhost {\n\timport task " + test.argument + "\n}\n"
			if strings.HasPrefix(test.code, "{args") {
				text = strings.Replace(text, "webtask /{args[0]} {", "webtask /x {", 1)
			}
			if err := adaptFile(t, text, text); (err != nil) != test.mangled {
				t.Errorf("the Caddyfile\n%s\ngives %v", text, err)
			}
		})
	}
}

// TestMangledUnknown adapts a Caddyfile that is not the one on disk, as one that
// was posted to the administration endpoint is not.
func TestMangledUnknown(t *testing.T) {
	site := func(code string) string {
		return "http://localhost {\n\twebtask /x {\n\t\tcode " + code + "\n\t}\n}\n"
	}
	for _, disk := range []string{site(`"(cb) => cb(null, 'old')"`), site("tasks/old.js"), site(`"(cb) => cb(null, '{args[0]}')"`), "", "\"unclosed"} {
		if err := adaptFile(t, disk, site(`"(cb) => cb(null, { new: 1 })"`)); err != nil {
			t.Errorf("with this on disk:\n%s\nadapting gives %v", disk, err)
		}
	}
}

// adaptFile adapts a Caddyfile as if it came from a file that has another text.
func adaptFile(t *testing.T, disk, text string) error {
	t.Helper()
	file := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(file, []byte(disk), 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": file})
	return err
}
