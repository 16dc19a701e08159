package process

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Yield makes the process give way to whatever else wants the CPU, or takes that
// back: its threads are SCHED_IDLE, which any other preempts as it wakes, and run
// where there is nothing else to do.
//
// It fails where the edge's user may not take that back. Root may, and who has a
// limit of niceness that allows it (RLIMIT_NICE, LimitNICE= of systemd).
func (p *Process) Yield(yields bool) error {
	if !mayReturn() {
		return errNoReturn
	}
	if yields {
		return p.schedule(unix.SCHED_IDLE)
	}
	return p.schedule(unix.SCHED_NORMAL)
}

var errNoReturn = fmt.Errorf("worker process: yielding: run the edge as root, or allow its user a niceness of %d (RLIMIT_NICE, LimitNICE=+%[1]d of systemd)", niceness)

// schedule sets the policy of all threads.
func (p *Process) schedule(policy uint32) error {
	select {
	case <-p.done: // its number may be another's soon
		return nil
	default:
	}
	attr := &unix.SchedAttr{Policy: policy, Nice: forker().nice}
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

// mayReturn reports whether a thread can be SCHED_IDLE and become normal again.
// It is tried with one that is thrown away.
var mayReturn = sync.OnceValue(func() bool {
	nice := forker().nice
	result := make(chan error)
	go onThread(make(chan struct{}), func() {
		result <- errors.Join(
			unix.SchedSetAttr(0, &unix.SchedAttr{Policy: unix.SCHED_IDLE, Nice: nice}, 0),
			unix.SchedSetAttr(0, &unix.SchedAttr{Policy: unix.SCHED_NORMAL, Nice: nice}, 0),
		)
	})
	return <-result == nil
})

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
