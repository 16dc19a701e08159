// Package repo guards what no compiler checks: the repository's own rules.
package repo

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/webtask-edge/caddy-webtask/tests/harness"
)

// maxLines is the length above which a file holds more than one concern.
const maxLines = 600

// goFiles calls each with every Go file of the repository.
func goFiles(t *testing.T, each func(path string, src []byte)) {
	t.Helper()
	seen := 0
	walk(t, func(path string, src []byte) {
		if strings.HasSuffix(path, ".go") {
			seen++
			each(path, src)
		}
	})
	if seen < 50 {
		t.Fatalf("only %d Go files were found: the walk is broken", seen)
	}
}

// walk calls each with every file that belongs to the repository.
func walk(t *testing.T, each func(path string, src []byte)) {
	t.Helper()
	root := harness.Root(t)
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() && (name == "bin" || name == "testdata" || strings.HasPrefix(name, ".") && name != ".ci" && path != root) {
			return fs.SkipDir
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		each(filepath.ToSlash(rel), src)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestFilesAreShort(t *testing.T) {
	goFiles(t, func(path string, src []byte) {
		if n := bytes.Count(src, []byte("\n")); n > maxLines {
			t.Errorf("%s has %d lines, more than %d: split it by concern", path, n, maxLines)
		}
	})
}

func TestEachPackageHasOneComment(t *testing.T) {
	comments := map[string][]string{}
	packages := map[string]bool{}
	goFiles(t, func(path string, src []byte) {
		file, err := parser.ParseFile(token.NewFileSet(), path, src, parser.ParseComments|parser.PackageClauseOnly)
		if err != nil {
			t.Error(err)
			return
		}
		if strings.HasSuffix(file.Name.Name, "_test") {
			return
		}
		dir := filepath.Dir(path)
		packages[dir] = packages[dir] || !strings.HasSuffix(path, "_test.go")
		if file.Doc != nil {
			comments[dir] = append(comments[dir], path)
		}
	})
	for dir, shipped := range packages {
		if len(comments[dir]) > 1 || shipped && len(comments[dir]) == 0 {
			t.Errorf("package %s has package comments in %v, want exactly one", dir, comments[dir])
		}
	}
}

func TestNoTestIsSkippedOrSleeps(t *testing.T) {
	forbidden := map[string]string{
		"Skip": "skips", "Skipf": "skips", "SkipNow": "skips",
	}
	goFiles(t, func(path string, src []byte) {
		if !strings.HasSuffix(path, "_test.go") && !strings.HasPrefix(path, "tests/") {
			return
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, src, parser.SkipObjectResolution)
		if err != nil {
			t.Error(err)
			return
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			selector, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			receiver, _ := selector.X.(*ast.Ident)
			if receiver == nil {
				return true
			}
			at := set.Position(call.Pos())
			if what, ok := forbidden[selector.Sel.Name]; ok && (receiver.Name == "t" || receiver.Name == "b" || receiver.Name == "tb" || receiver.Name == "f") {
				t.Errorf("%s %s a test", at, what)
			}
			if receiver.Name == "time" && selector.Sel.Name == "Sleep" {
				t.Errorf("%s sleeps: wait for the event instead", at)
			}
			return true
		})
	})
}

func TestNothingIsLeftUndone(t *testing.T) {
	mark := regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X|HA` + `CK)\b`)
	walk(t, func(path string, src []byte) {
		for i, line := range bytes.Split(src, []byte("\n")) {
			if len(line) < 1000 && mark.Match(line) {
				t.Errorf("%s:%d: %s", path, i+1, bytes.TrimSpace(line))
			}
		}
	})
}

func TestGoModReplacesNothing(t *testing.T) {
	cmd := exec.Command("go", "mod", "edit", "-json")
	cmd.Dir = harness.Root(t)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var mod struct {
		Module  struct{ Path string }
		Replace []any
	}
	if err := json.Unmarshal(out, &mod); err != nil {
		t.Fatal(err)
	}
	if mod.Module.Path != "github.com/webtask-edge/caddy-webtask" {
		t.Errorf("the module is %q", mod.Module.Path)
	}
	if len(mod.Replace) != 0 {
		t.Errorf("go.mod replaces %v: a module that others build into Caddy may not", mod.Replace)
	}
}

// TestVersionsAgree compares every place that names Caddy's, xcaddy's or Go's
// version with go.mod.
func TestVersionsAgree(t *testing.T) {
	root := harness.Root(t)
	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	required := func(module string) string {
		m := regexp.MustCompile(`(?m)^\s*` + regexp.QuoteMeta(module) + ` (v\S+)`).FindStringSubmatch(read("go.mod"))
		if m == nil {
			t.Fatalf("go.mod does not require %s", module)
		}
		return m[1]
	}
	caddy := required("github.com/caddyserver/caddy/v2")

	var xcaddy struct {
		CaddyVersion string `json:"caddy_version"`
	}
	if err := json.Unmarshal([]byte(read("xcaddy.json")), &xcaddy); err != nil {
		t.Fatal(err)
	}
	if xcaddy.CaddyVersion != caddy {
		t.Errorf("xcaddy.json builds Caddy %s, go.mod requires %s", xcaddy.CaddyVersion, caddy)
	}
	if readme := read("README.md"); !strings.Contains(readme, "Caddy "+caddy) {
		t.Errorf("README.md does not name Caddy %s", caddy)
	}
	goVersion := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read("go.mod"))
	if readme := read("README.md"); goVersion == nil || !strings.Contains(readme, "Go "+goVersion[1]) {
		t.Errorf("README.md does not name Go %v, which go.mod requires", goVersion)
	}
}

// TestNothingNamesThisMachine finds absolute paths of a workplace and hosts of
// package registries.
func TestNothingNamesThisMachine(t *testing.T) {
	suspicious := regexp.MustCompile(`/(home|Users)/[a-z]+/|proxy\.golang\.org|registry\.npmjs|deb\.debian\.org`)
	walk(t, func(path string, src []byte) {
		if strings.HasPrefix(path, "tests/repo/") || path == "go.sum" {
			return
		}
		if found := suspicious.Find(src); found != nil {
			t.Errorf("%s names %s", path, found)
		}
	})
}
