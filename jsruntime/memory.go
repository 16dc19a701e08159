package jsruntime

import (
	"bufio"
	"bytes"
	"math"
	"os"
	"runtime/debug"
	"strconv"
	"sync/atomic"
)

// Of the heap of one isolate, by estimate: what the runtime and its globals
// take, and how many bytes a byte of source becomes once it is loaded
// (libraries measured: 1 to 15, most of them below 4).
const (
	isolateBaseCost   = 192 << 10
	isolateSourceCost = 4
)

func isolateCost(p *Program) int64 { return isolateBaseCost + isolateSourceCost*p.size }

// budget bounds the isolates of an engine by number and by memory.
type budget struct {
	count, bytes atomic.Int64 // left
}

func (b *budget) init(count int, bytes int64) {
	if count <= 0 {
		count = math.MaxInt
	}
	b.count.Store(int64(count))
	b.bytes.Store(bytes)
}

func (b *budget) take(cost int64) bool {
	if b.count.Add(-1) >= 0 {
		if b.bytes.Add(-cost) >= 0 {
			return true
		}
		b.bytes.Add(cost)
	}
	b.count.Add(1)
	return false
}

func (b *budget) give(cost int64) {
	b.count.Add(1)
	b.bytes.Add(cost)
}

// fallbackMemory is assumed where nothing says how much there is.
const fallbackMemory = 1 << 30

// availableMemory returns how many bytes the process may use: the least of
// GOMEMLIMIT, the cgroup's limit (Linux, cgroup v2) and the machine's memory.
func availableMemory() int64 {
	limit := debug.SetMemoryLimit(-1)
	if text, err := os.ReadFile("/sys/fs/cgroup/memory.max"); err == nil {
		if n, err := strconv.ParseInt(string(bytes.TrimSpace(text)), 10, 64); err == nil {
			limit = min(limit, n)
		}
	}
	if n := machineMemory(); n > 0 {
		limit = min(limit, n)
	}
	if limit == math.MaxInt64 {
		return fallbackMemory
	}
	return limit
}

// machineMemory reads MemTotal of proc(5); 0 where there is none.
func machineMemory() int64 {
	file, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		fields := bytes.Fields(lines.Bytes())
		if len(fields) == 3 && string(fields[0]) == "MemTotal:" {
			n, err := strconv.ParseInt(string(fields[1]), 10, 64)
			if err != nil {
				return 0
			}
			return n << 10
		}
	}
	return 0
}
