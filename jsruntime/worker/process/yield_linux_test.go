package process_test

import (
	"os"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/webtask-edge/caddy-webtask/jsruntime/worker/process"
)

func init() {
	process.Register("busy", func(int) error {
		for { // it computes until it is killed
		}
	})
}

// policies counts the threads of a process by their scheduling policy.
func policies(t *testing.T, p *process.Process) map[uint32]int {
	t.Helper()
	entries, err := os.ReadDir("/proc/" + strconv.Itoa(p.PID()) + "/task")
	if err != nil {
		t.Fatal(err)
	}
	count := make(map[uint32]int)
	for _, entry := range entries {
		thread, err := strconv.Atoi(entry.Name())
		if err != nil {
			t.Fatal(err)
		}
		attr, err := unix.SchedGetAttr(thread, 0)
		if err != nil {
			t.Fatal(err)
		}
		count[attr.Policy]++
	}
	return count
}

// TestYield has all threads of a process yield, and come back where the user of
// the test may have that.
func TestYield(t *testing.T) {
	p, _ := idle(t)
	if err := p.Yield(true); os.Geteuid() != 0 && err != nil {
		if got := policies(t, p); got[unix.SCHED_NORMAL] == 0 || got[unix.SCHED_IDLE] != 0 {
			t.Errorf("it failed (%v), yet its threads are %v", err, got)
		}
	} else if got := policies(t, p); err != nil || got[unix.SCHED_IDLE] == 0 || len(got) != 1 {
		t.Errorf("its threads are %v (%v)", got, err)
	} else if err := p.Yield(false); err != nil {
		t.Error(err)
	} else if got := policies(t, p); got[unix.SCHED_NORMAL] == 0 || len(got) != 1 {
		t.Errorf("afterwards its threads are %v", got)
	}
	p.Kill()
	<-p.Done()
	if err := p.Yield(true); os.Geteuid() == 0 && err != nil {
		t.Errorf("after its end: %v", err)
	}
}

// TestEdgeStaysAsItIs: what is tried, and given up for children, is so on other
// threads than the one that ps shows.
func TestEdgeStaysAsItIs(t *testing.T) {
	before, err := unix.SchedGetAttr(os.Getppid(), 0)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		p, _ := idle(t)
		_ = p.Yield(true) // where it is allowed
		p.Close()
	}
	if now, err := unix.SchedGetAttr(os.Getpid(), 0); err != nil || now.Nice != before.Nice || now.Policy != before.Policy {
		t.Errorf("the main thread is %+v, its parent's %+v (%v)", now, before, err)
	}
}

// TestCPU reads what a process takes that computes.
func TestCPU(t *testing.T) {
	p, err := process.Start(process.Options{Kind: "busy"})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	const enough = 50 * time.Millisecond
	for last := time.Duration(0); last < enough; {
		cpu, err := p.CPU()
		if err != nil || cpu < last {
			t.Fatalf("%v after %v, %v", cpu, last, err)
		}
		last = cpu
	}
	p.Kill()
	<-p.Done()
	if cpu, err := p.CPU(); err != nil || cpu < enough {
		t.Errorf("after its end: %v, %v", cpu, err)
	}
}
