package process

import (
	"errors"
	"fmt"
	"os"
	"strconv"
)

// Usage reads what the process takes at this moment. After its end Memory is 0.
func (p *Process) Usage() (Usage, error) {
	select {
	case <-p.done:
		return p.finalUsage(), nil
	default:
	}
	cpu, err := p.CPU()
	if err != nil {
		return Usage{}, err
	}
	status, err := os.ReadFile("/proc/" + strconv.Itoa(p.PID()) + "/status")
	if err != nil {
		return Usage{}, fmt.Errorf("worker process: memory: %w", err)
	}
	usage := Usage{CPU: cpu}
	var ok, okPrivate bool
	usage.Resident, ok = statusField(status, "VmRSS:")
	usage.Private, okPrivate = statusField(status, "RssAnon:")
	if !ok || !okPrivate { // it has just died
		return Usage{}, errors.New("worker process: memory: the process has ended")
	}
	return usage, nil
}
