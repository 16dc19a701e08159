// Package dockertest starts a real Docker Engine for tests, with a data directory
// and a socket of its own, and stops it when the test ends. It has no network but
// the machine's own and those that a test creates, and touches no firewall.
//
//	func TestContainers(t *testing.T) {
//		engine := dockertest.Start(t)
//		image := engine.Import(t, harness.Program(t, "testbackend"))
//		…
//		engine.API.ContainerList(…)
//	}
//
// A test fails, and is never skipped, where dockerd is not installed or the test
// does not run as root.
package dockertest

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"

	"github.com/webtask-edge/caddy-webtask/tests/harness"
)

// Engine is a running Docker Engine.
type Engine struct {
	Host string // as the option host of the driver takes it
	API  *client.Client

	dir     string
	command *exec.Cmd
	log     output
	ended   chan struct{}
}

// patience ends a wait for the engine, which is broken then.
const patience = time.Minute

// Start starts an engine.
func Start(t testing.TB) *Engine {
	t.Helper()
	path, err := dockerd()
	if err != nil {
		t.Fatal(err)
	}
	// Not one of t.TempDir: the path of a socket has to be short.
	dir, err := os.MkdirTemp("", "docker")
	if err != nil {
		t.Fatal(err)
	}
	e := &Engine{Host: "unix://" + filepath.Join(dir, "socket"), dir: dir}
	if e.API, err = client.New(client.WithHost(e.Host)); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "daemon.json") // not the machine's
	if err := os.WriteFile(config, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	e.command = exec.Command(path,
		"--host", e.Host, "--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "run"), "--pidfile", filepath.Join(dir, "pid"),
		"--config-file", config,
		"--storage-driver", "vfs", "--bridge", "none", "--iptables=false", "--ip6tables=false")
	e.command.Stdout, e.command.Stderr = &e.log, &e.log
	t.Cleanup(func() { e.clean(t) })
	e.run(t)
	return e
}

// dockerd returns the path of the program.
func dockerd() (string, error) {
	path, err := exec.LookPath("dockerd")
	if err != nil {
		return "", fmt.Errorf("dockertest: these tests run containers on a real Docker Engine, and dockerd is not in PATH: install it (Debian, Ubuntu: apt-get install docker.io): %w", err)
	}
	if os.Getuid() != 0 {
		return "", fmt.Errorf("dockertest: these tests start %s, which takes root", path)
	}
	return path, nil
}

// run starts dockerd and waits until it answers.
func (e *Engine) run(t testing.TB) {
	t.Helper()
	// The kernel ends it should the test's process be killed.
	e.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := e.command.Start(); err != nil {
		t.Fatal(err)
	}
	e.ended = make(chan struct{})
	go func() {
		_ = e.command.Wait() // its log says why it ended
		close(e.ended)
	}()
	limit, tick := time.After(patience), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := e.API.Ping(t.Context(), client.PingOptions{}); err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-e.ended:
			t.Fatalf("dockertest: the engine ended:\n%s", e.log.String())
		case <-limit:
			t.Fatalf("dockertest: the engine does not answer:\n%s", e.log.String())
		}
	}
}

// Stop stops the engine and all its containers.
func (e *Engine) Stop(t testing.TB) {
	t.Helper()
	_ = e.command.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-e.ended:
	case <-time.After(patience):
		_ = e.command.Process.Kill()
		<-e.ended
		t.Errorf("dockertest: the engine did not end:\n%s", e.log.String())
	}
}

// Kill ends the engine at once, and not its containers.
func (e *Engine) Kill(t testing.TB) {
	t.Helper()
	_ = e.command.Process.Kill() // it may have ended
	<-e.ended
	// Its containerd dies with it. While nobody has waited for that process, the
	// next engine would take it for one that runs.
	file := filepath.Join(e.dir, "run", "containerd", "containerd.pid")
	pid, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	harness.Until(t, "containerd ends", func() bool {
		stat, err := os.ReadFile(filepath.Join("/proc", strings.TrimSpace(string(pid)), "stat"))
		return err != nil || strings.Contains(string(stat), ") Z ")
	})
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
}

// Restart starts the engine again after Stop or Kill.
func (e *Engine) Restart(t testing.TB) {
	t.Helper()
	e.command = &exec.Cmd{Path: e.command.Path, Args: e.command.Args, Stdout: &e.log, Stderr: &e.log}
	e.run(t)
}

// clean stops the engine and removes all that it has left.
func (e *Engine) clean(t testing.TB) {
	t.Helper()
	if _, err := e.API.Ping(context.Background(), client.PingOptions{}); err == nil {
		for _, c := range e.Containers(t, "") {
			_, _ = e.API.ContainerRemove(context.Background(), c.ID, client.ContainerRemoveOptions{Force: true}) // it may be gone
		}
	}
	if e.ended != nil {
		e.Stop(t)
	}
	_ = e.API.Close() // which cannot fail
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Error(err)
	}
	lines := slices.Collect(strings.Lines(string(mounts)))
	slices.Reverse(lines) // those that stand on others first
	for _, line := range lines {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], e.dir+"/") {
			_ = unix.Unmount(fields[4], unix.MNT_DETACH) // else removing it fails
		}
	}
	if err := os.RemoveAll(e.dir); err != nil {
		t.Errorf("dockertest: %v", err)
	}
}

// Import makes an image of one statically linked program, which is its entry
// point, and returns the image's name.
func (e *Engine) Import(t testing.TB, program string) string {
	t.Helper()
	name := filepath.Base(program)
	image := "dockertest.example/" + name + ":1"
	answer, err := e.API.ImageImport(t.Context(), client.ImageImportSource{Source: bytes.NewReader(archiveOf(t, program)), SourceName: "-"}, image,
		client.ImageImportOptions{Changes: []string{fmt.Sprintf("ENTRYPOINT [%q]", "/"+name)}})
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Close()
	if text, err := io.ReadAll(answer); err != nil || bytes.Contains(text, []byte(`"error"`)) {
		t.Fatalf("dockertest: importing %s: %v, %s", program, err, text)
	}
	return image
}

// archiveOf returns the file system of an image that has one program.
func archiveOf(t testing.TB, program string) []byte {
	t.Helper()
	text, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	files := tar.NewWriter(&archive)
	if err := files.WriteHeader(&tar.Header{Name: filepath.Base(program), Mode: 0o755, Size: int64(len(text))}); err != nil {
		t.Fatal(err)
	}
	if _, err := files.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := files.Close(); err != nil {
		t.Fatal(err)
	}
	return archive.Bytes()
}

// Containers returns the containers that have a label, whatever their state; all
// for an empty label.
func (e *Engine) Containers(t testing.TB, label string) []container.Summary {
	t.Helper()
	options := client.ContainerListOptions{All: true}
	if label != "" {
		options.Filters = make(client.Filters).Add("label", label)
	}
	list, err := e.API.ContainerList(context.Background(), options)
	if err != nil {
		t.Errorf("dockertest: %v", err)
	}
	return list.Items
}

// output is a log that several write.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(text []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(text)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}
