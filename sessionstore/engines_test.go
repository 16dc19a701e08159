package sessionstore

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/webtask-edge/caddy-webtask/tests/redistest"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(writerEnv); path != "" {
		writeUntilKilled(path)
		return
	}
	// go-redis keeps one clock for the process.
	goleak.VerifyTestMain(m)
}

// fixture is an empty store of one engine.
type fixture struct {
	store store

	// other is a second client of the same data; the file has none, and there
	// it is store itself.
	other store

	// advance makes time pass for what is stored.
	advance func(d time.Duration)

	// lose empties the store behind its back, as a server that restarts without
	// its data.
	lose func()
}

// eachEngine runs test on every engine, and on Redis in every form it has.
// fresh makes an empty store, as often as the test wants one.
func eachEngine(t *testing.T, test func(t *testing.T, fresh func(t *testing.T) *fixture)) {
	t.Run("file", func(t *testing.T) { test(t, freshFile) })
	t.Run("redis", func(t *testing.T) {
		srv := redistest.Start(t)
		test(t, freshRedis(RedisOptions{Addresses: []string{srv.Addr()}}, srv))
	})
	t.Run("cluster", func(t *testing.T) {
		cluster := redistest.StartCluster(t)
		test(t, freshRedis(RedisOptions{Addresses: cluster.Addrs()}, cluster.Nodes...))
	})
	t.Run("sentinel", func(t *testing.T) {
		s := redistest.StartSentinel(t)
		test(t, freshRedis(RedisOptions{Addresses: s.Addrs(), MasterName: redistest.MasterName}, s.Master))
	})
}

// clock stands still until it is moved.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func freshFile(t *testing.T) *fixture {
	c := newClock()
	path := filepath.Join(t.TempDir(), "dir", "store.db")
	f := NewFile(path, FileOptions{Now: c.Now})
	t.Cleanup(func() { closeStore(t, f) })
	return &fixture{store: f, other: f, advance: c.Advance, lose: func() {
		closeStore(t, f)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		c.Advance(time.Second)
		again, err := openEngine(f.settings)
		if err != nil {
			t.Fatal(err)
		}
		f.engine.Store(again)
	}}
}

var fixtures atomic.Int64

func freshRedis(options RedisOptions, nodes ...*redistest.Server) func(t *testing.T) *fixture {
	return func(t *testing.T) *fixture {
		options := options
		options.KeyPrefix = fmt.Sprintf("test%d", fixtures.Add(1))
		first, second := openRedis(t, options), openRedis(t, options)
		return &fixture{
			store: first,
			other: second,
			advance: func(d time.Duration) {
				for _, node := range nodes {
					age(t, node.Client(), options.KeyPrefix, d)
				}
			},
			lose: func() {
				for _, node := range nodes {
					if err := node.Client().FlushAll(t.Context()).Err(); err != nil {
						t.Fatal(err)
					}
				}
			},
		}
	}
}

func openRedis(t testing.TB, options RedisOptions) *Redis {
	t.Helper()
	s, err := NewRedis(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeStore(t, s) })
	return s
}

func closeStore(t testing.TB, s store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("closing the store: %v", err)
	}
}

// age makes everything of a prefix older by d, as if d had passed: Redis has no
// clock that a test could move.
func age(t *testing.T, client *redis.Client, prefix string, d time.Duration) {
	t.Helper()
	ctx := context.Background()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("ageing: %v", err)
		}
	}
	keys := client.Scan(ctx, 0, prefix+":*", 1000).Iterator()
	for keys.Next(ctx) {
		key := keys.Val()
		kind, err := client.Type(ctx, key).Result()
		must(err)
		switch {
		case kind == "hash" && client.HExists(ctx, key, "m:t").Val():
			must(client.HIncrBy(ctx, key, "m:t", -d.Milliseconds()).Err())
		case kind == "zset" && key[len(key)-4:] != ":log":
			members, err := client.ZRange(ctx, key, 0, -1).Result()
			must(err)
			for _, member := range members {
				must(client.ZIncrBy(ctx, key, -float64(d.Milliseconds()), member).Err())
			}
		}
		left, err := client.PTTL(ctx, key).Result()
		must(err)
		if left > 0 {
			must(client.PExpire(ctx, key, left-d).Err()) // not positive: gone at once
		}
	}
	must(keys.Err())
}
