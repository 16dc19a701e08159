package process_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/webtask-edge/caddy-webtask/sessionbackend"
	"github.com/webtask-edge/caddy-webtask/sessionbackend/process"
	"github.com/webtask-edge/caddy-webtask/tests/harness"
)

// stage is a supervisor and what it logs.
type stage struct {
	*testing.T
	node       *sessionbackend.Node
	supervisor *process.Supervisor
	log        *observer.ObservedLogs
	n          int
}

func newStage(t *testing.T) *stage {
	core, log := observer.New(zapcore.InfoLevel)
	node := sessionbackend.NewNode(t.TempDir(), nil)
	s := &stage{T: t, node: node, log: log, supervisor: process.NewSupervisor(process.Options{Lock: node.Lock, Logger: zap.New(core)})}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := errors.Join(s.supervisor.Close(ctx), node.Close()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// spec has the test binary be a backend that does what the arguments say, see
// backend_test.go.
func spec(t *testing.T, args ...string) process.Spec {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return process.Spec{Command: self, Args: args, Env: map[string]string{asBackend: "1"}}
}

func (s *stage) start(spec process.Spec) sessionbackend.Instance {
	s.Helper()
	i, err := s.tryStart(spec)
	if err != nil {
		s.Fatal(err)
	}
	return i
}

func (s *stage) tryStart(spec process.Spec) (sessionbackend.Instance, error) {
	s.Helper()
	driver, err := s.supervisor.Driver(spec)
	if err != nil {
		return nil, err
	}
	s.n++
	return driver.Start(s.Context(), sessionbackend.Identity{Service: "docs", Key: "../a key {backend.port}", ID: fmt.Sprint("backend", s.n), Fence: 42})
}

// get asks a backend, as soon as it listens.
func (s *stage) get(i sessionbackend.Instance, path string) string {
	s.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		for {
			address := i.Address()
			if conn, err := new(net.Dialer).DialContext(ctx, address.Network, address.Address); err == nil {
				return conn, nil
			}
			select {
			case <-i.Done():
				return nil, errors.New("it has ended: " + i.Exit().String() + ": " + i.Exit().Output)
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(time.Millisecond):
			}
		}
	}}}
	resp, err := client.Get("http://backend" + path)
	if err != nil {
		s.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.Fatal(err)
	}
	return string(text)
}

func (s *stage) ended(i sessionbackend.Instance) sessionbackend.Exit {
	s.Helper()
	select {
	case <-i.Done():
		return i.Exit()
	case <-time.After(20 * time.Second):
		s.Fatal("it does not end")
		return sessionbackend.Exit{}
	}
}

func gone(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, os.ErrNotExist)
}

// alive reports whether a process runs; one that nobody has waited for yet does
// not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func pidOf(t *testing.T, text string) int {
	t.Helper()
	pid, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// A backend may listen at its socket or at its port.
func TestListens(t *testing.T) {
	s := newStage(t)
	for _, args := range [][]string{{"socket"}, {"port"}, {"at", "unix", "{backend.socket}"}, {"at", "tcp", "127.0.0.1:{backend.port}"}} {
		sp := spec(t, args...)
		if args[0] == "port" {
			sp.Listen = process.ListenPort
		}
		i := s.start(sp)
		if got := s.get(i, "/pid"); got == "" {
			t.Errorf("%v: no answer", args)
		}
		i.Stop(time.Minute)
		if exit := s.ended(i); !exit.Clean() {
			t.Errorf("%v: it %v: %s", args, exit, exit.Output)
		}
	}
}

