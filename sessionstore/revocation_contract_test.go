package sessionstore

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"
)

func TestRevocations(t *testing.T) {
	contract := []struct {
		name string
		test func(t *testing.T, f *fixture)
	}{
		{"each revocation is seen once by each cursor", testRevocationCursor},
		{"a revocation lasts until its end", testRevocationEnd},
		{"a second revocation prolongs and never shortens", testRevocationTwice},
		{"a store that lost its data says so", testRevocationReset},
		{"concurrent revocations are all seen", testRevocationsConcurrent},
		{"bad calls are refused", testRevocationBadCalls},
	}
	eachEngine(t, func(t *testing.T, fresh func(t *testing.T) *fixture) {
		for _, c := range contract {
			t.Run(c.name, func(t *testing.T) { c.test(t, fresh(t)) })
		}
	})
}

// soon is an hour from now on the fixture's clock: that of the file stands
// still in the past, Redis has the real one.
func soon(s store) time.Time {
	if f, ok := s.(*File); ok {
		return f.now().Add(hour)
	}
	return time.Now().Add(hour).Truncate(time.Millisecond)
}

func revokeToken(t *testing.T, s store, jti string, until time.Time) {
	t.Helper()
	if err := s.Revoke(t.Context(), jti, until); err != nil {
		t.Fatalf("revoking %q: %v", jti, err)
	}
}

// revokedSince returns what was revoked after cursor, sorted.
func revokedSince(t *testing.T, s store, cursor uint64, wantReset bool) (jtis []string, next uint64) {
	t.Helper()
	found, next, reset, err := s.Revocations(t.Context(), cursor)
	if err != nil {
		t.Fatalf("revocations since %d: %v", cursor, err)
	}
	if reset != wantReset {
		t.Fatalf("revocations since %d: reset %v, want %v", cursor, reset, wantReset)
	}
	return slices.Sorted(maps.Keys(found)), next
}

func wantRevoked(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("revoked %q, want %q", got, want)
	}
}

func testRevocationCursor(t *testing.T, f *fixture) {
	got, cursor := revokedSince(t, f.store, 0, false)
	wantRevoked(t, got)
	revokeToken(t, f.store, "a", time.Time{})
	revokeToken(t, f.other, "b", soon(f.store))
	got, cursor = revokedSince(t, f.store, cursor, false)
	wantRevoked(t, got, "a", "b")
	got, cursor = revokedSince(t, f.store, cursor, false)
	wantRevoked(t, got)
	revokeToken(t, f.other, "c", soon(f.store))
	got, cursor = revokedSince(t, f.other, cursor, false)
	wantRevoked(t, got, "c")
	got, last := revokedSince(t, f.other, 0, false)
	wantRevoked(t, got, "a", "b", "c")
	if last != cursor {
		t.Fatalf("all end at %d, the last at %d", last, cursor)
	}
}

func testRevocationEnd(t *testing.T, f *fixture) {
	end := soon(f.store)
	revokeToken(t, f.store, "ends", end)
	revokeToken(t, f.store, "stays", time.Time{})
	found, _, _, err := f.store.Revocations(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if !found["ends"].Equal(end) || !found["stays"].IsZero() {
		t.Fatalf("ends %v (want %v), stays %v (want zero)", found["ends"], end, found["stays"])
	}
	f.advance(2 * hour)
	revokeToken(t, f.store, "later", time.Time{}) // sheds those that have ended
	got, _ := revokedSince(t, f.store, 0, false)
	wantRevoked(t, got, "later", "stays")
}

func testRevocationTwice(t *testing.T, f *fixture) {
	early := soon(f.store)
	late := early.Add(hour)
	revokeToken(t, f.store, "a", late)
	revokeToken(t, f.store, "a", early)
	revokeToken(t, f.store, "b", early)
	revokeToken(t, f.store, "b", late)
	revokeToken(t, f.store, "c", time.Time{})
	revokeToken(t, f.store, "c", early)
	found, _, _, err := f.store.Revocations(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if !found["a"].Equal(late) || !found["b"].Equal(late) || !found["c"].IsZero() || len(found) != 3 {
		t.Fatalf("%v; want a and b until %v, c for ever", found, late)
	}
}

func testRevocationReset(t *testing.T, f *fixture) {
	revokeToken(t, f.store, "a", time.Time{})
	_, cursor := revokedSince(t, f.store, 0, false)
	f.lose()
	got, _ := revokedSince(t, f.store, cursor, true)
	wantRevoked(t, got)
	revokeToken(t, f.store, "b", time.Time{})
	got, next := revokedSince(t, f.store, cursor, true)
	wantRevoked(t, got, "b")
	got, _ = revokedSince(t, f.store, next, false)
	wantRevoked(t, got)
}

func testRevocationsConcurrent(t *testing.T, f *fixture) {
	const workers, each = 6, 20
	var group sync.WaitGroup
	for i := range workers {
		s := f.store
		if i%2 == 1 {
			s = f.other
		}
		group.Go(func() {
			for j := range each {
				if err := s.Revoke(t.Context(), fmt.Sprintf("%d-%d", i, j), time.Time{}); err != nil {
					t.Errorf("revoking: %v", err)
				}
			}
		})
	}
	// A reader that follows must have seen them all in the end.
	seen := map[string]int{}
	cursor := uint64(0)
	follow := func() {
		found, next, reset, err := f.store.Revocations(t.Context(), cursor)
		if err != nil || reset {
			t.Fatalf("following: reset %v, %v", reset, err)
		}
		for jti := range found {
			seen[jti]++
		}
		cursor = next
	}
	for range 20 {
		follow()
	}
	group.Wait()
	follow()
	if len(seen) != workers*each {
		t.Fatalf("saw %d revocations of %d", len(seen), workers*each)
	}
	for jti, times := range seen {
		if times != 1 {
			t.Fatalf("%q was seen %d times", jti, times)
		}
	}
}

func testRevocationBadCalls(t *testing.T, f *fixture) {
	if err := f.store.Revoke(t.Context(), "", time.Time{}); err == nil {
		t.Fatal("an empty token id was revoked")
	}
}
