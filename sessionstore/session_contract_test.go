package sessionstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

const hour = time.Hour

func TestSessions(t *testing.T) {
	contract := []struct {
		name string
		test func(t *testing.T, f *fixture)
	}{
		{"an unknown session is not found and not adopted", testUnknown},
		{"values come back as they were saved", testValues},
		{"a save replaces, adds and deletes keys", testSaveKeys},
		{"versions grow and are never used twice", testVersions},
		{"a change that expects another version writes nothing", testConflict},
		{"a read restarts the time to live after a tenth of it", testSlide},
		{"a write restarts the time to live", testWriteRestarts},
		{"an expired session is absent", testExpired},
		{"moving keeps the data and kills the old id", testMove},
		{"destroying removes", testDestroy},
		{"size is bounded", testSize},
		{"number is bounded per container", testQuota},
		{"expired sessions leave room", testQuotaExpired},
		{"containers and ids cannot reach into one another", testIsolation},
		{"bad calls are refused", testBadCalls},
		{"concurrent updates are all counted", testConcurrentUpdates},
		{"concurrent creations keep to the limit", testConcurrentCreations},
	}
	eachEngine(t, func(t *testing.T, fresh func(t *testing.T) *fixture) {
		for _, c := range contract {
			t.Run(c.name, func(t *testing.T) { c.test(t, fresh(t)) })
		}
	})
}

var session1 = webtask.SessionRef{Container: "acme", ID: "session-1"}

func set(pairs ...string) *webtask.SessionChange {
	c := &webtask.SessionChange{Create: true, Set: map[string][]byte{}, TTL: hour}
	for i := 0; i < len(pairs); i += 2 {
		c.Set[pairs[i]] = []byte(pairs[i+1])
	}
	return c
}

func save(t *testing.T, s store, ref webtask.SessionRef, c *webtask.SessionChange) *webtask.SessionData {
	t.Helper()
	session, err := s.Save(t.Context(), ref, c)
	if err != nil {
		t.Fatalf("saving %v: %v", ref, err)
	}
	return session
}

func load(t *testing.T, s store, ref webtask.SessionRef) *webtask.SessionData {
	t.Helper()
	session, err := s.Load(t.Context(), ref, hour)
	if err != nil {
		t.Fatalf("loading %v: %v", ref, err)
	}
	return session
}

func wantError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
}

func wantAbsent(t *testing.T, s store, ref webtask.SessionRef) {
	t.Helper()
	_, err := s.Load(t.Context(), ref, hour)
	wantError(t, err, webtask.ErrSessionNotFound)
}

func wantValues(t *testing.T, session *webtask.SessionData, pairs ...string) {
	t.Helper()
	if session == nil {
		t.Fatal("no session")
	}
	for i := 0; i < len(pairs); i += 2 {
		entry, ok := session.Entries[pairs[i]]
		if !ok || string(entry.Value) != pairs[i+1] {
			t.Fatalf("%q is %q, want %q", pairs[i], entry.Value, pairs[i+1])
		}
		if entry.Version == 0 {
			t.Fatalf("%q has version 0, which stands for absent", pairs[i])
		}
	}
	if len(session.Entries) != len(pairs)/2 {
		t.Fatalf("%d keys, want %d: %v", len(session.Entries), len(pairs)/2, session.Entries)
	}
}

func testUnknown(t *testing.T, f *fixture) {
	wantAbsent(t, f.store, session1)
	wantAbsent(t, f.store, webtask.SessionRef{Container: "acme"})
	change := set("a", "1")
	change.Create = false
	_, err := f.store.Save(t.Context(), session1, change)
	wantError(t, err, webtask.ErrSessionNotFound)
	wantAbsent(t, f.store, session1)
}

func testValues(t *testing.T, f *fixture) {
	random := make([]byte, 100<<10) // does not compress
	source := rand.NewChaCha8([32]byte{1})
	_, _ = source.Read(random)
	pairs := []string{
		"short", `{"a":[1,2,"ü"]}`,
		"", `"the empty key"`,
		"m:v", `"a key that looks like the store's own"`,
		"k:a\x00\n{b}/", `"odd"`,
		"empty", "",
		"at the limit", strings.Repeat("x", compressAbove),
		"compressible", strings.Repeat("abc ", 64<<10),
		"random", string(random),
	}
	wantValues(t, save(t, f.store, session1, set(pairs...)), pairs...)
	wantValues(t, load(t, f.store, session1), pairs...)
	wantValues(t, load(t, f.other, session1), pairs...)
}

