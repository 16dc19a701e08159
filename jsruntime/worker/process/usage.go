//go:build unix

package process

import "time"

// Usage is what a process takes.
type Usage struct {
	Resident int64 // bytes in memory, those shared with the edge included, as the binary's code is
	Private  int64 // bytes in memory that nobody shares
	CPU      time.Duration
}

// finalUsage is for a process that was waited for.
func (p *Process) finalUsage() Usage {
	if p.state == nil {
		return Usage{}
	}
	return Usage{CPU: p.state.UserTime() + p.state.SystemTime()}
}
