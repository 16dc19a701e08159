package process_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/webtask-edge/caddy-webtask/sessionbackend"
	"github.com/webtask-edge/caddy-webtask/tests/harness"
)

// until starts a backend that has a deadline.
func (s *stage) until(left time.Duration) (sessionbackend.Instance, sessionbackend.BootTime) {
	s.Helper()
	deadline := sessionbackend.Now().Add(left)
	driver, err := s.supervisor.Driver(spec(s.T, "socket"))
	if err != nil {
		s.Fatal(err)
	}
	s.n++
	i, err := driver.Start(s.Context(), sessionbackend.Identity{ID: fmt.Sprint("backend", s.n), Deadline: func() sessionbackend.BootTime { return deadline }})
	if err != nil {
		s.Fatal(err)
	}
	return i, deadline
}

// A backend is killed at its deadline, which can be put off before and not after.
func TestDeadline(t *testing.T) {
	s := newStage(t)
	i, deadline := s.until(time.Second)
	others, _ := s.until(time.Hour)
	for range 5 {
		<-time.After(400 * time.Millisecond)
		deadline = sessionbackend.Now().Add(time.Second)
		i.Extend(deadline)
	}
	s.get(i, "/pid")
	exit := s.ended(i)
	if now := sessionbackend.Now(); now < deadline || exit.Signal != "SIGKILL" {
		t.Errorf("it ended %v after its deadline: %v", -deadline.Until(now), exit)
	}
	i.Extend(sessionbackend.Now().Add(time.Hour)) // too late, and of nothing
	s.get(others, "/pid")
}

// freeze stops a process, and waits until all its threads stand still.
func freeze(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	harness.Until(t, "all threads stand still", func() bool {
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		for _, thread := range threads {
			if text, err := os.ReadFile(thread); err != nil || !strings.Contains(string(text), ") T ") {
				return false
			}
		}
		return len(threads) > 0
	})
}

// What is heard of a lease after a backend has ended concerns nobody.
func TestExtensionOfTheEnded(t *testing.T) {
	s := newStage(t)
	i, _ := s.until(time.Hour)
	other, _ := s.until(time.Hour)
	i.Stop(0)
	s.ended(i)
	i.Extend(sessionbackend.Now().Add(100 * time.Millisecond))
	select {
	case <-other.Done():
		t.Errorf("another backend has ended: %v", other.Exit())
	case <-time.After(2 * time.Second):
	}
}

// What comes too late, because the edge or the supervisor stood still, revives
// nothing, and starts nothing.
func TestLateExtension(t *testing.T) {
	s := newStage(t)
	i, _ := s.until(time.Second)
	supervisor := pidOf(t, s.get(i, "/parent"))
	freeze(t, supervisor)
	i.Extend(sessionbackend.Now().Add(time.Hour)) // in time, but it is read after the first deadline
	<-time.After(1100 * time.Millisecond)
	if err := syscall.Kill(supervisor, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if exit := s.ended(i); exit.Signal != "SIGKILL" {
		t.Errorf("it ended as %v", exit)
	}
	driver, err := s.supervisor.Driver(spec(t, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	past := sessionbackend.Now()
	if i, err := driver.Start(t.Context(), sessionbackend.Identity{ID: "late", Deadline: func() sessionbackend.BootTime { return past }}); err == nil {
		t.Errorf("a backend was started after its deadline: %v", s.ended(i))
	}
}

// A supervisor that stands still keeps no deadline, and so is killed, with all that
// it runs.
func TestSupervisorKeepsNoDeadline(t *testing.T) {
	s := newStage(t)
	i, _ := s.until(time.Second)
	supervisor, backend := pidOf(t, s.get(i, "/parent")), pidOf(t, s.get(i, "/pid"))
	freeze(t, supervisor)
	s.ended(i)
	if alive(backend) {
		t.Error("the backend is there after its end")
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", supervisor)); err == nil {
		harness.Until(t, "the supervisor is gone", func() bool { return !alive(supervisor) })
	}
	next, _ := s.until(time.Hour)
	s.get(next, "/pid")
}