// TestEnvironment looks at what a backend has of the edge: nothing.
func TestEnvironment(t *testing.T) {
	t.Setenv("EDGE_SECRET", "hunter2")
	inherited, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer inherited.Close()
	// As a descriptor that the edge itself was started with.
	if _, _, errno := syscall.Syscall(syscall.SYS_FCNTL, inherited.Fd(), syscall.F_SETFD, 0); errno != 0 {
		t.Fatal(errno)
	}
	s := newStage(t)
	sp := spec(t, "socket")
	sp.Env["PATH"] = "/opt/bin"
	sp.Env["SETTING"] = "at {backend.socket} or {backend.port}"
	sp.Limits = process.Limits{Files: 64, Memory: 1 << 30}
	i := s.start(sp)
	var got facts
	if err := json.Unmarshal([]byte(s.get(i, "/facts")), &got); err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, entry := range got.Env {
		name, value, _ := strings.Cut(entry, "=")
		names[name] = true
		switch name {
		case "SESSION_BACKEND_KEY":
			if value != "../a key {backend.port}" {
				t.Errorf("the key is %q", value)
			}
		case "SESSION_BACKEND_FENCING_TOKEN":
			if value != "42" {
				t.Errorf("the token is %q", value)
			}
		case "PATH":
			if value != "/opt/bin" {
				t.Errorf("PATH is %q", value)
			}
		case "SETTING":
			if !strings.HasPrefix(value, "at /") || strings.Contains(value, "{") {
				t.Errorf("the setting is %q", value)
			}
		}
	}
	for _, name := range []string{"PATH", "HOME", "SOCKET", "PORT", "NOTIFY_SOCKET", "SESSION_BACKEND_ID", "SESSION_BACKEND_KEY", "SESSION_BACKEND_FENCING_TOKEN", "SESSION_BACKEND_NODE", "SETTING", asBackend} {
		if !names[name] {
			t.Errorf("%s is not set", name)
		}
		delete(names, name)
	}
	if len(names) > 0 {
		t.Errorf("it has %v besides", names)
	}
	if got.OpenAtStart != 3 {
		t.Errorf("it was started with %d descriptors: %v", got.OpenAtStart, got.Descriptors)
	}
	// C's library keeps the first of the real-time signals for itself.
	const standard = 1<<31 - 1
	if mask, err := strconv.ParseUint(got.Ignored, 16, 64); err != nil || mask&standard != 0 {
		t.Errorf("it ignores the signals %s (%v)", got.Ignored, err)
	}
	if got.Session != got.PID || !got.NoNewPrivs || got.Core != 0 || got.Files != 64 || got.Data != 1<<30 {
		t.Errorf("it is %+v", got)
	}
	if info, err := os.Stat(filepath.Dir(i.Address().Address)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("others can reach its socket: %v, %v", info.Mode(), err)
	}
}

// TestRunsAs has a backend run as another user.
func TestRunsAs(t *testing.T) {
	s := newStage(t)
	const nobody = 65534
	sp := spec(t, "socket")
	sp.User = &process.User{UID: nobody, GID: nobody, Home: "/nonexistent"}
	if os.Getuid() != 0 {
		if _, err := s.tryStart(sp); err == nil {
			t.Error("who is not root has started it")
		}
		return
	}
	sp.Command = openCopy(t, sp.Command)
	i := s.start(sp)
	var got facts
	if err := json.Unmarshal([]byte(s.get(i, "/facts")), &got); err != nil {
		t.Fatal(err)
	}
	if got.UID != nobody {
		t.Errorf("it is the user %d", got.UID)
	}
}

// openCopy copies the test binary to where every user can execute it.
func openCopy(t *testing.T, path string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "backend-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	target := filepath.Join(dir, "backend")
	if err := os.WriteFile(target, program, 0o755); err != nil {
		t.Fatal(err)
	}
	return target
}

func TestNotify(t *testing.T) {
	s := newStage(t)
	i := s.start(spec(t, "notify"))
	select {
	case <-i.Notified():
	case <-i.Done():
		t.Fatal(i.Exit())
	}
}

