package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Yield makes the process give way to whatever else wants the CPU, or takes that
// back: its threads are SCHED_IDLE, which any other preempts as it wakes, and run
// where there is nothing else to do.
//
// Only root may take that back, and who has CAP_SYS_NICE or a limit of niceness that
// allows it (RLIMIT_NICE, LimitNICE= of systemd). For others the threads ask for longer
// slices than anybody else: whoever wakes and wants less preempts them, too, but
// they keep their share of the CPU (Linux 6.12, sched_attr(2)). Where there is
// neither, Yield fails.
//
// Where the process has a cgroup, that yields (cpu.idle).
func (p *Process) Yield(yields bool) error {
	if g := p.spawned.group; g != nil && g.yield(yields) == nil {
		return nil
	}
	nice, err := niceOfChildren()
	if err != nil {
		return fmt.Errorf("worker process: yielding: %w", err)
	}
	attr := &unix.SchedAttr{Policy: unix.SCHED_NORMAL, Nice: int32(nice), Runtime: workerSlice}
	switch can, err := yielding(); {
	case err != nil:
		return err
	case can == bySlice && yields:
		attr.Runtime = longSlice
	case yields:
		attr.Policy = unix.SCHED_IDLE
	}
	return p.schedule(attr)
}

// Slices of CPU time, in nanoseconds (Linux 6.12). Who wakes preempts those that
// asked for longer ones than it did; the usual is 1.4 ms on two CPUs,
// 2.8 ms on many.
const (
	workerSlice = 3e6   // so that the edge preempts all its workers
	longSlice   = 100e6 // the longest there is
)

// schedule tells the scheduler of all threads.
func (p *Process) schedule(attr *unix.SchedAttr) error {
	if p.process.Signal(syscall.Signal(0)) != nil {
		return nil // it has ended, and its number may be another's soon
	}
	// A thread may start another one that is not seen yet; it is by the next look.
	seen := make(map[int]bool)
	for {
		threads, err := threadsOf(p.PID())
		if err != nil {
			return fmt.Errorf("worker process: threads: %w", err)
		}
		fresh := false
		for _, thread := range threads {
			if seen[thread] {
				continue
			}
			seen[thread], fresh = true, true
			if err := unix.SchedSetAttr(thread, attr, 0); err != nil && err != unix.ESRCH {
				return fmt.Errorf("worker process: scheduling policy: %w", err)
			}
		}
		if !fresh {
			return nil
		}
	}
}

// A way to yield.
type way int

const (
	byPolicy way = iota
	bySlice
)

// yielding returns how processes can yield and come back. It is tried with threads
// that are thrown away.
var yielding = sync.OnceValues(func() (way, error) {
	own, err := niceOfChildren()
	if err != nil {
		return 0, fmt.Errorf("worker process: yielding: %w", err)
	}
	nice := int32(own)
	result := make(chan error)
	go onThread(make(chan struct{}), func() {
		result <- errors.Join(
			unix.SchedSetAttr(0, &unix.SchedAttr{Policy: unix.SCHED_IDLE, Nice: nice}, 0),
			unix.SchedSetAttr(0, &unix.SchedAttr{Policy: unix.SCHED_NORMAL, Nice: nice}, 0),
		)
	})
	if <-result == nil {
		return byPolicy, nil
	}
	go onThread(make(chan struct{}), func() {
		err := unix.SchedSetAttr(0, &unix.SchedAttr{Policy: unix.SCHED_NORMAL, Nice: nice, Runtime: longSlice}, 0)
		if err == nil {
			var attr *unix.SchedAttr
			// Older kernels accept it and do nothing.
			if attr, err = unix.SchedGetAttr(0, 0); err == nil && attr.Runtime != longSlice {
				err = errors.New("this kernel has no slices of a thread's own (Linux 6.12)")
			}
		}
		result <- err
	})
	if err := <-result; err != nil {
		return 0, fmt.Errorf("worker process: yielding: %s: %w", yieldRemedy, err)
	}
	return bySlice, nil
})

var yieldRemedy = fmt.Sprintf("run the edge as root, or give its user CAP_SYS_NICE or a niceness of %d (LimitNICE=+%[1]d of systemd)", niceness)

// yieldsWholly returns why a process that yields still takes its share, if so.
func (s *spawned) yieldsWholly() error {
	if s.group != nil {
		if _, err := os.Stat(filepath.Join(s.group.dir, "cpu.idle")); err == nil {
			return nil
		}
	}
	can, err := yielding()
	if err == nil && can == bySlice {
		return fmt.Errorf("%s: as it is, processes react to others, but take their share", yieldRemedy)
	}
	return err
}

// CPU returns how much CPU time the process has taken.
func (p *Process) CPU() (time.Duration, error) {
	select {
	case <-p.done:
		return p.finalUsage().CPU, nil
	default:
	}
	// As of linux/posix-timers.h: the clock of all CPU time of a process. Unlike
	// /proc it has no access check and no unit of 10 ms.
	var cpu unix.Timespec
	if err := unix.ClockGettime(^int32(p.PID())<<3|2, &cpu); err != nil {
		return 0, fmt.Errorf("worker process: CPU clock: %w", err)
	}
	return time.Duration(cpu.Nano()), nil
}

// threadsOf lists the threads of a process; none when it has ended.
func threadsOf(pid int) ([]int, error) {
	dir, err := os.Open("/proc/" + strconv.Itoa(pid) + "/task")
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil && !errors.Is(err, unix.ESRCH) && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	threads := make([]int, 0, len(names))
	for _, name := range names {
		if thread, err := strconv.Atoi(name); err == nil {
			threads = append(threads, thread)
		}
	}
	return threads, nil
}
