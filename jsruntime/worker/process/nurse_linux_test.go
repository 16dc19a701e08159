package process

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func init() { Register("nursling", func(fd int) error { return nil }) }

// born starts a process and waits until it has done its work.
func born(t *testing.T) {
	t.Helper()
	p, err := Start(Options{Kind: "nursling", Memory: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if <-p.Done(); p.Err() != nil {
		t.Error(p.Err())
	}
}

// TestNurseryIsReplaced has the nursery die, and stand still, between two births.
func TestNurseryIsReplaced(t *testing.T) {
	born(t)
	first := nurse.process.Pid
	if err := unix.Kill(first, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	born(t)
	second := nurse.process.Pid
	if second == first {
		t.Error("the nursery that was killed is still there")
	}
	known := answerTimeout
	answerTimeout = 100 * time.Millisecond
	defer func() { answerTimeout = known }()
	if err := unix.Kill(second, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Kill(second, unix.SIGKILL) }()
	if _, err := nurse.exchange(&order{Kind: "nursling"}, nil); !os.IsTimeout(err) {
		t.Errorf("one that stands still answers %v", err)
	}
	answerTimeout = known
	nurse.end()
	born(t)
	if third := nurse.process.Pid; third == second {
		t.Error("the nursery that was stopped is still there")
	}
}

// TestNurseryRefuses orders what cannot be had.
func TestNurseryRefuses(t *testing.T) {
	born(t)
	before := nurse.process.Pid
	if b, err := nurse.ask(&order{Kind: "nursling"}, nil); err == nil {
		t.Errorf("a process without a socket is born: %+v", b)
	}
	if nurse.process.Pid != before {
		t.Error("the nursery was replaced for an order that it refused")
	}
}