// TestEnds has backends that end in all ways.
func TestEnds(t *testing.T) {
	s := newStage(t)
	for name, c := range map[string]struct {
		args    []string
		command string
		want    string
		stop    time.Duration // 0: it ends by itself
		ready   bool
	}{
		"well":          {args: []string{"exit", "0"}, want: "exited with status 0"},
		"with an error": {args: []string{"exit", "3"}, want: "exited with status 3"},
		"by a signal":   {args: []string{"signal"}, want: "killed by SIGKILL"},
		"asked":         {args: []string{"socket"}, want: "exited with status 0", stop: time.Minute, ready: true},
		"stubborn":      {args: []string{"stubborn"}, want: "killed by SIGKILL", stop: 50 * time.Millisecond, ready: true},
		"no handler":    {command: "/bin/sleep", args: []string{"1000"}, want: "killed by SIGTERM", stop: time.Minute},
		"stopped":       {args: []string{"frozen"}, want: "killed by SIGKILL", stop: 50 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			sp := spec(t, c.args...)
			if c.command != "" {
				sp.Command = c.command
			}
			i := s.start(sp)
			switch {
			case c.ready:
				s.get(i, "/pid")
			case c.stop != 0 && c.command == "":
				<-i.Notified()
			}
			if c.stop != 0 {
				i.Stop(c.stop)
			}
			if exit := s.ended(i); exit.String() != c.want {
				t.Errorf("it %v: %s", exit, exit.Output)
			}
			if i.Address().Address != "" {
				if _, err := os.Stat(filepath.Dir(i.Address().Address)); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("its directory is left: %v", err)
				}
			}
		})
	}
}

// What a backend started ends with it, however well it hides.
func TestLeavesNothing(t *testing.T) {
	for _, kind := range []string{"child", "daemon", "hidden"} {
		t.Run(kind, func(t *testing.T) {
			s := newStage(t)
			file := filepath.Join(t.TempDir(), "pid")
			other := s.start(spec(t, "family", kind, file+".other"))
			s.get(other, "/pid")
			i := s.start(spec(t, "family", kind, file))
			s.get(i, "/pid")
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			child := pidOf(t, string(text))
			if !alive(child) {
				t.Fatal("it has no child")
			}
			i.Stop(time.Minute)
			s.ended(i)
			if alive(child) {
				t.Error("its child is alive")
			}
			s.get(other, "/pid") // is not concerned
		})
	}
}

