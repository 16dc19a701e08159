package attacks

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/webtask-edge/caddy-webtask/tests/harness"
)

// usage is what an edge and its workers hold.
type usage struct {
	processes   int
	descriptors int
	memory      int // bytes, of what is shared the share
	heap        int // bytes of live objects of the edge's own
}

func (u usage) String() string {
	return fmt.Sprintf("%d processes, %d descriptors, %d MiB of memory, %d MiB of heap", u.processes, u.descriptors, u.memory>>20, u.heap>>20)
}

// measure reads proc(5); where there is none, all but the heap is zero.
func measure(t testing.TB, srv *harness.Server) usage {
	t.Helper()
	u := usage{heap: srv.LiveHeap(t)}
	children := childrenOf()
	for pids := []int{srv.PID()}; len(pids) > 0; {
		pid := pids[0]
		pids = append(pids[1:], children[pid]...)
		dir := filepath.Join("/proc", strconv.Itoa(pid))
		fds, err := os.ReadDir(filepath.Join(dir, "fd"))
		if err != nil {
			continue // it ended meanwhile
		}
		u.processes++
		u.descriptors += len(fds)
		u.memory += memoryOf(dir)
	}
	return u
}

// memoryOf returns the proportional set size of a process, or where that may
// not be read, its resident set.
func memoryOf(dir string) int {
	if rollup, err := os.ReadFile(filepath.Join(dir, "smaps_rollup")); err == nil {
		if _, rest, ok := strings.Cut(string(rollup), "\nPss:"); ok {
			if fields := strings.Fields(rest); len(fields) > 0 {
				kib, _ := strconv.Atoi(fields[0])
				return kib << 10
			}
		}
	}
	if statm, err := os.ReadFile(filepath.Join(dir, "statm")); err == nil {
		if fields := strings.Fields(string(statm)); len(fields) > 1 {
			pages, _ := strconv.Atoi(fields[1])
			return pages * os.Getpagesize()
		}
	}
	return 0
}

// childrenOf returns the processes of the machine by their parent.
func childrenOf() map[int][]int {
	children := map[int][]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		// The name, in parentheses, may hold anything.
		_, rest, _ := strings.Cut(string(stat), ") ")
		if fields := strings.Fields(rest); len(fields) > 1 {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			parent, _ := strconv.Atoi(fields[1])
			children[parent] = append(children[parent], pid)
		}
	}
	return children
}

// What may be there after a run that was not before: spares, and caches that fill.
const (
	spareProcesses   = 4
	spareDescriptors = 40
	spareMemory      = 384 << 20
	spareHeap        = 64 << 20
)

func (u usage) within(base usage) bool {
	return u.processes <= base.processes+spareProcesses && u.descriptors <= base.descriptors+spareDescriptors &&
		u.memory <= base.memory+spareMemory && u.heap <= base.heap+spareHeap
}

// settle gives the edge a configuration that differs, which ends what it kept
// for the old one, and waits until it holds no more than before. It returns
// what it held last.
func (st *stage) settle(t testing.TB, base usage) (now usage, ok bool) {
	t.Helper()
	st.renew(t)
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); ; <-tick.C {
		if now = measure(t, st.srv); now.within(base) {
			return now, true
		}
		if time.Now().After(deadline) {
			return now, false
		}
	}
}

// renew reloads the edge with another length of its queue and age of its code, so
// that it starts anew with isolates, workers and what it keeps of code, and has
// the victim requested.
func (st *stage) renew(t testing.TB) {
	t.Helper()
	st.renewed++
	st.srv.AdminLoad(t, st.caddyfile(st.renewed))
	st.observe(100).after(500 * time.Millisecond)
}
