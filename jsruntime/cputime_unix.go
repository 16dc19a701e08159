//go:build unix

package jsruntime

import (
	"time"

	"golang.org/x/sys/unix"
)

// processCPUTime is how much CPU time this process has taken.
func processCPUTime() time.Duration {
	var usage unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &usage) // of itself it never fails
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