// When the edge dies, backends get their time, and nothing is left.
func TestEdgeDies(t *testing.T) {
	s := newStage(t)
	file := filepath.Join(t.TempDir(), "saved")
	i := s.start(spec(t, "saves", file))
	s.get(i, "/pid")
	if err := s.supervisor.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if exit := s.ended(i); !exit.Clean() {
		t.Errorf("it %v", exit)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "saved" {
		t.Errorf("it could not save: %q, %v", text, err)
	}
	if _, err := s.tryStart(spec(t, "socket")); err == nil {
		t.Error("another was started")
	}
}

// When the supervisor process is killed, its backends die with it, what they
// started as well, and the next backend gets another one.
func TestSupervisorDies(t *testing.T) {
	s := newStage(t)
	file := filepath.Join(t.TempDir(), "pid")
	i := s.start(spec(t, "family", "daemon", file))
	backend := pidOf(t, s.get(i, "/pid"))
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	parent := pidOf(t, s.get(i, "/parent"))
	if err := syscall.Kill(parent, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if exit := s.ended(i); exit.Err == nil {
		t.Errorf("it %v", exit)
	}
	for what, pid := range map[string]int{"the backend": backend, "its daemon": pidOf(t, string(text))} {
		if alive(pid) {
			t.Errorf("%s is alive", what)
		}
	}
	if old := filepath.Dir(filepath.Dir(i.Address().Address)); !gone(old) {
		t.Errorf("%s is left", old)
	}
	next := s.start(spec(t, "socket"))
	if pidOf(t, s.get(next, "/parent")) == parent {
		t.Error("it has the same parent")
	}
}

// A supervisor process that was stopped is killed, and with it its backends.
func TestSupervisorIsStopped(t *testing.T) {
	s := newStage(t)
	s.supervisor = process.NewSupervisor(process.Options{Lock: s.node.Lock, Patience: 2 * time.Second})
	i := s.start(spec(t, "socket"))
	backend, parent := pidOf(t, s.get(i, "/pid")), pidOf(t, s.get(i, "/parent"))
	<-time.After(3 * time.Second) // it is not killed while it answers
	if !alive(parent) {
		t.Fatal("the supervisor process is gone")
	}
	if err := syscall.Kill(parent, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if exit := s.ended(i); exit.Err == nil || alive(backend) {
		t.Errorf("it %v; alive: %v", exit, alive(backend))
	}
	s.get(s.start(spec(t, "socket")), "/pid")
}

// TestOutput has a backend write more than anybody reads.
func TestOutput(t *testing.T) {
	s := newStage(t)
	i := s.start(spec(t, "floods"))
	harness.Until(t, "lines are dropped", func() bool { return s.log.FilterMessageSnippet("writes more").Len() > 0 })
	i.Stop(0)
	if exit := s.ended(i); len(exit.Output) == 0 || len(exit.Output) > 4096 {
		t.Errorf("%d bytes of its output are kept", len(exit.Output))
	}
	if lines := s.log.FilterMessage("output of a session backend").Len(); lines > 1000 {
		t.Errorf("%d lines were logged", lines)
	}
}

// TestLimitsThatCannotBeSet wants the reason, and no process without them.
func TestLimitsThatCannotBeSet(t *testing.T) {
	s := newStage(t)
	sp := spec(t, "socket")
	sp.Limits.Files = 1 << 40
	if _, err := s.tryStart(sp); err == nil || !strings.Contains(err.Error(), "limits of the backend cannot be set") {
		t.Errorf("the error is %v", err)
	}
}

func TestCannotStart(t *testing.T) {
	s := newStage(t)
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("no program"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*process.Spec)
		want   string
	}{
		"relative":        {func(s *process.Spec) { s.Command = "server" }, "not an absolute path"},
		"not there":       {func(s *process.Spec) { s.Command = "/nonexistent/server" }, "no such file"},
		"a directory":     {func(s *process.Spec) { s.Command = "/tmp" }, "no program"},
		"no program":      {func(s *process.Spec) { s.Command = text }, "exec format error"},
		"no directory":    {func(s *process.Spec) { s.Dir = "/nonexistent" }, "dir"},
		"listens":         {func(s *process.Spec) { s.Listen = "nowhere" }, "it is socket or port"},
		"own variable":    {func(s *process.Spec) { s.Env["SESSION_BACKEND_KEY"] = "x" }, "leave it out"},
		"no variable":     {func(s *process.Spec) { s.Env["A=B"] = "x" }, "no name"},
		"NUL":             {func(s *process.Spec) { s.Env["A"] = "\x00" }, "NUL"},
		"NUL in argument": {func(s *process.Spec) { s.Args = []string{"\x00"} }, "NUL"},
	} {
		sp := spec(t, "socket")
		c.change(&sp)
		if _, err := s.tryStart(sp); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// BenchmarkStart measures the whole way of a process that does nothing, from the
// order to the report of its end.
func BenchmarkStart(b *testing.B) {
	node := sessionbackend.NewNode(b.TempDir(), nil)
	supervisor := process.NewSupervisor(process.Options{Lock: node.Lock})
	defer supervisor.Close(context.Background())
	driver, err := supervisor.Driver(process.Spec{Command: "/bin/true"})
	if err != nil {
		b.Fatal(err)
	}
	for n := 0; b.Loop(); n++ {
		i, err := driver.Start(b.Context(), sessionbackend.Identity{ID: fmt.Sprint("b", n)})
		if err != nil {
			b.Fatal(err)
		}
		<-i.Done()
	}
}
