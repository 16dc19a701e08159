//go:build !linux

package sessionbackend

import "time"

var began = time.Now()

// Now returns the time that has passed in this process: other systems than Linux
// run no backends that others would have to agree with.
func Now() BootTime { return BootTime(time.Since(began)) }
