//go:build unix && !linux

package process

import "fmt"

// Usage reads what the process takes at this moment. After its end Memory is 0.
func (p *Process) Usage() (Usage, error) {
	select {
	case <-p.done:
		return p.finalUsage(), nil
	default:
		return Usage{}, fmt.Errorf("worker process: what it takes cannot be read: %w", errLinux)
	}
}
