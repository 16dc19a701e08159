package caddymodule

import (
	"os"
	"strings"
	"testing"
)

// TestReference compares the tables of docs/caddyfile.md with the options that
// the parser knows: syntax, default and order.
func TestReference(t *testing.T) {
	text, err := os.ReadFile("../docs/caddyfile.md")
	if err != nil {
		t.Fatal(err)
	}
	limits := limitOptions((*App).limits, defaultLimit)
	compare(t, string(text), "## The global option `webtask`", appOptions[:len(appOptions)-len(limits)])
	compare(t, string(text), "### Limits", limits)
	compare(t, string(text), "### `store redis`", redisOptions)
	compare(t, string(text), "| option of `tls`", tlsOptions)
	compare(t, string(text), "## The directive `webtask`", handlerOptions[:len(handlerOptions)-len(limits)])
	compare(t, string(text), "## The directive `session_backend`", sessionBackendOptions)
	compare(t, string(text), "## The directive `session_api`", sessionAPIOptions)
}

// compare compares the first table after heading with options.
func compare[T any](t *testing.T, text, heading string, options []option[T]) {
	t.Helper()
	_, section, found := strings.Cut(text, "\n"+heading)
	if !found {
		t.Errorf("the reference lacks %q", heading)
		return
	}
	_, table, _ := strings.Cut(section, "|---|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	rows := strings.Split(strings.TrimSpace(table), "\n")
	if len(rows) != len(options) {
		t.Errorf("%s: the reference has %d options, the parser %d", heading, len(rows), len(options))
	}
	for i, o := range options {
		syntax := strings.ReplaceAll(strings.TrimSpace(o.name+" "+o.syntax), "|", `\|`)
		want := "| `" + syntax + "` | " + o.dflt + " | "
		if i >= len(rows) || !strings.HasPrefix(rows[i], want) || strings.HasSuffix(rows[i], want) {
			t.Errorf("%s: the reference lacks, at its place, the row\n%s…", heading, want)
		}
	}
}
