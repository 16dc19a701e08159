package sessionstore

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

func writeTestFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func openFile(t testing.TB, path string, options FileOptions) *File {
	t.Helper()
	f := NewFile(path, options)
	t.Cleanup(func() { closeStore(t, f) })
	return f
}

func TestFileIsMadeByFirstCall(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b", "store.db")
	f := openFile(t, path, FileOptions{})
	if _, err := os.Stat(filepath.Dir(path)); !os.IsNotExist(err) {
		t.Fatalf("NewFile touched the disk: %v", err)
	}
	var group sync.WaitGroup
	for range 20 { // one of them opens it
		group.Go(func() {
			if err := f.Ping(t.Context()); err != nil {
				t.Errorf("ping: %v", err)
			}
		})
	}
	group.Wait()
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v; sessions are nobody else's business", info.Mode(), err)
	}
}

func TestFileKeepsEverythingAcrossClose(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	now := time.Now().Truncate(hour)
	c := newClock()
	c.now = now
	day := webtask.RateWindow{Key: "c:acme", Period: 24 * hour, Limit: 2}
	second := webtask.RateWindow{Key: "c:acme", Period: time.Second, Limit: 1}

	f := openFile(t, path, FileOptions{Now: c.Now})
	save(t, f, session1, set("a", "1"))
	revokeToken(t, f, "jti", time.Time{})
	_, cursor := revokedSince(t, f, 0, false)
	take(t, f, now, 0, day, second)
	closeStore(t, f)
	wantUnavailable(t, f)
	closeStore(t, f) // again

	f = openFile(t, path, FileOptions{Now: c.Now})
	wantValues(t, load(t, f, session1), "a", "1")
	got, _ := revokedSince(t, f, 0, false)
	wantRevoked(t, got, "jti")
	got, _ = revokedSince(t, f, cursor, false)
	wantRevoked(t, got)
	take(t, f, now.Add(time.Second), 0, day, second)
	take(t, f, now.Add(2*time.Second), now.Truncate(24*hour).Add(24*hour).Sub(now)-2*time.Second, day)
}

func TestFileCloseWaitsForWrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	f := openFile(t, path, FileOptions{})
	if err := f.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	const workers = 50
	acknowledged := make([]bool, workers)
	var group sync.WaitGroup
	started := make(chan struct{}, workers)
	ref := func(i int) webtask.SessionRef {
		return webtask.SessionRef{Container: "acme", ID: string(rune('A' + i))}
	}
	for i := range workers {
		group.Go(func() {
			started <- struct{}{}
			_, err := f.Save(t.Context(), ref(i), set("a", "1"))
			acknowledged[i] = err == nil
			if err != nil && !errors.Is(err, webtask.ErrStoreUnavailable) {
				t.Errorf("a write that Close came before: %v", err)
			}
		})
	}
	for range workers / 2 {
		<-started
	}
	closeStore(t, f)
	group.Wait()
	again := openFile(t, path, FileOptions{})
	for i, acked := range acknowledged {
		if _, err := again.Load(t.Context(), ref(i), hour); acked != (err == nil) {
			t.Errorf("session %d: acknowledged %v, then %v", i, acked, err)
		}
	}
}

func TestFileHeldByThisProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	first := openFile(t, path, FileOptions{})
	if err := first.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := openFile(t, path, FileOptions{OpenTimeout: time.Millisecond})
	wantUnavailable(t, second)
	err := second.Ping(t.Context())
	if !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "a store file of its own") {
		t.Fatalf("error names no file or remedy: %v", err)
	}
	closeStore(t, first)
	second.mu.Lock()
	second.retry = time.Time{} // the pause is over
	second.mu.Unlock()
	save(t, second, session1, set("a", "1"))
}

