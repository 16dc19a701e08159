package harness

import (
	"testing"
	"time"
)

// Until polls until something comes true that no event announces, such as what
// a server answers once it noticed a change.
func Until(t testing.TB, what string, happened func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !happened() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}
