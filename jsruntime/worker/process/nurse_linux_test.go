package process

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func init() {
	Register("nursling", func(int) error { return nil })
	Register("patient", func(int) error { select {} })
}

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
	if err := unix.Kill(second, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	_, err := nurse.exchange(&order{Kind: "nursling", Footing: -1}, nil)
	answerTimeout = known
	if !os.IsTimeout(err) {
		t.Errorf("one that stands still answers %v", err)
	}
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

// TestDisown has children of the fork thread that nobody knows, one of which has
// ended already, beside one that is known.
func TestDisown(t *testing.T) {
	p, err := Start(Options{Kind: "patient", Memory: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var unknown []*os.Process
	for _, kind := range []string{"patient", ""} {
		forking().run(func() {
			var process *os.Process
			process, err = os.StartProcess("/proc/self/exe", []string{argvPrefix + kind, `{}`}, &os.ProcAttr{Env: firstEnv})
			if err == nil {
				unknown = append(unknown, process)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	_ = unknown[1].Kill()
	nurse.mu.Lock()
	err = nurse.disown()
	nurse.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	for _, process := range unknown {
		if _, err := process.Wait(); err == nil {
			t.Error("a child that nobody knows was left to be waited for")
		}
	}
	select {
	case <-p.Done():
		t.Errorf("one that is known has ended: %v", p.Err())
	default:
	}
	born(t)
}
