package docker_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/webtask-edge/caddy-webtask/sessionbackend"
	"github.com/webtask-edge/caddy-webtask/tests/harness"
)

// startFor starts a backend that has so long to live, or longer where starts are
// slow: half of that is left when it answers.
func (s *stage) startFor(life time.Duration) (sessionbackend.Instance, sessionbackend.BootTime) {
	s.Helper()
	for ; ; life *= 2 {
		identity := newIdentity()
		deadline := sessionbackend.Now().Add(life)
		identity.Deadline = func() sessionbackend.BootTime { return deadline }
		i, err := s.tryStart(s.spec(), identity)
		if err == nil {
			_, err = s.ask(i, "/who")
		}
		if err == nil && deadline.Until(sessionbackend.Now()) > life/2 {
			return i, deadline
		}
		if life > time.Minute {
			s.Fatal(err)
		}
	}
}

// A backend is killed when its deadline comes.
func TestDeadline(t *testing.T) {
	s := newStage(t)
	i, deadline := s.startFor(2 * time.Second)
	if exit := s.ended(i); exit.Signal != "SIGKILL" {
		t.Errorf("it %v", exit)
	}
	if now := sessionbackend.Now(); now < deadline {
		t.Errorf("it ended %v before its deadline", deadline.Until(now))
	}
	none, _ := s.start(s.spec())
	s.answers(none)
	none.Extend(sessionbackend.Now()) // it has none to extend
	s.answers(none)
}

// A backend that is extended in time goes on until the last of its deadlines.
func TestExtend(t *testing.T) {
	s := newStage(t)
	i, deadline := s.startFor(2 * time.Second)
	const more = 10 * time.Second
	i.Extend(deadline.Add(more))
	i.Extend(deadline.Add(1)) // is earlier
	<-time.After(deadline.Until(sessionbackend.Now()) + time.Second)
	s.answers(i)
	if exit := s.ended(i); exit.Signal != "SIGKILL" {
		t.Errorf("it %v", exit)
	}
	if now := sessionbackend.Now(); now < deadline.Add(more) {
		t.Errorf("it ended %v before its deadline", deadline.Add(more).Until(now))
	}
}

// An extension that comes late revives nothing, and what is over does not start.
func TestLateExtension(t *testing.T) {
	s := newStage(t)
	i, deadline := s.startFor(2 * time.Second)
	<-time.After(deadline.Until(sessionbackend.Now()))
	i.Extend(sessionbackend.Now().Add(time.Hour))
	if exit := s.ended(i); exit.Signal != "SIGKILL" {
		t.Errorf("it %v", exit)
	}
	identity := newIdentity()
	past := sessionbackend.Now()
	identity.Deadline = func() sessionbackend.BootTime { return past }
	if _, err := s.tryStart(s.spec(), identity); err == nil {
		t.Error("it was started after its deadline")
	}
}

// The reaper process keeps deadlines when the edge does not run, and the edge when
// the reaper process does not.
func TestDeadlineOfTheStopped(t *testing.T) {
	s := newStage(t)
	for _, who := range []string{"edge", "reaper"} {
		e := s.startEdgeFor(4 * time.Second)
		pid := e.Process.Pid
		if who == "reaper" {
			pid = reapers(t, pid)[0]
		}
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		if c := s.container(e.id); c == nil || !c.State.Running {
			t.Fatal("the backend does not run")
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

// startEdgeFor starts an edge with a backend that has so long to live, or longer
// where starts are slow.
func (s *stage) startEdgeFor(life time.Duration) *edge {
	s.Helper()
	for ; ; life *= 2 {
		r := s.role()
		r.Deadline = sessionbackend.Now().Add(life)
		e, said := s.tryEdge(r)
		if said == started && r.Deadline.Until(sessionbackend.Now()) > life/2 {
			return e
		}
		if life > time.Minute {
			s.Fatalf("the edge says %q", said)
		}
	}
}
