package docker_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/webtask-edge/caddy-webtask/sessionbackend"
	"github.com/webtask-edge/caddy-webtask/sessionbackend/docker"
	"github.com/webtask-edge/caddy-webtask/tests/harness"
)

// asEdge is the variable that makes the test binary an edge with one backend.
const asEdge = "WEBTASK_TEST_DOCKER_EDGE"

// role is what such an edge does.
type role struct {
	Dir      string
	Patience time.Duration
	Spec     docker.Spec
	Identity sessionbackend.Identity
	Deadline sessionbackend.BootTime // 0: none
}

func TestMain(m *testing.M) {
	if text := os.Getenv(asEdge); text != "" {
		var r role
		if err := json.Unmarshal([]byte(text), &r); err != nil {
			panic(err)
		}
		r.play()
	}
	os.Exit(m.Run())
}

// play starts the backend, says so, and goes on until it is killed.
func (r *role) play() {
	fleet := docker.NewFleet(docker.Options{Lock: sessionbackend.NewNode(r.Dir, nil).Lock, Patience: r.Patience})
	driver, err := fleet.Driver(r.Spec)
	if err == nil {
		if r.Deadline != 0 {
			r.Identity.Deadline = func() sessionbackend.BootTime { return r.Deadline }
		}
		_, err = driver.Start(context.Background(), r.Identity)
	}
	fmt.Println("started:", err)
	select {}
}

// edge is an edge that is a process of its own.
type edge struct {
	*exec.Cmd
	id string // of its backend
}

// role returns what an edge does whose backend gets arguments.
func (s *stage) role(args ...string) role {
	s.Helper()
	r := role{Dir: s.TempDir(), Spec: s.spec(args...), Identity: newIdentity()}
	r.Spec.Grace = time.Second
	return r
}

// started is what an edge says that has started its backend.
const started = "started: <nil>\n"

// startEdge starts an edge.
func (s *stage) startEdge(r role) *edge {
	s.Helper()
	e, said := s.tryEdge(r)
	if said != started {
		s.Fatalf("the edge says %q", said)
	}
	return e
}

// tryEdge starts an edge, and returns what it says.
func (s *stage) tryEdge(r role) (e *edge, said string) {
	s.Helper()
	self, err := os.Executable()
	if err != nil {
		s.Fatal(err)
	}
	text, err := json.Marshal(r)
	if err != nil {
		s.Fatal(err)
	}
	e = &edge{exec.Command(self), r.Identity.ID}
	e.Env = append(os.Environ(), asEdge+"="+string(text))
	e.Stderr = os.Stderr
	e.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := e.StdoutPipe()
	if err != nil {
		s.Fatal(err)
	}
	if err := e.Start(); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		e.kill()
		harness.Until(s, "the reaper has removed all", func() bool { return len(s.engine.Containers(s, docker.LabelID+"="+e.id)) == 0 })
	})
	if said, err = bufio.NewReader(out).ReadString('\n'); err != nil {
		s.Fatal(err)
	}
	return e, said
}

// kill ends the edge as kill -9 does.
func (e *edge) kill() {
	_ = e.Process.Kill() // it may have ended
	_ = e.Wait()         // it was killed
}

// When the edge is killed and nobody comes back, its containers get their time and
// are removed. Until then its lock is held.
func TestEdgeKilled(t *testing.T) {
	s := newStage(t)
	for _, args := range [][]string{nil, {"stubborn"}} {
		e := s.startEdge(s.role(args...))
		reaper := reapers(t, e.Process.Pid)
		if len(reaper) != 1 {
			t.Fatalf("there are the reaper processes %v", reaper)
		}
		e.kill()
		harness.Until(t, "its backend is removed", func() bool { return s.container(e.id) == nil })
		harness.Until(t, "the reaper process ends", func() bool { return syscall.Kill(reaper[0], 0) != nil })
	}
}

// The next edge waits until the reaper of the one before has done its work.
func TestNextEdge(t *testing.T) {
	s := newStage(t)
	r := s.role("stubborn")
	e := s.startEdge(r)
	e.kill()
	r.Identity = newIdentity()
	s.startEdge(r)
	if s.container(e.id) != nil {
		t.Error("there are two of a key")
	}
}

// What neither an edge nor its reaper process has removed, the next edge does
// before it starts anything. Others' containers are not its own.
func TestLeftovers(t *testing.T) {
	s := newStage(t)
	r := s.role()
	e := s.startEdge(r)
	reaper := reapers(t, e.Process.Pid)[0]
	if err := syscall.Kill(reaper, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	e.kill()
	if err := syscall.Kill(reaper, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	left := s.container(e.id)
	if left == nil || !left.State.Running {
		t.Fatal("it is not left")
	}
	created, err := s.engine.API.ContainerCreate(t.Context(), client.ContainerCreateOptions{
		Config:     &container.Config{Image: s.image, Labels: map[string]string{docker.LabelNode: left.Config.Labels[docker.LabelNode]}},
		HostConfig: &container.HostConfig{NetworkMode: docker.HostNetwork},
	})
	if err != nil {
		t.Fatal(err)
	}
	other, _ := s.start(s.spec())
	s.answers(other)
	r.Identity = newIdentity()
	next := s.startEdge(r)
	if s.container(e.id) != nil {
		t.Error("a container of a dead edge is left")
	}
	if _, err := s.engine.API.ContainerInspect(t.Context(), created.ID, client.ContainerInspectOptions{}); err == nil {
		t.Error("one that was never started is left")
	}
	if s.container(next.id) == nil {
		t.Error("the next edge's own is not there")
	}
	s.answers(other)
}

// A reaper process that dies, or does not answer, has a successor that knows all
// that it knew. One that is asked to end does not.
func TestReaperDies(t *testing.T) {
	s := newStage(t)
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL, syscall.SIGSTOP} {
		r := s.role()
		if signal == syscall.SIGSTOP {
			r.Patience = time.Second
		}
		e := s.startEdge(r)
		reaper := reapers(t, e.Process.Pid)[0]
		if err := syscall.Kill(reaper, signal); err != nil {
			t.Fatal(err)
		}
		if signal != syscall.SIGTERM {
			harness.Until(t, "there is another", func() bool {
				found := reapers(t, e.Process.Pid)
				return len(found) == 1 && found[0] != reaper
			})
		}
		if c := s.container(e.id); c == nil || !c.State.Running {
			t.Error("the backend died with it")
		}
		e.kill()
		harness.Until(t, "the backend is removed", func() bool { return s.container(e.id) == nil })
	}
}