func testSaveKeys(t *testing.T, f *fixture) {
	wantValues(t, save(t, f.store, session1, set("a", "1", "b", "2")), "a", "1", "b", "2")
	change := set("b", "3", "c", "4")
	change.Delete = []string{"a", "never there", "c"} // what is set too stays
	wantValues(t, save(t, f.other, session1, change), "b", "3", "c", "4")
	wantValues(t, load(t, f.store, session1), "b", "3", "c", "4")

	change = set()
	change.Delete = []string{"b", "c"}
	wantValues(t, save(t, f.store, session1, change))
	wantValues(t, load(t, f.store, session1)) // without keys, but alive
}

func testVersions(t *testing.T, f *fixture) {
	seen := map[uint64]bool{}
	last := uint64(0)
	next := func(session *webtask.SessionData) {
		t.Helper()
		version := session.Entries["a"].Version
		if version <= last || seen[version] {
			t.Fatalf("version %d after %d", version, last)
		}
		seen[version], last = true, version
	}
	next(save(t, f.store, session1, set("a", "1")))
	next(save(t, f.store, session1, set("a", "1")))
	save(t, f.store, session1, &webtask.SessionChange{Delete: []string{"a"}, TTL: hour})
	next(save(t, f.store, session1, set("a", "1")))
	save(t, f.store, session1, &webtask.SessionChange{Destroy: true})
	next(save(t, f.store, session1, set("a", "1")))

	before := load(t, f.store, session1).Entries["a"].Version
	save(t, f.store, session1, set("b", "1"))
	if after := load(t, f.store, session1).Entries["a"].Version; after != before {
		t.Fatalf("writing b changed the version of a from %d to %d", before, after)
	}
}

func testConflict(t *testing.T, f *fixture) {
	first := save(t, f.store, session1, set("a", "1"))
	version := first.Entries["a"].Version

	change := set("a", "2", "b", "1")
	change.Expect = map[string]uint64{"a": version, "b": 0}
	second := save(t, f.store, session1, change)
	wantValues(t, second, "a", "2", "b", "1")

	for name, expect := range map[string]map[string]uint64{
		"an old version":            {"a": version},
		"absence of what is there":  {"b": 0},
		"presence of what is not":   {"c": version},
		"one right and one wrong":   {"a": second.Entries["a"].Version, "b": 0},
		"a version of the future":   {"a": second.Entries["a"].Version + 1},
		"the largest version there": {"a": 1<<53 - 1},
	} {
		change := set("a", "3", "d", "4")
		change.Expect = expect
		now, err := f.store.Save(t.Context(), session1, change)
		if !errors.Is(err, webtask.ErrSessionConflict) {
			t.Fatalf("%s: %v", name, err)
		}
		wantValues(t, now, "a", "2", "b", "1")
	}
	wantValues(t, load(t, f.store, session1), "a", "2", "b", "1")

	// What is expected of a session that is yet to be made.
	change = set("a", "1")
	change.Expect = map[string]uint64{"a": version}
	absent := webtask.SessionRef{Container: "acme", ID: "session-2"}
	now, err := f.store.Save(t.Context(), absent, change)
	wantError(t, err, webtask.ErrSessionConflict)
	wantValues(t, now)
	wantAbsent(t, f.store, absent)
}

func testSlide(t *testing.T, f *fixture) {
	save(t, f.store, session1, set("a", "1"))
	// Within a tenth a read changes nothing: the session ends an hour after it
	// was made.
	f.advance(5 * time.Minute)
	load(t, f.store, session1)
	f.advance(54 * time.Minute)
	load(t, f.store, session1) // restarts
	f.advance(59 * time.Minute)
	load(t, f.store, session1) // restarts again
	f.advance(59 * time.Minute)
	wantValues(t, load(t, f.store, session1), "a", "1")
	f.advance(61 * time.Minute)
	wantAbsent(t, f.store, session1)

	save(t, f.store, session1, set("a", "1"))
	f.advance(7 * time.Minute)
	load(t, f.store, session1) // restarts, a tenth being six minutes
	f.advance(59 * time.Minute)
	load(t, f.store, session1)

	save(t, f.store, session1, set("a", "1"))
	f.advance(5 * time.Minute)
	load(t, f.store, session1) // too early to restart
	f.advance(56 * time.Minute)
	wantAbsent(t, f.store, session1)
}

