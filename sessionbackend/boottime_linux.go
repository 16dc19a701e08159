package sessionbackend

import "golang.org/x/sys/unix"

// Now returns the time.
func Now() BootTime {
	var now unix.Timespec
	// It fails for a clock that the kernel does not have, and Linux has had this
	// one since 2.6.39.
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &now)
	return BootTime(now.Nano())
}
