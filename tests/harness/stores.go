package harness

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/webtask-edge/caddy-webtask/tests/redistest"
)

// Store is a session store to run a test on: the value of Config.Store.
type Store struct {
	Name   string
	Option string            // the Caddyfile's `store` option
	Redis  *redistest.Server // the server behind it, if it is a standalone Redis
}

// FileStore is the embedded file, each server's own.
func FileStore() Store { return Store{Name: "file", Option: "store file"} }

// RedisStore starts a redis-server; args are options of it.
func RedisStore(t testing.TB, args ...string) Store {
	t.Helper()
	srv := redistest.Start(t, args...)
	return Store{Name: "redis", Option: redisOption("address " + srv.Addr()), Redis: srv}
}

// ClusterStore starts a Redis Cluster of three masters.
func ClusterStore(t testing.TB) Store {
	t.Helper()
	cluster := redistest.StartCluster(t)
	return Store{Name: "cluster", Option: redisOption("address " + strings.Join(cluster.Addrs(), " "))}
}

// SentinelStore starts a master and a replica under three Sentinels.
func SentinelStore(t testing.TB) (Store, *redistest.Sentinel) {
	t.Helper()
	sentinel := redistest.StartSentinel(t)
	return Store{Name: "sentinel", Option: redisOption(
		"sentinel "+redistest.MasterName,
		"address "+strings.Join(sentinel.Addrs(), " "),
	)}, sentinel
}

func redisOption(lines ...string) string {
	return "store redis {\n\t\t\t" + strings.Join(lines, "\n\t\t\t") + "\n\t\t}"
}

// EachStore runs a test on every engine, each as a subtest with a store of its
// own.
func EachStore(t *testing.T, test func(t *testing.T, store Store)) {
	t.Helper()
	t.Run("file", func(t *testing.T) { test(t, FileStore()) })
	t.Run("redis", func(t *testing.T) { test(t, RedisStore(t)) })
}

// keyring makes the keyring file that edges on one Redis share.
func (s *Server) keyring(t testing.TB) string {
	t.Helper()
	path := filepath.Join(s.Dir, "keys.json")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	if err := os.WriteFile(path, []byte(s.Command(t, "webtask", "keygen")), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
