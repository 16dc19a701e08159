package attacks

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestIsolationNone runs the dangerous attacks under isolation none, each on
// an edge of its own that may die of it, and lists what that mode does not
// contain: what isolation process is for. Nothing of it is a failure, but that
// the list is empty: then the attacks are none.
func TestIsolationNone(t *testing.T) {
	attacks := slices.DeleteFunc(chosen(t), func(a Attack) bool { return !a.Dangerous })
	if !everything() {
		attacks = attacks[:min(len(attacks), 2)]
	}
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		counts = map[string]int{}
		lines  []string
	)
	next := make(chan *Attack)
	for range 2 {
		wg.Go(func() {
			for a := range next {
				fate := alone(t, a)
				mu.Lock()
				counts[fate]++
				if fate != contained {
					lines = append(lines, fmt.Sprintf("    %-22s %s", fate, a.Label()))
				}
				mu.Unlock()
			}
		})
	}
	for i := range attacks {
		next <- &attacks[i]
	}
	close(next)
	wg.Wait()
	slices.Sort(lines)
	t.Logf("isolation none: of %d dangerous attacks, %v; not contained are\n%s", len(attacks), counts, strings.Join(lines, "\n"))
	if len(attacks) > 20 && len(lines) == 0 {
		t.Error("isolation none contained every attack: the suite attacks nothing")
	}
}

// What becomes of an edge.
const (
	contained = "contained"
	dies      = "ends the edge"
	hangs     = "does not end"
	starves   = "starves others"
)

// lethal bounds the address space of an edge that is to be exhausted, so that
// it dies and not the machine. Go reserves much that it never uses.
const lethal = 3 << 30

// alone runs an attack on an edge of its own.
func alone(t *testing.T, a *Attack) string {
	t.Helper()
	const soon = 5 * time.Second
	fate := contained
	// A subtest, so that the edge ends with it.
	t.Run(a.Label(), func(t *testing.T) {
		st := newStage(t, mode{isolation: "none"}, []Attack{*a}, true)
		limit := unix.Rlimit{Cur: lethal, Max: lethal}
		if err := unix.Prlimit(st.srv.PID(), unix.RLIMIT_AS, &limit, nil); err != nil {
			t.Fatal(err)
		}
		v := st.run(t, a, soon)
		switch {
		case ended(st, time.Second):
			fate = dies
		case !v.ended:
			fate = hangs
		case st.starved(soon):
			fate = starves
		}
		if st.alive() {
			st.srv.Kill(t) // it may not stop otherwise
		}
	})
	return fate
}

// ended reports whether the edge died, which takes the kernel a moment.
func ended(st *stage, within time.Duration) bool {
	select {
	case <-st.srv.Ended():
		return true
	case <-time.After(within):
		return false
	}
}

// starved reports whether the static file does not come any more.
func (st *stage) starved(within time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, st.srv.URL+"/still.txt", nil)
	if err != nil {
		return true
	}
	resp, err := visitor().Do(req)
	if err != nil {
		return true
	}
	resp.Body.Close()
	return resp.StatusCode != http.StatusOK
}
