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

// manner is how a thread is scheduled.
type manner struct {
	policy uint32
	slice  bool // the longest there is
}

// manners counts the threads of a process by how they are scheduled.
func manners(t *testing.T, p *process.Process) map[manner]int {
	t.Helper()
	entries, err := os.ReadDir("/proc/" + strconv.Itoa(p.PID()) + "/task")
	if err != nil {
		t.Fatal(err)
	}
	count := make(map[manner]int)
	for _, entry := range entries {
		thread, err := strconv.Atoi(entry.Name())
		if err != nil {
			t.Fatal(err)
		}
		attr, err := unix.SchedGetAttr(thread, 0)
		if err != nil {
			t.Fatal(err)
		}
		count[manner{attr.Policy, attr.Policy == unix.SCHED_NORMAL && attr.Runtime == 100e6}]++
	}
	return count
}

// TestYield has all threads of a process yield, and come back: as root by their
// policy, as another user by their slices where the kernel has such.
func TestYield(t *testing.T) {
	p, _ := idle(t)
	usual, yielding := manner{policy: unix.SCHED_NORMAL}, manner{policy: unix.SCHED_IDLE}
	err := p.Yield(true)
	got := manners(t, p)
	if os.Geteuid() != 0 {
		switch {
		case err != nil:
			yielding = usual
		case got[yielding] == 0: // nor has the test's user the right to a policy
			yielding = manner{policy: unix.SCHED_NORMAL, slice: true}
		}
	} else if err != nil {
		t.Error(err)
	}
	if len(got) != 1 || got[yielding] == 0 {
		t.Errorf("its threads are %v (%v)", got, err)
	}
	if again := p.Yield(false); (again == nil) != (err == nil) {
		t.Errorf("yielding: %v; no more: %v", err, again)
	}
	if got := manners(t, p); len(got) != 1 || got[usual] == 0 {
		t.Errorf("afterwards its threads are %v", got)
	}
	p.Kill()
	<-p.Done()
	if again := p.Yield(true); (again == nil) != (err == nil) {
		t.Errorf("after its end: %v, before %v", again, err)
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
