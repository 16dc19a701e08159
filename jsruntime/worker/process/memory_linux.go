package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"

	"golang.org/x/sys/unix"
)

// The race detector's share of a limit.
const (
	raceFactor = 8
	raceSlack  = 512 << 20
)

// allowance is what a process may take for memory to be of use to it. The race
// detector keeps several bytes about each byte of the heap, so its processes
// get as much more; that is for tests.
func allowance(memory int64) int64 {
	if raceDetector {
		return memory*raceFactor + raceSlack
	}
	return memory
}

// dataLimit returns the bound of writable private address space: the baseline,
// what is allowed above it, and what threads of C take for their stacks whether
// they use them or not.
func dataLimit(baseline, memory int64) int64 {
	if memory == 0 || baseline == 0 {
		return 0
	}
	return baseline + allowance(memory) + threadSlack()
}

// threadSlack is the address space of the stacks of threads that come later.
// Those of Go alone are part of its heap.
func threadSlack() int64 {
	if !cgoEnabled {
		return 0
	}
	size := int64(2 << 20) // of glibc, where the stack is unlimited
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_STACK, &limit); err == nil && limit.Cur < 64<<20 {
		size = int64(limit.Cur)
	}
	return size * int64(runtime.GOMAXPROCS(0)+8)
}

// dataSize returns how much writable private address space the process has:
// what RLIMIT_DATA bounds.
func dataSize() (int64, error) {
	const remedy = "mount /proc, so that the process can read how much it takes"
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, fmt.Errorf("%s: %w", remedy, err)
	}
	size, ok := statusField(status, "VmData:")
	if !ok {
		return 0, errors.New(remedy)
	}
	return size, nil
}

// statusField returns a size that /proc/PID/status names.
func statusField(status []byte, name string) (int64, bool) {
	for line := range bytes.Lines(status) {
		value, ok := bytes.CutPrefix(line, []byte(name))
		if !ok {
			continue
		}
		fields := bytes.Fields(value)
		if len(fields) == 0 {
			return 0, false
		}
		kilobytes, err := strconv.ParseInt(string(fields[0]), 10, 64)
		return kilobytes << 10, err == nil
	}
	return 0, false
}

// limitMemory bounds the memory, the collector's aim included. A limit of 0 is
// none.
func limitMemory(limit, memory int64) error {
	debug.SetMaxStack(maxStack)
	if memory == 0 {
		return errors.New("no limit was asked for")
	}
	aimFor(memory)
	if limit == 0 {
		return nil // dataSize says why
	}
	return setLimit(unix.RLIMIT_DATA, uint64(limit))
}