func TestFileCallersWaitNoLongerThanTheirContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	first := openFile(t, path, FileOptions{})
	if err := first.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := openFile(t, path, FileOptions{OpenTimeout: 500 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() {
		_, err := second.Load(ctx, session1, hour)
		failed <- err
	}()
	cancel()
	wantError(t, <-failed, context.Canceled)
}

func TestFileThatIsNoStore(t *testing.T) {
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage")
	writeTestFile(t, garbage, strings.Repeat("this is no database ", 1000))

	future := filepath.Join(dir, "future")
	f := openFile(t, future, FileOptions{})
	err := f.write(t.Context(), func(tx *bolt.Tx) error {
		return tx.Bucket(bucketMeta).Put(metaFormat, []byte{0, 0, 0, 9})
	})
	if err != nil {
		t.Fatal(err)
	}
	closeStore(t, f)

	under := filepath.Join(garbage, "store.db")
	for path, says := range map[string]string{
		garbage: "is not a session store or is damaged",
		future:  "its format is 9",
		under:   "directory",
		dir:     "opening the store",
	} {
		f := openFile(t, path, FileOptions{})
		wantUnavailable(t, f)
		if err := f.Ping(t.Context()); !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), path) && path != under {
			t.Errorf("%s: error %v, want one that says %q", path, err, says)
		}
	}
}

// A session that is damaged fails alone, also when it shares a commit.
func TestFileDamagedSession(t *testing.T) {
	f := openFile(t, filepath.Join(t.TempDir(), "store.db"), FileOptions{})
	damaged := webtask.SessionRef{Container: "acme", ID: "damaged"}
	save(t, f, damaged, set("a", "1"))
	err := f.write(t.Context(), func(tx *bolt.Tx) error {
		return tx.Bucket(bucketSessions).Put(sessionsOf(tx, "acme").key("damaged"), []byte("short"))
	})
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			ref := webtask.SessionRef{Container: "acme", ID: string(rune('a' + i))}
			if _, err := f.Save(t.Context(), ref, set("a", "1")); err != nil {
				t.Errorf("a whole session: %v", err)
			}
		})
		group.Go(func() {
			if _, err := f.Save(t.Context(), damaged, set("a", "1")); !errors.Is(err, webtask.ErrStoreUnavailable) {
				t.Errorf("the damaged session: %v", err)
			}
		})
	}
	group.Wait()
	_, err = f.Load(t.Context(), damaged, hour)
	wantError(t, err, webtask.ErrStoreUnavailable)
}

