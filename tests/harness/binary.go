// Package harness starts what the tests of this folder talk to: the edge as
// users build it, one process per server, with a folder and ports of its own.
//
//	srv := harness.Start(t, harness.Config{Caddyfile: `
//		{
//			webtask {
//				isolation none
//			}
//		}
//		http://localhost:{$PORT} {
//			webtask /hello {
//				code hello.js
//			}
//		}`,
//		Files: map[string]string{"hello.js": `module.exports = cb => cb(null, "hello")`},
//	})
//	harness.NewClient(t).Get(t, srv.URL+"/hello").Want(t, 200, "hello")
//	srv.Kill(t)    // kill -9
//	srv.Restart(t) // same folder, same ports, same keys
//
// A server that leaves a data race, a panic or a process behind fails its test.
package harness

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// buildTags are those that xcaddy builds with.
const buildTags = "nobadger,nomysql,nopgx"

// build is a binary, which is made when it is first asked for.
type build struct {
	name  string
	pkg   string
	flags []string
	cgo   string // landlock wants 0, the race detector 1

	once   sync.Once
	path   string
	output []byte
	err    error
}

var (
	release = build{name: "caddy", pkg: "./cmd/caddy", cgo: "0"}
	checked = build{name: "caddy-race", pkg: "./cmd/caddy", flags: []string{"-race"}, cgo: "1"}
)

// Binary builds cmd/caddy and returns its path: with the race detector when
// the test itself runs with it. Test packages run as processes of their own,
// so the file is shared under a lock and linked only when something changed.
func Binary(t testing.TB) string {
	t.Helper()
	if raceDetector {
		return checked.get(t)
	}
	return release.get(t)
}

// ReleaseBinary is Binary as users build it, always without the race detector:
// that needs several times the memory, for which limits have no room.
func ReleaseBinary(t testing.TB) string {
	t.Helper()
	return release.get(t)
}

func (b *build) get(t testing.TB) string {
	t.Helper()
	root := Root(t)
	b.once.Do(func() { b.err = b.link(root) })
	if b.err != nil {
		t.Fatalf("building %s: %v\n%s", b.pkg, b.err, b.output)
	}
	return b.path
}

func (b *build) link(root string) error {
	dir := filepath.Join(root, "bin", "test")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	lock, err := os.OpenFile(filepath.Join(dir, b.name+".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	defer lock.Close() // which ends the lock
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	b.path = filepath.Join(dir, b.name)
	args := append([]string{"build", "-tags", buildTags}, b.flags...)
	cmd := exec.Command("go", append(args, "-o", b.path, b.pkg)...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED="+b.cgo)
	b.output, err = cmd.CombinedOutput()
	return err
}

// programs are the mains of tests, by name.
var programs sync.Map // of *build

// Program builds tests/NAME, a program that a test needs, and returns its path.
func Program(t testing.TB, name string) string {
	t.Helper()
	found, _ := programs.LoadOrStore(name, &build{name: name, pkg: "./tests/" + name, cgo: "0"})
	return found.(*build).get(t)
}
