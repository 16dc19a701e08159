package harness

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Config is what a server starts with.
type Config struct {
	// Caddyfile is the configuration. {$PORT} stands for the port that
	// Server.URL names and {$PORT2} for another free one.
	Caddyfile string

	// Store is what {$STORE} stands for, beside the keyring that a shared
	// store needs. Zero: the file.
	Store Store

	// Dir is the server's folder: its Caddyfile, its Files and Caddy's data.
	// Empty: a new one. Servers that share a folder share their keys.
	Dir string

	// WorkDir is where the server runs. Empty: Dir.
	WorkDir string

	// From is a folder of the repository that is copied into Dir, its Caddyfile
	// too. Empty: none.
	From string

	// Files are written into Dir, by name.
	Files map[string]string

	// Env are further variables of the environment, as NAME=value.
	Env []string

	// UID is the user that the server runs as; Dir becomes that user's. Zero:
	// the user of the test. Another takes a test that runs as root.
	UID uint32

	// MayNice lets another user's server take back that its children yield the CPU,
	// as AmbientCapabilities=CAP_SYS_NICE or LimitNICE=+5 of a systemd unit do.
	MayNice bool

	// Release has the server run without the race detector, also when the test
	// runs with it: for what memory limits decide.
	Release bool

	// MayDie is for a server whose end is the test's to judge: neither its
	// exit nor what it says about it in the log fails the test.
	MayDie bool
}

// Server is a running edge.
type Server struct {
	URL   string // http://localhost:PORT
	URL2  string // http://localhost:PORT2
	Admin string // of Caddy's admin API
	Dir   string
	Log   *Log

	binary  string
	config  string // path of the Caddyfile
	workDir string
	store   string // what {$STORE} stands for
	env     []string
	uid     uint32
	mayNice bool
	mayDie  bool
	process *exec.Cmd
	ended   chan struct{}
	state   *os.ProcessState
}

// Start starts a server, and stops it at the end of the test.
func Start(t testing.TB, cfg Config) *Server {
	t.Helper()
	s := Prepare(t, cfg)
	s.Run(t)
	return s
}

// Prepare sets a server up without starting it.
func Prepare(t testing.TB, cfg Config) *Server {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	if cfg.WorkDir == "" {
		cfg.WorkDir = cfg.Dir
	}
	binary := Binary
	if cfg.Release {
		binary = ReleaseBinary
	}
	port, port2, admin := strconv.Itoa(Port(t)), strconv.Itoa(Port(t)), strconv.Itoa(Port(t))
	s := &Server{
		URL:     "http://localhost:" + port,
		URL2:    "http://localhost:" + port2,
		Admin:   "http://localhost:" + admin,
		Dir:     cfg.Dir,
		Log:     &Log{},
		binary:  binary(t),
		uid:     cfg.UID,
		mayNice: cfg.MayNice,
		mayDie:  cfg.MayDie,
		config:  filepath.Join(cfg.Dir, "Caddyfile"),
		workDir: cfg.WorkDir,
		env: append(os.Environ(),
			"PORT="+port, "PORT2="+port2, "CADDY_ADMIN=localhost:"+admin,
			"XDG_DATA_HOME="+filepath.Join(cfg.Dir, "data"),
			"XDG_CONFIG_HOME="+filepath.Join(cfg.Dir, "config"),
			// A race must not pass for a mere log line.
			"GORACE=exitcode=66",
		),
	}
	s.env = append(s.env, cfg.Env...)
	store := cfg.Store
	if store.Option == "" {
		store = FileStore()
	}
	if store.Name != FileStore().Name {
		store.Option += "\n\t\tkeys " + s.keyring(t)
	}
	s.store = store.Option
	if cfg.From != "" {
		if err := os.CopyFS(cfg.Dir, os.DirFS(filepath.Join(Root(t), cfg.From))); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range cfg.Files {
		s.WriteFile(t, name, content)
	}
	if cfg.Caddyfile != "" {
		s.WriteFile(t, "Caddyfile", s.expand(cfg.Caddyfile))
	}
	if s.uid != 0 {
		s.handOver(t)
	}
	t.Cleanup(func() {
		s.Stop(t)
		if s.mayDie {
			return
		}
		text := s.Log.String()
		for _, sign := range []string{"WARNING: DATA RACE", "panic: ", "http: panic serving", "fatal error: "} {
			if before, after, found := strings.Cut(text, sign); found {
				const around = 16 << 10
				t.Errorf("the server logged %q:\n%s%s%s", sign, before[max(0, len(before)-around):], sign, after[:min(len(after), around)])
			}
		}
	})
	return s
}

// expand puts the store and the isolation into a Caddyfile. Environment
// variables would do so too, but move the lines that messages name.
func (s *Server) expand(caddyfile string) string {
	caddyfile = strings.ReplaceAll(caddyfile, "isolation "+IsolationNone, "isolation "+isolation)
	return strings.ReplaceAll(caddyfile, "{$STORE}", s.store)
}

// Setenv adds to the environment of a server that does not run yet.
func (s *Server) Setenv(entry string) { s.env = append(s.env, entry) }

// WriteFile writes a file of the server's folder in one step, so that a server
// that watches it never reads half of it.
func (s *Server) WriteFile(t testing.TB, name, content string) {
	t.Helper()
	path := filepath.Join(s.Dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".new", []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// Run starts the process and waits until it serves.
func (s *Server) Run(t testing.TB) {
	t.Helper()
	logged := len(s.Log.String())
	s.process = exec.Command(s.binary, "run", "--config", s.config, "--adapter", "caddyfile")
	s.process.Dir = s.workDir
	s.process.Env = s.env
	s.process.Stdout = s.Log
	s.process.Stderr = s.Log
	// The kernel ends the server should the test's process be killed.
	s.process.SysProcAttr = childOf(s.uid, s.mayNice)
	if err := s.process.Start(); err != nil {
		t.Fatal(err)
	}
	process, ended := s.process, make(chan struct{})
	s.ended = ended
	go func() {
		_ = process.Wait() // how it ended is in ProcessState
		s.state = process.ProcessState
		close(ended)
	}()
	s.Log.Wait(t, logged, "serving initial configuration", ended)
}

// Ended is closed when the running server's process has ended.
func (s *Server) Ended() <-chan struct{} { return s.ended }

// PID is the process id of the running server.
func (s *Server) PID() int { return s.process.Process.Pid }

// Stop ends the server as an operator does, with SIGTERM.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	if s.process == nil {
		return
	}
	s.end(t, syscall.SIGTERM)
	if code := s.state.ExitCode(); code != 0 && !s.mayDie {
		t.Errorf("the server ended with %v:\n%s", s.state, s.Log)
	}
	s.process = nil
}

// Kill ends the server at once, as kill -9 does.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	s.end(t, syscall.SIGKILL)
	s.process = nil
}

