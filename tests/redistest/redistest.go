// Package redistest starts real Redis servers for tests: a standalone server,
// a Cluster of three masters, or a Sentinel set-up. Every process listens on
// a free loopback port, keeps its files in a directory of the test, and is
// killed when the test ends.
//
//	func TestSessions(t *testing.T) {
//		srv := redistest.Start(t, "--appendonly", "yes")
//		store := open(t, srv.Addr())
//		…
//		srv.Kill()    // SIGKILL, as a crash would
//		srv.Restart() // same port, same files
//	}
//
// A test fails, and is never skipped, where redis-server is not installed.
package redistest

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
)

// binary is found in PATH, or named by REDIS_SERVER.
const binary = "redis-server"

// readyLine is what redis-server logs once it serves its port.
const readyLine = "Ready to accept connections"

// Server is one redis-server process.
type Server struct {
	kind
	t    testing.TB
	dir  string
	port int

	mu   sync.Mutex
	proc *process // nil while it does not run

	clientOnce sync.Once
	client     *redis.Client
}

// kind is how a server is started.
type kind struct {
	ready  string      // the log line that says it serves
	conf   string      // configuration file, or empty
	args   []string    // options of the command line
	tls    *tls.Config // of clients; nil: it speaks plain TCP
	caPath string
}

// Start starts a standalone redis-server and waits until it serves. It keeps
// nothing on disk unless args, options of redis-server's command line, say so:
//
//	redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	return start(t, kind{ready: readyLine, args: append([]string{"--save", "", "--appendonly", "no"}, args...)})
}

// start starts a server on a free port. Between the choice of a port and its
// use another process may take it; then the next is tried.
func start(t testing.TB, k kind) *Server {
	t.Helper()
	const attempts = 10
	var err error
	for range attempts {
		s := &Server{kind: k, t: t, dir: t.TempDir(), port: freePort(t)}
		if err = s.launch(); err == nil {
			t.Cleanup(s.stop)
			return s
		}
	}
	t.Fatalf("redistest: %v", err)
	return nil
}

// Addr is the server's host:port; it survives Kill and Restart.
func (s *Server) Addr() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

// Dir is the server's working directory, where it keeps its files.
func (s *Server) Dir() string { return s.dir }

// Pid is the process id, or 0 while the server does not run.
func (s *Server) Pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return 0
	}
	return s.proc.pid()
}

// Client returns a client of the server, closed when the test ends. It is for
// looking into the server, and so made afresh neither by Kill nor Restart.
func (s *Server) Client() *redis.Client {
	s.clientOnce.Do(func() {
		s.client = redis.NewClient(&redis.Options{
			Addr: s.Addr(), TLSConfig: s.tls, Protocol: 2, DisableIdentity: true, DialerRetries: 1, MaxRetries: -1,
		})
		s.t.Cleanup(func() { _ = s.client.Close() })
	})
	return s.client
}

// Kill sends SIGKILL and waits for the process's end. It may be called in any
// state.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc != nil {
		s.proc.kill()
		s.proc = nil
	}
}

// Restart starts the server again, on the same port and files, after Kill; a
// running one is killed first. It returns when the server serves.
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	if err := s.launch(); err != nil {
		s.t.Fatalf("redistest: restarting: %v", err)
	}
}

func (s *Server) stop() { s.Kill() }

func (s *Server) launch() error {
	var args []string
	if s.conf != "" {
		args = append(args, s.conf) // only the first argument may be a file
	}
	if s.tls != nil {
		args = append(args, "--port", "0", "--tls-port", fmt.Sprint(s.port))
	} else {
		args = append(args, "--port", fmt.Sprint(s.port))
	}
	args = append(args,
		"--bind", "127.0.0.1",
		"--dir", s.dir,
		"--daemonize", "no",
		"--loglevel", "notice",
	)
	return s.run(append(args, s.args...))
}

func (s *Server) run(args []string) error {
	path, err := serverPath()
	if err != nil {
		s.t.Fatal(err)
	}
	proc, err := startProcess(path, args)
	if err != nil {
		return err
	}
	if err := proc.waitFor(s.ready); err != nil {
		proc.kill()
		return err
	}
	s.mu.Lock()
	s.proc = proc
	s.mu.Unlock()
	return nil
}

// waitFor waits until the server has logged text since it was last started.
func (s *Server) waitFor(text string) {
	s.t.Helper()
	s.mu.Lock()
	proc := s.proc
	s.mu.Unlock()
	if proc == nil {
		s.t.Fatalf("redistest: waiting for %q of a server that does not run", text)
	}
	if err := proc.waitFor(text); err != nil {
		s.t.Fatalf("redistest: %v", err)
	}
}

func writeFile(t testing.TB, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatalf("redistest: %v", err)
	}
	return path
}