func testWriteRestarts(t *testing.T, f *fixture) {
	save(t, f.store, session1, set("a", "1"))
	f.advance(5 * time.Minute)
	change := set("b", "1")
	change.TTL = 2 * hour
	save(t, f.store, session1, change)
	f.advance(119 * time.Minute)
	wantValues(t, load(t, f.store, session1), "a", "1", "b", "1")
}

func testExpired(t *testing.T, f *fixture) {
	save(t, f.store, session1, set("a", "1"))
	f.advance(61 * time.Minute)
	wantAbsent(t, f.store, session1)
	change := set("b", "1")
	change.Create = false
	_, err := f.store.Save(t.Context(), session1, change)
	wantError(t, err, webtask.ErrSessionNotFound)
	// Made anew under the same id, it has nothing of the old one.
	wantValues(t, save(t, f.store, session1, set("b", "1")), "b", "1")
}

func testMove(t *testing.T, f *fixture) {
	moved := webtask.SessionRef{Container: "acme", ID: "session-2"}
	before := save(t, f.store, session1, set("a", "1", "b", "2"))
	change := &webtask.SessionChange{
		MoveTo: moved.ID, TTL: hour,
		Expect: map[string]uint64{"a": before.Entries["a"].Version},
		Set:    map[string][]byte{"user": []byte(`"u"`)},
		Delete: []string{"b"},
	}
	wantValues(t, save(t, f.store, session1, change), "a", "1", "user", `"u"`)
	wantAbsent(t, f.store, session1)
	wantAbsent(t, f.other, session1)
	after := load(t, f.store, moved)
	wantValues(t, after, "a", "1", "user", `"u"`)
	if after.Entries["a"].Version != before.Entries["a"].Version {
		t.Fatal("moving changed the version of a key that was not written")
	}
	_, err := f.store.Save(t.Context(), session1, change)
	wantError(t, err, webtask.ErrSessionNotFound)

	// A session is not moved over another.
	save(t, f.store, session1, set("c", "1"))
	_, err = f.store.Save(t.Context(), session1, &webtask.SessionChange{MoveTo: moved.ID, TTL: hour})
	if err == nil || errors.Is(err, webtask.ErrStoreUnavailable) {
		t.Fatalf("moving over another session: %v", err)
	}
	wantValues(t, load(t, f.store, session1), "c", "1")
	wantValues(t, load(t, f.store, moved), "a", "1", "user", `"u"`)

	// Moving to the same id is no move; making one can move it too.
	wantValues(t, save(t, f.store, session1, &webtask.SessionChange{MoveTo: session1.ID, TTL: hour}), "c", "1")
	third := webtask.SessionRef{Container: "acme", ID: "session-3"}
	change = set("d", "1")
	change.MoveTo = "session-4"
	wantValues(t, save(t, f.store, third, change), "d", "1")
	wantAbsent(t, f.store, third)
	wantValues(t, load(t, f.store, webtask.SessionRef{Container: "acme", ID: "session-4"}), "d", "1")

	// The moved one counts once and lives its whole time.
	full := set("e", "1")
	full.MaxSessions = 3
	_, err = f.store.Save(t.Context(), webtask.SessionRef{Container: "acme", ID: "session-5"}, full)
	wantError(t, err, webtask.ErrSessionQuota)
	full.MaxSessions = 4
	save(t, f.store, webtask.SessionRef{Container: "acme", ID: "session-5"}, full)
	f.advance(59 * time.Minute)
	load(t, f.store, moved)
}

func testDestroy(t *testing.T, f *fixture) {
	save(t, f.store, session1, set("a", "1"))
	change := set("a", "2")
	change.Destroy = true // wins over all else
	change.Expect = map[string]uint64{"a": 12345}
	change.MoveTo = "session-2"
	wantValues(t, save(t, f.store, session1, change))
	wantAbsent(t, f.store, session1)
	wantAbsent(t, f.store, webtask.SessionRef{Container: "acme", ID: "session-2"})
	wantValues(t, save(t, f.store, session1, &webtask.SessionChange{Destroy: true}))

	one := set("a", "1")
	one.MaxSessions = 1
	save(t, f.store, session1, one) // the destroyed one does not count
}

