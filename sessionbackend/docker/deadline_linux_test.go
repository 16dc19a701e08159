package docker_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/webtask-edge/caddy-webtask/sessionbackend"
	"github.com/webtask-edge/caddy-webtask/tests/harness"
)

func (s *stage) startUntil(deadline sessionbackend.BootTime) sessionbackend.Instance {
	s.Helper()
	identity := newIdentity()
	identity.Deadline = func() sessionbackend.BootTime { return deadline }
	i, err := s.tryStart(s.spec(), identity)
	if err != nil {
		s.Fatal(err)
	}
	s.answers(i)
	return i
}

// A backend is killed when its deadline comes. One that is extended in time goes
// on until the last of its deadlines.
func TestDeadline(t *testing.T) {
	s := newStage(t)
	s.answersAfterFirst()
	const life = 2 * time.Second
	deadline := sessionbackend.Now().Add(life)
	killed, kept := s.startUntil(deadline), s.startUntil(deadline)
	none, _ := s.start(s.spec())
	s.answers(none)
	none.(sessionbackend.Instance).Extend(deadline) // it has none to extend
	kept.Extend(deadline.Add(life))
	kept.Extend(deadline) // is earlier
	if exit := s.ended(killed); exit.Signal != "SIGKILL" {
		t.Errorf("it %v", exit)
	}
	if now := sessionbackend.Now(); now < deadline || now > deadline.Add(life) {
		t.Errorf("it ended %v after its deadline", now-deadline)
	}
	s.answers(kept)
	if exit := s.ended(kept); exit.Signal != "SIGKILL" {
		t.Errorf("it %v", exit)
	}
	if now := sessionbackend.Now(); now < deadline.Add(life) {
		t.Errorf("it ended %v before its deadline", deadline.Add(life)-now)
	}
	s.answers(none)
}

// answersAfterFirst starts a backend, so that those after it start quickly.
func (s *stage) answersAfterFirst() {
	s.Helper()
	i, _ := s.start(s.spec())
	s.answers(i)
	i.Stop(0)
	s.ended(i)
}

// An extension that comes late revives nothing, and what is over does not start.
func TestLateExtension(t *testing.T) {
	s := newStage(t)
	s.answersAfterFirst()
	identity := newIdentity()
	past := sessionbackend.Now()
	identity.Deadline = func() sessionbackend.BootTime { return past }
	if _, err := s.tryStart(s.spec(), identity); err == nil {
		t.Error("it was started after its deadline")
	}
	deadline := sessionbackend.Now().Add(2 * time.Second)
	i := s.startUntil(deadline)
	<-time.After(deadline.Until(sessionbackend.Now()))
	i.Extend(sessionbackend.Now().Add(time.Hour))
	if exit := s.ended(i); exit.Signal != "SIGKILL" {
		t.Errorf("it %v", exit)
	}
}

// The reaper process keeps deadlines when the edge does not run, and the edge when
// the reaper process does not.
func TestDeadlineOfTheStopped(t *testing.T) {
	s := newStage(t)
	for _, who := range []string{"edge", "reaper"} {
		e := s.startEdge(s.role(4 * time.Second))
		pid := e.Process.Pid
		if who == "reaper" {
			pid = reapers(t, pid)[0]
		}
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		if c := s.container(e.id); c == nil || !c.State.Running {
			t.Fatal("the backend does not run; its time may have been too short")
		}
		harness.Until(t, "the backend of who is stopped is killed", func() bool {
			c := s.container(e.id)
			return c == nil || !c.State.Running
		})
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		harness.Until(t, "and removed", func() bool { return s.container(e.id) == nil })
	}
}
