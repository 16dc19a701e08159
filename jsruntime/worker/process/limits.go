//go:build unix

package process

import (
	"fmt"
	"math"
	"runtime/debug"
	"runtime/metrics"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	// niceness is how much less a worker process weighs than the edge when both
	// want the CPU: about a third of its share.
	niceness = 5

	// maxStack is where a goroutine that recurses without end dies: the engine
	// bounds JavaScript's stack itself, but not the parser's or JSON's. Go's
	// own bound, 1 GB, is beyond most limits of memory.
	maxStack = 64 << 20

	// maxFDs is how many descriptors a worker process may have; it has no way
	// to open any.
	maxFDs = 16

	// gcPercent lets the heap grow to five times what is live before it is
	// collected, as collecting less often is most of what a worker gains in
	// speed. The aim for memory takes over where that would be too much.
	gcPercent = 400
)

// firstEnv is the environment that a process starts with, and that it clears: a
// quarter of what it takes to start is collecting what the packages of the binary
// make, of which little is garbage.
var firstEnv = []string{"GOGC=" + strconv.Itoa(gcPercent)}

// aimFor tells the collector how much memory is there, above what the process
// takes already.
func aimFor(memory int64) {
	debug.SetGCPercent(gcPercent)
	total := []metrics.Sample{{Name: "/memory/classes/total:bytes"}}
	metrics.Read(total)
	own := int64(total[0].Value.Uint64())
	if aim := memory / 4 * 3; aim < math.MaxInt64-own {
		debug.SetMemoryLimit(own + aim)
	}
}

// setLimit sets both bounds of a resource, so that it cannot be raised again.
func setLimit(resource int, value uint64) error {
	var now unix.Rlimit
	if err := unix.Getrlimit(resource, &now); err != nil {
		return fmt.Errorf("limit %d: %w", resource, err)
	}
	lower(&now.Cur, &now.Max, value)
	if err := unix.Setrlimit(resource, &now); err != nil {
		return fmt.Errorf("limit %d to %d: %w", resource, value, err)
	}
	return nil
}

// lower sets both bounds, whose type differs between systems, to value, unless
// they are lower.
func lower[T int64 | uint64](cur, most *T, value uint64) {
	*most = T(min(value, uint64(*most)))
	*cur = *most
}
