package attacks

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/webtask-edge/caddy-webtask/tests/harness"
)

// sample is what an edge holds between two rounds.
type sample struct {
	usage
	goroutines int
}

func (s sample) String() string { return fmt.Sprintf("%v, %d goroutines", s.usage, s.goroutines) }

// What may differ between rounds: attacks are drawn anew, and the log is kept
// in the memory of this process, not of the edge.
const (
	soakRound      = 24 // attacks
	soakReload     = 500 * time.Millisecond
	soakGoroutines = 60
)

// TestSoak has attackers, the victim's visitors and reloads go on for a long
// time. After each round of attacks the edge holds no more than before all of
// them, and has no more goroutines than after the first.
func TestSoak(t *testing.T) {
	m := mode{isolation: "process"}
	attacks := m.bears(All())
	st := newStage(t, m, attacks, false)
	st.crowded, st.reloading = true, true
	st.renew(t)
	base := measure(t, st.srv)
	end := time.Now().Add(harness.Length(t, "SOAK", 10*time.Second))
	var first, last sample
	requests, run, reloads := 0, 0, 0
	for round := 0; round < 2 || time.Now().Before(end); round++ {
		chosen := make([]Attack, soakRound)
		for i, at := range rand.Perm(len(attacks))[:soakRound] {
			chosen[i] = attacks[at]
		}
		w := st.observe(50)
		reloaded, stop := make(chan int), make(chan struct{})
		go func() { reloaded <- st.reloadUntil(t, stop) }()
		run += len(st.attack(t, chosen, 4))
		close(stop)
		reloads += <-reloaded
		seen := w.end()
		requests += seen.Requests
		for _, failure := range seen.Failed {
			t.Errorf("round %d: a request of the victim failed: %s", round, failure)
		}
		if !st.alive() {
			t.Fatalf("round %d: the edge died:\n%s", round, tail(st.srv.Log.String()))
		}
		held, ok := st.settle(t, base)
		last = sample{held, st.srv.Goroutines(t)}
		if round == 0 {
			first = last
		}
		if !ok || last.goroutines > first.goroutines+soakGoroutines {
			t.Errorf("round %d: the edge holds %v; after the first round %v, before it %v", round, last, first, base)
		}
	}
	st.checkLog(t)
	// As many as where Caddy's own handlers are reloaded under such a load.
	if lost := int(st.unconnected.Load()); lost > 3+reloads/5 {
		t.Errorf("%d connections were lost by %d reloads", lost, reloads)
	}
	t.Logf("%d attacks, %d requests of the victim, %d reloads, %d connections lost\n  after the first round: %v\n  after the last round:  %v", run, requests, reloads, st.unconnected.Load(), first, last)
}

// reloadUntil reloads the edge with configurations that differ in another site,
// and returns how often.
func (st *stage) reloadUntil(t *testing.T, stop <-chan struct{}) (reloads int) {
	tick := time.NewTicker(soakReload)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return reloads
		case <-tick.C:
			reloads++
			st.srv.AdminLoad(t, st.caddyfile(st.renewed)+fmt.Sprintf("http://localhost:{$PORT2} {\n\trespond %d\n}\n", reloads))
		}
	}
}
