package caddywebtask

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/webtask-edge/caddy-webtask"

// rooms says which packages of this module a package may import, itself and
// those below it aside. Nobody imports a sibling; what is not listed (mains,
// tests) may import all.
var rooms = map[string][]string{
	"webtask":        {},
	"egress":         {"webtask"},
	"sessionstore":   {"webtask"},
	"jsruntime":      {"webtask"},
	"edge":           {"webtask", "egress", "sessionstore", "jsruntime"},
	"sessionbackend": {"webtask", "egress", "sessionstore", "jsruntime"},
	"caddymodule":    {"webtask", "egress", "sessionstore", "jsruntime", "edge", "sessionbackend"},
}

// owners says which rooms alone may import a dependency.
var owners = map[string][]string{
	"github.com/caddyserver/caddy":     {"caddymodule", "cmd"},
	"github.com/caddyserver/certmagic": {"caddymodule"},
	"github.com/dop251/goja":           {"jsruntime"},
	"github.com/evanw/esbuild":         {"jsruntime"},
	"github.com/moby/moby":             {"sessionbackend"},
	"github.com/redis/go-redis":        {"sessionstore"},
	"go.etcd.io/bbolt":                 {"sessionstore"},
}

// TestRooms keeps the direction of imports: the domain knows nobody, Caddy is
// known at the edge of the program only, and an engine by its room only.
func TestRooms(t *testing.T) {
	list := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var pkg struct {
			ImportPath string
			Imports    []string
		}
		if err := decoder.Decode(&pkg); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		own := strings.TrimPrefix(strings.TrimPrefix(pkg.ImportPath, module), "/")
		room, _, _ := strings.Cut(own, "/")
		if room == "tests" || room == "examples" {
			continue
		}
		seen++
		for _, imported := range pkg.Imports {
			checkImport(t, own, room, imported)
		}
	}
	if seen < len(rooms) {
		t.Errorf("go list named %d packages, fewer than there are rooms", seen)
	}
}

func checkImport(t *testing.T, own, room, imported string) {
	t.Helper()
	for dependency, allowed := range owners {
		if strings.HasPrefix(imported, dependency) && !slices.Contains(allowed, room) {
			t.Errorf("%s imports %s, which only %s may", own, imported, strings.Join(allowed, ", "))
		}
	}
	inside, ok := strings.CutPrefix(imported, module+"/")
	allowed, limited := rooms[room]
	if !ok || !limited {
		return
	}
	other, _, _ := strings.Cut(inside, "/")
	if other != room && !slices.Contains(allowed, other) {
		t.Errorf("%s imports %s, against the direction of imports", own, inside)
	}
	if other == room && room == "jsruntime" && siblings(own, inside) && !strings.HasPrefix(own, workers) {
		t.Errorf("%s imports its sibling %s", own, inside)
	}
}

// workers are mains of processes: they put the parts of their room together.
const workers = "jsruntime/worker"

// siblings reports whether two packages stand side by side in one room. What is
// internal to the room is nobody's sibling, and knows none of it.
func siblings(a, b string) bool {
	return strings.Contains(a, "/") && strings.Contains(b, "/") && a != b && (!strings.Contains(b, "/internal/") || strings.Contains(a, "/internal/"))
}
