package redistest

import (
	"context"
	"crypto/x509"
	"os"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

func TestRestartKeepsAddressAndFiles(t *testing.T) {
	ctx := context.Background()
	srv := Start(t, "--appendonly", "yes", "--appendfsync", "always")
	addr := srv.Addr()
	if err := srv.Client().Set(ctx, "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	srv.Kill()
	if srv.Pid() != 0 {
		t.Fatalf("pid %d after Kill", srv.Pid())
	}
	if err := srv.Client().Ping(ctx).Err(); err == nil {
		t.Fatal("a killed server answers")
	}
	srv.Restart()
	if srv.Addr() != addr {
		t.Fatalf("address changed from %s to %s", addr, srv.Addr())
	}
	if got, err := srv.Client().Get(ctx, "k").Result(); err != nil || got != "v" {
		t.Fatalf("after restart: %q, %v", got, err)
	}
}

func TestClusterServesEverySlot(t *testing.T) {
	ctx := context.Background()
	cluster := StartCluster(t)
	seen := map[*Server]bool{}
	for _, key := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		node := cluster.NodeOf(t, key)
		seen[node] = true
		if err := node.Client().Set(ctx, key, "v", 0).Err(); err != nil {
			t.Fatalf("%s on the node of its slot: %v", key, err)
		}
	}
	if len(seen) != len(cluster.Nodes) {
		t.Fatalf("keys fell on %d of %d nodes", len(seen), len(cluster.Nodes))
	}
}

func TestSentinelFailover(t *testing.T) {
	ctx := context.Background()
	s := StartSentinel(t)
	if err := s.Master.Client().Set(ctx, "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	s.Failover()
	if err := s.Replica.Client().Set(ctx, "k", "w", 0).Err(); err != nil {
		t.Fatalf("the promoted replica takes no writes: %v", err)
	}
}

func TestTLSOnly(t *testing.T) {
	ctx := context.Background()
	srv := StartTLS(t)
	if err := srv.Client().Ping(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	plain := redis.NewClient(&redis.Options{Addr: srv.Addr(), MaxRetries: -1})
	defer plain.Close()
	if err := plain.Ping(ctx).Err(); err == nil {
		t.Fatal("the server answers without TLS")
	}
	pemFile, err := os.ReadFile(srv.CAPath())
	if err != nil || !x509.NewCertPool().AppendCertsFromPEM(pemFile) {
		t.Fatalf("%s: no certificate (%v)", srv.CAPath(), err)
	}
}

func TestMissingBinarySaysHowToInstall(t *testing.T) {
	t.Setenv("REDIS_SERVER", "no-such-redis-server")
	_, err := serverPath()
	if err == nil || !strings.Contains(err.Error(), "apt-get install redis-server") {
		t.Fatalf("error %v names no remedy", err)
	}
}
