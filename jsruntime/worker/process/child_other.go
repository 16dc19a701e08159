//go:build unix && !linux

package process

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// lockUp gives up what the process does not need, as far as the system has ways
// that Go can use.
func lockUp(s settings) Report {
	var r Report
	if os.Getppid() != s.Parent {
		os.Exit(0)
	}
	debug.SetMaxStack(maxStack)
	if s.Memory != 0 {
		aimFor(s.Memory)
	}
	r.add(Lifeline, fmt.Errorf("only the end of its socket tells the process that its parent died: %w", errLinux))
	r.add(Limits, errors.Join(
		setLimit(unix.RLIMIT_CORE, 0),
		setLimit(unix.RLIMIT_FSIZE, 0),
		setLimit(unix.RLIMIT_NOFILE, maxFDs)))
	r.add(Priority, unix.Setpriority(unix.PRIO_PROCESS, 0, niceness))
	for _, layer := range []Layer{Memory, Secrecy, Capabilities, Files, Syscalls} {
		r.add(layer, errLinux)
	}
	return r
}
