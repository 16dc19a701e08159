package sessionstore

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

func TestRates(t *testing.T) {
	contract := []struct {
		name string
		test func(t *testing.T, f *fixture)
	}{
		{"a window is full at its limit and empty at its end", testRateWindow},
		{"a full window counts nothing in the others", testRateAll},
		{"windows are told apart by key and period", testRateKeys},
		{"a limit of zero is none", testRateUnlimited},
		{"concurrent requests never exceed a limit", testRateConcurrent},
		{"bad windows are refused", testRateBad},
	}
	eachEngine(t, func(t *testing.T, fresh func(t *testing.T) *fixture) {
		for _, c := range contract {
			t.Run(c.name, func(t *testing.T) { c.test(t, fresh(t)) })
		}
	})
}

// minuteStart is the start of a minute and of an hour. It is real time, by which
// Redis forgets windows.
func minuteStart() time.Time { return time.Now().Truncate(hour) }

func take(t *testing.T, s store, now time.Time, want time.Duration, windows ...webtask.RateWindow) {
	t.Helper()
	got, err := s.Take(t.Context(), now, windows)
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Fatalf("retry after %v, want %v", got, want)
	}
}

func testRateWindow(t *testing.T, f *fixture) {
	now := minuteStart()
	minute := webtask.RateWindow{Key: "c:acme", Period: time.Minute, Limit: 2}
	take(t, f.store, now, 0, minute)
	take(t, f.other, now.Add(20*time.Second), 0, minute)
	take(t, f.store, now.Add(20*time.Second), 40*time.Second, minute)
	take(t, f.other, now.Add(59*time.Second), time.Second, minute)
	take(t, f.store, now.Add(time.Minute), 0, minute)
	take(t, f.store, now.Add(time.Minute), 0, minute)
	take(t, f.store, now.Add(time.Minute), time.Minute, minute)
}

func testRateAll(t *testing.T, f *fixture) {
	now := minuteStart()
	second := webtask.RateWindow{Key: "c:acme", Period: time.Second, Limit: 1}
	minute := webtask.RateWindow{Key: "t:token", Period: time.Minute, Limit: 2}
	take(t, f.store, now, 0, minute, second)
	take(t, f.store, now, time.Second, minute, second) // second is full: minute must not count
	take(t, f.store, now, time.Second, second, minute)
	take(t, f.store, now.Add(time.Second), 0, minute, second)
	// Both are full: the first is reported.
	take(t, f.store, now.Add(time.Second), 59*time.Second, minute, second)
	take(t, f.store, now.Add(time.Second), time.Second, second, minute)
}

func testRateKeys(t *testing.T, f *fixture) {
	now := minuteStart()
	for _, key := range []string{"a", "b", "", "a:60000", "a}", "\x00"} {
		for _, period := range []time.Duration{time.Second, time.Minute, hour, 24 * hour} {
			w := webtask.RateWindow{Key: key, Period: period, Limit: 1}
			take(t, f.store, now, 0, w)
			take(t, f.store, now, now.Truncate(period).Add(period).Sub(now), w)
		}
	}
}

func testRateUnlimited(t *testing.T, f *fixture) {
	for range 3 {
		take(t, f.store, minuteStart(), 0, webtask.RateWindow{Key: "a", Period: time.Second})
		take(t, f.store, minuteStart(), 0)
	}
}

func testRateConcurrent(t *testing.T, f *fixture) {
	const workers, each, limit = 8, 20, 77
	now := minuteStart()
	var taken atomic.Int64
	var group sync.WaitGroup
	for i := range workers {
		s := f.store
		if i%2 == 1 {
			s = f.other
		}
		group.Go(func() {
			for range each {
				wait, err := s.Take(t.Context(), now, []webtask.RateWindow{
					{Key: "shared", Period: hour, Limit: limit},
					{Key: "wide", Period: hour, Limit: 10 * limit},
				})
				if err != nil {
					t.Errorf("taking: %v", err)
				}
				if wait == 0 {
					taken.Add(1)
				}
			}
		})
	}
	group.Wait()
	if taken.Load() != limit {
		t.Fatalf("%d requests passed a limit of %d", taken.Load(), limit)
	}
}

func testRateBad(t *testing.T, f *fixture) {
	if _, err := f.store.Take(t.Context(), minuteStart(), []webtask.RateWindow{{Key: "a", Limit: 1}}); err == nil {
		t.Fatal("a window without a period was accepted")
	}
}
