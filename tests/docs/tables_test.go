package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/webtask-edge/caddy-webtask/edge"
	"github.com/webtask-edge/caddy-webtask/tests/harness"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(harness.Root(t), name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestLimitsTable compares README's table of limits with the edge's.
func TestLimitsTable(t *testing.T) {
	_, table, _ := strings.Cut(read(t, "README.md"), "\n| option | default | bounds |")
	table, _, _ = strings.Cut(table, "\n\n")
	named := map[string]string{} // option → default
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| `?([^`|]+?)`? \\|").FindAllStringSubmatch(table, -1) {
		named[row[1]] = row[2]
	}
	// Not in this table: the limit of a worker process, which this build has
	// not, and the two that it words in its own way.
	for _, name := range webtask.LimitNames() {
		written, ok := named[name]
		dflt := edge.DefaultLimits.Get(name)
		switch {
		case name == "memory":
		case !ok:
			t.Errorf("README's table of limits lacks %s", name)
		case dflt == "":
			if written != "none" && written != "auto" {
				t.Errorf("README gives %s the default %q; it has none", name, written)
			}
		default:
			var limits webtask.Limits
			if err := limits.Set(name, written); err != nil || limits.Get(name) != dflt {
				t.Errorf("README gives %s the default %q (%v), the edge %q", name, written, err, dflt)
			}
		}
		delete(named, name)
	}
	delete(named, "queue")
	if len(named) != 0 {
		t.Errorf("README's table of limits has %v, which are none", named)
	}
}

// TestGuaranteesNameTests checks that docs/guarantees.md names tests that
// exist.
func TestGuaranteesNameTests(t *testing.T) {
	rows := regexp.MustCompile("(?m)^\\|.*\\| `([a-z0-9/]+)`(.*)\\|$").FindAllStringSubmatch(read(t, "docs/guarantees.md"), -1)
	if len(rows) < 10 {
		t.Fatalf("only %d rows were found: the pattern does not fit the table", len(rows))
	}
	for _, row := range rows {
		files, err := filepath.Glob(filepath.Join(harness.Root(t), row[1], "*_test.go"))
		if err != nil || len(files) == 0 {
			t.Errorf("%s has no tests (%v)", row[1], err)
		}
		for _, name := range regexp.MustCompile("`(Test[A-Za-z]+)`").FindAllStringSubmatch(row[2], -1) {
			if !slices.ContainsFunc(files, func(file string) bool {
				source, err := os.ReadFile(file)
				return err == nil && strings.Contains(string(source), "func "+name[1]+"(")
			}) {
				t.Errorf("%s has no %s", row[1], name[1])
			}
		}
	}
}

// TestLinksLead checks the relative links of every page.
func TestLinksLead(t *testing.T) {
	root := harness.Root(t)
	for _, pattern := range []string{"README.md", "docs/*.md", "examples/*/README.md"} {
		pages, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, page := range pages {
			text, err := os.ReadFile(page)
			if err != nil {
				t.Fatal(err)
			}
			for _, link := range regexp.MustCompile(`\]\(([^)#:]+)\)`).FindAllStringSubmatch(string(text), -1) {
				if _, err := os.Stat(filepath.Join(filepath.Dir(page), link[1])); err != nil {
					t.Errorf("%s links to %s: %v", page, link[1], err)
				}
			}
		}
	}
}
