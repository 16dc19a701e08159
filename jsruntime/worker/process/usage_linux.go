package process

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Usage reads what the process takes at this moment. After its end Memory is 0.
func (p *Process) Usage() (Usage, error) {
	select {
	case <-p.done:
		return p.finalUsage(), nil
	default:
	}
	// As of linux/posix-timers.h: the clock of all CPU time of a process. Unlike
	// /proc it has no access check and no unit of 10 ms.
	var cpu unix.Timespec
	if err := unix.ClockGettime(^int32(p.PID())<<3|2, &cpu); err != nil {
		return Usage{}, fmt.Errorf("worker process: CPU clock: %w", err)
	}
	status, err := os.ReadFile("/proc/" + strconv.Itoa(p.PID()) + "/status")
	if err != nil {
		return Usage{}, fmt.Errorf("worker process: memory: %w", err)
	}
	usage := Usage{CPU: time.Duration(cpu.Nano())}
	var ok, okPrivate bool
	usage.Resident, ok = statusField(status, "VmRSS:")
	usage.Private, okPrivate = statusField(status, "RssAnon:")
	if !ok || !okPrivate { // it has just died
		return Usage{}, errors.New("worker process: memory: the process has ended")
	}
	return usage, nil
}