// One bad change of a batch fails, and fails alone.
func TestFileBatchFailsApart(t *testing.T) {
	f := openFile(t, filepath.Join(t.TempDir(), "store.db"), FileOptions{})
	if err := f.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	e := f.engine.Load()
	put := func(key string) func(tx *bolt.Tx) error {
		return func(tx *bolt.Tx) error { return tx.Bucket(bucketMeta).Put([]byte(key), []byte("x")) }
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	batch := []*pendingChange{
		{ctx: t.Context(), apply: put("a"), done: make(chan error, 1)},
		{ctx: t.Context(), apply: put(""), done: make(chan error, 1)}, // bbolt refuses the empty key
		{ctx: t.Context(), apply: func(*bolt.Tx) error { panic("a damaged page") }, done: make(chan error, 1)},
		{ctx: canceled, apply: put("never"), done: make(chan error, 1)},
		{ctx: t.Context(), apply: put("b"), done: make(chan error, 1)},
	}
	outcomes := []chan error{batch[0].done, batch[1].done, batch[2].done, batch[3].done, batch[4].done}
	e.commit(batch)
	for i, want := range []error{nil, webtask.ErrStoreUnavailable, webtask.ErrStoreUnavailable, context.Canceled, nil} {
		wantError(t, <-outcomes[i], want)
	}
	_ = f.view(t.Context(), func(tx *bolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		if meta.Get([]byte("a")) == nil || meta.Get([]byte("b")) == nil || meta.Get([]byte("never")) != nil {
			t.Error("the batch was not applied apart")
		}
		return nil
	})
}

// A page that bbolt panics over fails the call, in reads as in writes.
func TestFileDamagedPage(t *testing.T) {
	f := openFile(t, filepath.Join(t.TempDir(), "store.db"), FileOptions{})
	damage := func(*bolt.Tx) error { panic("page 7 already freed") }
	for name, call := range map[string]func(context.Context, func(*bolt.Tx) error) error{"read": f.view, "write": f.write} {
		err := call(t.Context(), damage)
		if !errors.Is(err, webtask.ErrStoreUnavailable) || !strings.Contains(err.Error(), "page 7") {
			t.Errorf("%s: %v", name, err)
		}
	}
	save(t, f, session1, set("a", "1"))
}

// Where the disk takes no more, writes fail, all of a batch, and reads go on.
func TestFileDiskFull(t *testing.T) {
	f := openFile(t, filepath.Join(t.TempDir(), "store.db"), FileOptions{})
	save(t, f, session1, set("a", "1"))
	e := f.engine.Load()
	e.db.MaxSize = 1 // bbolt refuses to grow the file, at the commit
	large := set("a", strings.Repeat("x", compressAbove))
	var group sync.WaitGroup
	var failed atomic.Int64
	const writers = 200 // more than the file has free pages for
	for i := range writers {
		group.Go(func() {
			ref := webtask.SessionRef{Container: "acme", ID: strconv.Itoa(i)}
			_, err := f.Save(t.Context(), ref, large)
			if err == nil {
				return
			}
			failed.Add(1)
			if !errors.Is(err, webtask.ErrStoreUnavailable) {
				t.Errorf("writing to a full disk: %v", err)
			}
			if _, err := f.Load(t.Context(), ref, hour); !errors.Is(err, webtask.ErrSessionNotFound) {
				t.Errorf("a write that failed has happened: %v", err)
			}
		})
	}
	group.Wait()
	if failed.Load() == 0 {
		t.Fatal("no write failed")
	}
	wantValues(t, load(t, f, session1), "a", "1")
}

// Sweeping leaves nothing of what has expired: no record, index, count or
// revocation.
func TestFileUpkeep(t *testing.T) {
	c := newClock()
	f := openFile(t, filepath.Join(t.TempDir(), "store.db"), FileOptions{Now: c.Now})
	tick := make(chan time.Time)
	f.tick = tick
	const containers, each = 30, 50 // more sessions than one round removes
	for i := range containers {
		var group sync.WaitGroup
		for j := range each {
			group.Go(func() {
				ref := webtask.SessionRef{Container: string(rune('A' + i)), ID: string(rune('a' + j))}
				if _, err := f.Save(t.Context(), ref, set("a", "1")); err != nil {
					t.Errorf("saving: %v", err)
				}
			})
		}
		group.Wait()
	}
	revokeToken(t, f, "ends", c.Now().Add(hour))
	take(t, f, c.Now(), 0, webtask.RateWindow{Key: "a", Period: hour, Limit: 5})
	change := set("a", "1")
	change.TTL = 10 * hour
	save(t, f, session1, change)

	c.Advance(2 * hour)
	f.engine.Load().rates.sweep(c.Now()) // it would only when it has grown
	rounds := 0
	for size := -1; size != 1; rounds++ {
		if rounds > 10 {
			t.Fatalf("%d sessions are left after %d rounds", size, rounds)
		}
		tick <- c.Now()
		// The writer is done with it when it does something else.
		if err := f.write(t.Context(), func(*bolt.Tx) error { return nil }); err != nil {
			t.Fatal(err)
		}
		_ = f.view(t.Context(), func(tx *bolt.Tx) error {
			size = keysOf(tx.Bucket(bucketSessions))
			return nil
		})
	}
	if rounds < 2 {
		t.Fatal("one round removed more than its bound")
	}
	_ = f.view(t.Context(), func(tx *bolt.Tx) error {
		for name, want := range map[string]int{
			string(bucketExpiry): 1, string(bucketCounts): 1, string(bucketRates): 0,
			string(bucketRevoked): 0, string(bucketRevocationLog): 0, string(bucketRevocationExpiry): 0,
		} {
			if got := keysOf(tx.Bucket([]byte(name))); got != want {
				t.Errorf("%s has %d keys, want %d", name, got, want)
			}
		}
		return nil
	})
	wantValues(t, load(t, f, session1), "a", "1")
}

func keysOf(b *bolt.Bucket) int {
	n := 0
	_ = b.ForEach(func(_, _ []byte) error { n++; return nil })
	return n
}
