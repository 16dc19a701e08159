package sessionbackend

import "time"

// BootTime is a time on this machine's clock, counted from when it was started:
// CLOCK_BOOTTIME, which unlike Go's monotonic time goes on while the machine
// sleeps, and which unlike the time of day nobody sets. It is the same in all
// processes of a machine.
type BootTime time.Duration

// Until returns how long it is from now until t on a clock.
func (t BootTime) Until(now BootTime) time.Duration { return time.Duration(t - now) }

// Add returns t, and d later.
func (t BootTime) Add(d time.Duration) BootTime { return t + BootTime(d) }