func testSize(t *testing.T, f *fixture) {
	change := set("key", strings.Repeat("x", 4997))
	change.MaxBytes = 5000 // compression is no way around it
	save(t, f.store, session1, change)

	over := set("k", "")
	over.MaxBytes = 5000
	_, err := f.store.Save(t.Context(), session1, over)
	wantError(t, err, webtask.ErrSessionTooLarge)
	if !strings.Contains(err.Error(), "5001") || !strings.Contains(err.Error(), "5000") {
		t.Fatalf("error names neither size nor limit: %v", err)
	}
	over = set("key", strings.Repeat("x", 4998))
	over.MaxBytes = 5000
	_, err = f.store.Save(t.Context(), session1, over)
	wantError(t, err, webtask.ErrSessionTooLarge)
	if got := load(t, f.store, session1); len(got.Entries) != 1 || len(got.Entries["key"].Value) != 4997 {
		t.Fatalf("a refused change was written: %d keys", len(got.Entries))
	}

	// Replacing and deleting make room in the same change.
	change = set("k", "1", "other", strings.Repeat("y", 4000))
	change.Delete, change.MaxBytes = []string{"key"}, 5000
	save(t, f.store, session1, change)
	change = set("other", strings.Repeat("z", 4994))
	change.MaxBytes = 5001
	save(t, f.store, session1, change)

	// A session that is over a limit made smaller can still shrink.
	change = &webtask.SessionChange{Delete: []string{"k"}, TTL: hour, MaxBytes: 10}
	save(t, f.store, session1, change)
}

func testQuota(t *testing.T, f *fixture) {
	ref := func(i int) webtask.SessionRef {
		return webtask.SessionRef{Container: "acme", ID: strconv.Itoa(i)}
	}
	change := set("a", "1")
	change.MaxSessions = 3
	for i := range 3 {
		save(t, f.store, ref(i), change)
	}
	_, err := f.store.Save(t.Context(), ref(3), change)
	wantError(t, err, webtask.ErrSessionQuota)
	wantAbsent(t, f.store, ref(3))
	save(t, f.store, ref(0), change)                                            // one that exists may change
	save(t, f.store, webtask.SessionRef{Container: "another", ID: "x"}, change) // other containers are not concerned
	save(t, f.store, ref(1), &webtask.SessionChange{Destroy: true})             // one that goes
	save(t, f.store, ref(3), change)                                            // makes room for one
	_, err = f.store.Save(t.Context(), ref(4), change)                          // but only one
	wantError(t, err, webtask.ErrSessionQuota)
	change.MaxSessions = 0 // no limit
	save(t, f.store, ref(4), change)
}

func testQuotaExpired(t *testing.T, f *fixture) {
	ref := func(i int) webtask.SessionRef {
		return webtask.SessionRef{Container: "acme", ID: strconv.Itoa(i)}
	}
	change := set("a", "1")
	change.MaxSessions = 20
	for i := range 20 {
		change.TTL = hour
		if i%2 == 0 {
			change.TTL = 3 * hour
		}
		save(t, f.store, ref(i), change)
	}
	f.advance(2 * hour)
	change.TTL = hour
	for i := range 10 {
		save(t, f.store, ref(100+i), change)
	}
	_, err := f.store.Save(t.Context(), ref(200), change)
	wantError(t, err, webtask.ErrSessionQuota)
	for i := 0; i < 20; i += 2 {
		load(t, f.store, ref(i))
	}
}

func testIsolation(t *testing.T, f *fixture) {
	refs := []webtask.SessionRef{
		{Container: "a", ID: "b"},
		{Container: "", ID: "a"},
		{Container: "a}:s:n.b", ID: "c"},
		{Container: "a/n.b", ID: ""},
		{Container: "a", ID: "b}:s:n.c"},
		{Container: "a", ID: "b/c"},
		{Container: "a/b", ID: "c"},
		{Container: "a\x00", ID: "b"},
		{Container: "a", ID: "\x00b"},
		{Container: "{a}", ID: "b"},
		{Container: "A", ID: "b"},
		{Container: strings.Repeat("long", 5000), ID: "b"},
		{Container: "a", ID: strings.Repeat("long", 5000)},
		{Container: "n.a", ID: "b"},
		{Container: "h." + "x", ID: "b"},
		{Container: "@example.com", ID: "b"},
		{Container: "ü\xff", ID: "*"},
	}
	for i := range refs {
		if refs[i].ID == "" {
			refs[i].ID = "x"
		}
		save(t, f.store, refs[i], set("is", strconv.Itoa(i)))
	}
	for i, ref := range refs {
		wantValues(t, load(t, f.store, ref), "is", strconv.Itoa(i))
	}
	save(t, f.store, refs[0], &webtask.SessionChange{Destroy: true})
	wantAbsent(t, f.store, refs[0])
	for i, ref := range refs[1:] {
		wantValues(t, load(t, f.store, ref), "is", strconv.Itoa(i+1))
	}
}

