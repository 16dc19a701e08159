//go:build unix && !linux

package process

import (
	"fmt"
	"time"
)

// Yield makes the process give way to whatever else wants the CPU, or takes that
// back; not on this system.
func (p *Process) Yield(bool) error {
	return fmt.Errorf("worker process: yielding: %w", errLinux)
}

// CPU returns how much CPU time the process has taken; not on this system, but
// after its end.
func (p *Process) CPU() (time.Duration, error) {
	usage, err := p.Usage()
	return usage.CPU, err
}
