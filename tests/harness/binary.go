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

var build struct {
	sync.Once
	path   string
	output []byte
	err    error
}

// Binary builds cmd/caddy and returns its path: with the race detector when
// the test itself runs with it. Test packages run as processes of their own,
// so the file is shared under a lock and linked only when something changed.
func Binary(t testing.TB) string {
	t.Helper()
	root := Root(t)
	build.Do(func() {
		name, flags := "caddy", []string{"build", "-tags", buildTags}
		if raceDetector {
			name, flags = "caddy-race", append(flags, "-race")
		}
		dir := filepath.Join(root, "bin", "test")
		if build.err = os.MkdirAll(dir, 0o755); build.err != nil {
			return
		}
		lock, err := os.OpenFile(filepath.Join(dir, name+".lock"), os.O_CREATE|os.O_RDWR, 0o644)
		if err != nil {
			build.err = err
			return
		}
		defer lock.Close() // which ends the lock
		if build.err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); build.err != nil {
			return
		}
		build.path = filepath.Join(dir, name)
		cmd := exec.Command("go", append(flags, "-o", build.path, "./cmd/caddy")...)
		cmd.Dir = root
		build.output, build.err = cmd.CombinedOutput()
	})
	if build.err != nil {
		t.Fatalf("building cmd/caddy: %v\n%s", build.err, build.output)
	}
	return build.path
}