func testBadCalls(t *testing.T, f *fixture) {
	for name, call := range map[string]func() error{
		"ttl": func() error {
			_, err := f.store.Save(t.Context(), session1, &webtask.SessionChange{Create: true})
			return err
		},
		"id": func() error {
			_, err := f.store.Save(t.Context(), webtask.SessionRef{Container: "acme"}, set("a", "1"))
			return err
		},
	} {
		if err := call(); err == nil || errors.Is(err, webtask.ErrStoreUnavailable) {
			t.Fatalf("bad %s: %v", name, err)
		}
	}
	huge := set()
	huge.Set["a"] = bytes.Repeat([]byte("x"), maxValue+1)
	_, err := f.store.Save(t.Context(), session1, huge)
	wantError(t, err, webtask.ErrSessionTooLarge)

	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = f.store.Save(canceled, session1, set("a", "1"))
	wantError(t, err, context.Canceled)
	_, err = f.store.Load(canceled, session1, hour)
	wantError(t, err, context.Canceled)
}

// increment adds one to a key by compare-and-set, as ctx.session.update does.
func increment(ctx context.Context, s store, ref webtask.SessionRef, key string) error {
	session, err := s.Load(ctx, ref, hour)
	for {
		if err != nil {
			return err
		}
		entry := session.Entries[key]
		count, _ := strconv.Atoi(string(entry.Value))
		session, err = s.Save(ctx, ref, &webtask.SessionChange{
			Expect: map[string]uint64{key: entry.Version},
			Set:    map[string][]byte{key: []byte(strconv.Itoa(count + 1))},
			TTL:    hour,
		})
		if err == nil {
			return nil
		}
		if errors.Is(err, webtask.ErrSessionConflict) {
			err = nil // session is what it is now
		}
	}
}

func testConcurrentUpdates(t *testing.T, f *fixture) {
	const workers, rounds = 8, 25
	save(t, f.store, session1, set("other", "0"))
	var group sync.WaitGroup
	for i := range workers {
		s := f.store
		if i%2 == 1 {
			s = f.other
		}
		group.Go(func() {
			for range rounds {
				if err := increment(t.Context(), s, session1, "count"); err != nil {
					t.Errorf("incrementing: %v", err)
					return
				}
				if _, err := s.Save(t.Context(), session1, set("key"+strconv.Itoa(i), `"x"`)); err != nil {
					t.Errorf("setting another key: %v", err)
					return
				}
			}
		})
	}
	group.Wait()
	session := load(t, f.store, session1)
	if got, want := string(session.Entries["count"].Value), strconv.Itoa(workers*rounds); got != want {
		t.Fatalf("count is %s, want %s", got, want)
	}
	if len(session.Entries) != workers+2 {
		t.Fatalf("%d keys, want %d: a write of one key lost another", len(session.Entries), workers+2)
	}
}

func testConcurrentCreations(t *testing.T, f *fixture) {
	const workers, each, limit = 8, 10, 33
	var group sync.WaitGroup
	made := make([]int, workers)
	for i := range workers {
		s := f.store
		if i%2 == 1 {
			s = f.other
		}
		group.Go(func() {
			for j := range each {
				change := set("a", "1")
				change.MaxSessions = limit
				_, err := s.Save(t.Context(), webtask.SessionRef{Container: "acme", ID: fmt.Sprintf("%d-%d", i, j)}, change)
				switch {
				case err == nil:
					made[i]++
				case !errors.Is(err, webtask.ErrSessionQuota):
					t.Errorf("creating: %v", err)
				}
			}
		})
	}
	group.Wait()
	total := 0
	for _, n := range made {
		total += n
	}
	if total != limit {
		t.Fatalf("%d sessions were made, the limit is %d", total, limit)
	}
}
