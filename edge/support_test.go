package edge

import (
	"bytes"
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/webtask-edge/caddy-webtask/sessionstore"
	"github.com/webtask-edge/caddy-webtask/tests/redistest"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

// testRing is the keyring of all tests.
var testRing = sync.OnceValue(func() *webtask.Keyring {
	ring, err := webtask.GenerateKeyring(bytes.NewReader(bytes.Repeat([]byte("keyring of the edge's tests. "), 10)))
	if err != nil {
		panic(err)
	}
	return ring
})

// testToken issues a token now.
func testToken(t testing.TB, claims webtask.Claims) string {
	t.Helper()
	token, err := testRing().Issue(claims, webtask.IssueOptions{Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Now()} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// store is what both engines of package sessionstore are to the edge.
type store interface {
	SessionStore
	RevocationStore
	RateStore
}

var (
	_ store = (*sessionstore.File)(nil)
	_ store = (*sessionstore.Redis)(nil)
)

func fileStore(t testing.TB) *sessionstore.File {
	t.Helper()
	file := sessionstore.NewFile(filepath.Join(t.TempDir(), "store.db"), sessionstore.FileOptions{})
	t.Cleanup(func() {
		if err := file.Close(); err != nil {
			t.Error(err)
		}
	})
	return file
}

func redisStore(t testing.TB, server *redistest.Server) *sessionstore.Redis {
	t.Helper()
	store, err := sessionstore.NewRedis(sessionstore.RedisOptions{Addresses: []string{server.Addr()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

// onBothStores runs a test on each engine.
func onBothStores(t *testing.T, test func(t *testing.T, s store)) {
	t.Run("file", func(t *testing.T) { test(t, fileStore(t)) })
	t.Run("redis", func(t *testing.T) { test(t, redisStore(t, redistest.Start(t))) })
}

// testLog collects log entries.
func testLog() (*zap.Logger, *observer.ObservedLogs) {
	core, logs := observer.New(zap.DebugLevel)
	return zap.New(core), logs
}

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}