// Restart stops the server, if it runs, and starts it again.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.Stop(t)
	s.Run(t)
}

func (s *Server) end(t testing.TB, signal os.Signal) {
	t.Helper()
	if err := s.process.Process.Signal(signal); err != nil && !s.mayDie {
		t.Errorf("ending the server with %v: %v", signal, err)
	}
	select {
	case <-s.ended:
	case <-time.After(patience):
		_ = s.process.Process.Kill()
		<-s.ended
		if !s.mayDie {
			t.Errorf("the server did not end within %v of %v", patience, signal)
		}
	}
}

// Command runs a command of the same binary in the server's environment and
// returns its standard output.
func (s *Server) Command(t testing.TB, args ...string) string {
	t.Helper()
	out, stderr, err := s.TryCommand(args...)
	if err != nil {
		t.Fatalf("caddy %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr)
	}
	return out
}

// TryCommand is Command for one that may fail.
func (s *Server) TryCommand(args ...string) (stdout, stderr string, err error) {
	var out, errOut strings.Builder
	cmd := exec.Command(s.binary, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = s.workDir, s.env, &out, &errOut
	err = cmd.Run()
	return out.String(), errOut.String(), err
}

// Claims are what Token asks for; each becomes a flag of `token issue`.
type Claims struct {
	Container string // default: acme
	URL       string
	Secrets   map[string]string
	Params    map[string]string
	More      []string // further flags
}

// Token issues a token of the server's keyring, as its operator would.
func (s *Server) Token(t testing.TB, c Claims) string {
	t.Helper()
	if c.Container == "" {
		c.Container = "acme"
	}
	args := []string{"webtask", "token", "issue", "--config", s.config, "--container", c.Container}
	if c.URL != "" {
		args = append(args, "--url", c.URL)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Secrets)) {
		args = append(args, "--secret", name+"="+c.Secrets[name])
	}
	for _, name := range slices.Sorted(maps.Keys(c.Params)) {
		args = append(args, "--param", name+"="+c.Params[name])
	}
	return strings.TrimSpace(s.Command(t, append(args, c.More...)...))
}

// Reload gives the running server a new Caddyfile through its admin API, as
// `caddy reload` does; it returns when the server runs it.
func (s *Server) Reload(t testing.TB, caddyfile string) {
	t.Helper()
	s.WriteFile(t, "Caddyfile", s.expand(caddyfile))
	s.Command(t, "reload", "--config", s.config, "--adapter", "caddyfile", "--address", strings.TrimPrefix(s.Admin, "http://"), "--force")
}

// AdminGet reads a path of the admin API.
func (s *Server) AdminGet(t testing.TB, path string) string {
	t.Helper()
	resp, err := http.Get(s.Admin + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s of the admin API: %s: %s", path, resp.Status, body)
	}
	return string(body)
}

// String names the server in a failure's message.
func (s *Server) String() string { return fmt.Sprintf("edge at %s", s.URL) }
