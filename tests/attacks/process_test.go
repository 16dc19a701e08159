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
	resident    int // bytes
	heap        int // bytes in use of the edge's own
}

func (u usage) String() string {
	return fmt.Sprintf("%d processes, %d descriptors, %d MiB resident, %d MiB of heap", u.processes, u.descriptors, u.resident>>20, u.heap>>20)
}

// measure reads proc(5); where there is none, all but the heap is zero.
func measure(t testing.TB, srv *harness.Server) usage {
	t.Helper()
	u := usage{heap: srv.HeapInUse(t)}
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
		if statm, err := os.ReadFile(filepath.Join(dir, "statm")); err == nil {
			if fields := strings.Fields(string(statm)); len(fields) > 1 {
				pages, _ := strconv.Atoi(fields[1])
				u.resident += pages * os.Getpagesize()
			}
		}
	}
	return u
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

// What may be there after a run that was not before: caches that fill, spares.
const (
	spareProcesses   = 4
	spareDescriptors = 40
	spareResident    = 256 << 20
	spareHeap        = 64 << 20
)

func (u usage) within(base usage) bool {
	return u.processes <= base.processes+spareProcesses && u.descriptors <= base.descriptors+spareDescriptors &&
		u.resident <= base.resident+spareResident && u.heap <= base.heap+spareHeap
}

// settle waits until the edge holds no more than before, and returns what it
// held last.
func settle(t testing.TB, srv *harness.Server, base usage) (now usage, ok bool) {
	t.Helper()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); ; <-tick.C {
		flush(t, srv)
		if now = measure(t, srv); now.within(base) {
			return now, true
		}
		if time.Now().After(deadline) {
			return now, false
		}
	}
}
