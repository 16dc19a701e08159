package sessionstore

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/webtask-edge/caddy-webtask/tests/redistest"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

// wantUnavailable calls everything a store has, and wants each call to fail as
// one of a store that is down.
func wantUnavailable(t *testing.T, s store) {
	t.Helper()
	_, err := s.Load(t.Context(), session1, hour)
	wantError(t, err, webtask.ErrStoreUnavailable)
	_, err = s.Save(t.Context(), session1, set("a", "1"))
	wantError(t, err, webtask.ErrStoreUnavailable)
	wantError(t, s.Revoke(t.Context(), "jti", time.Time{}), webtask.ErrStoreUnavailable)
	_, _, _, err = s.Revocations(t.Context(), 0)
	wantError(t, err, webtask.ErrStoreUnavailable)
	_, err = s.Take(t.Context(), time.Now(), []webtask.RateWindow{{Key: "a", Period: hour, Limit: 1}})
	wantError(t, err, webtask.ErrStoreUnavailable)
	wantError(t, s.Ping(t.Context()), webtask.ErrStoreUnavailable)
}

func TestRedisDownAndBack(t *testing.T) {
	srv := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	core, logs := observer.New(zap.InfoLevel)
	s := openRedis(t, RedisOptions{Addresses: []string{srv.Addr()}, Logger: zap.New(core)})
	c := newClock()
	s.whole.now = c.Now
	save(t, s, session1, set("a", "1"))

	srv.Kill()
	_, err := s.Load(t.Context(), session1, hour) // on a connection that is gone
	wantError(t, err, webtask.ErrStoreUnavailable)
	wantUnavailable(t, s)
	_, err = s.Load(t.Context(), session1, hour)
	if !strings.Contains(err.Error(), srv.Addr()) || !strings.Contains(err.Error(), "not tried again") {
		t.Fatalf("error of a server known to be down: %v", err)
	}

	srv.Restart()
	_, err = s.Load(t.Context(), session1, hour)
	wantError(t, err, webtask.ErrStoreUnavailable) // still within the pause
	c.Advance(breakerPause)
	wantValues(t, load(t, s, session1), "a", "1")
	save(t, s, session1, set("a", "2"))

	down := logs.FilterMessage("session store is unreachable").Len()
	back := logs.FilterMessage("session store is reachable again").Len()
	if down != 1 || back != 1 {
		t.Fatalf("logged %d times down and %d times back, want once each", down, back)
	}
}

// A server that accepts connections and never answers costs the first callers
// the timeout, and the others nothing.
func TestRedisHangs(t *testing.T) {
	srv := redistest.Start(t)
	s := openRedis(t, RedisOptions{Addresses: []string{srv.Addr()}, Timeout: 300 * time.Millisecond})
	c := newClock()
	s.whole.now = c.Now
	save(t, s, session1, set("a", "1"))
	srv.Pause()
	_, err := s.Load(t.Context(), session1, hour)
	wantError(t, err, webtask.ErrStoreUnavailable)
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			_, err := s.Load(t.Context(), session1, hour)
			if !errors.Is(err, webtask.ErrStoreUnavailable) || !strings.Contains(err.Error(), "not tried again") {
				t.Errorf("error of a server known to hang: %v", err)
			}
		})
	}
	group.Wait()
	srv.Resume()
	c.Advance(breakerPause)
	wantValues(t, load(t, s, session1), "a", "1")
}

func TestRedisNeverThere(t *testing.T) {
	srv := redistest.Start(t)
	srv.Kill()
	for name, options := range map[string]RedisOptions{
		"standalone": {Addresses: []string{srv.Addr()}},
		"cluster":    {Addresses: []string{srv.Addr()}, Cluster: true},
		"sentinel":   {Addresses: []string{srv.Addr()}, MasterName: "x"},
	} {
		t.Run(name, func(t *testing.T) { wantUnavailable(t, openRedis(t, options)) })
	}
}

func TestSentinelFailover(t *testing.T) {
	sentinel := redistest.StartSentinel(t)
	s := openRedis(t, RedisOptions{Addresses: sentinel.Addrs(), MasterName: redistest.MasterName})
	c := newClock()
	s.whole.now = c.Now
	save(t, s, session1, set("a", "1"))
	// The replica must have it, or losing it would be no fault of the store's.
	if n, err := sentinel.Master.Client().Wait(t.Context(), 1, time.Minute).Result(); err != nil || n != 1 {
		t.Fatalf("waiting for the replica: %d, %v", n, err)
	}

	sentinel.Failover()
	for {
		_, err := s.Load(t.Context(), session1, hour)
		if err == nil {
			break
		}
		wantError(t, err, webtask.ErrStoreUnavailable)
		c.Advance(breakerPause)
	}
	wantValues(t, save(t, s, session1, set("b", "2")), "a", "1", "b", "2")
	if n := sentinel.Replica.Client().DBSize(t.Context()).Val(); n == 0 {
		t.Fatal("nothing is on the new master")
	}
}

// A node of a Cluster that is down takes only its own containers with it.
func TestClusterNodeDown(t *testing.T) {
	cluster := redistest.StartCluster(t, "--cluster-require-full-coverage", "no", "--cluster-node-timeout", "60000")
	s := openRedis(t, RedisOptions{Addresses: cluster.Addrs()})
	var refs []webtask.SessionRef
	nodes := map[webtask.SessionRef]*redistest.Server{}
	perNode := map[*redistest.Server]int{}
	for _, container := range strings.Fields("a b c d e f g h i j k l m n o p") {
		ref := webtask.SessionRef{Container: container, ID: "x"}
		save(t, s, ref, set("a", "1"))
		refs = append(refs, ref)
		nodes[ref] = cluster.NodeOf(t, s.sessionKey(ref.Container, ref.ID))
		perNode[nodes[ref]]++
	}
	if len(perNode) != len(cluster.Nodes) {
		t.Fatalf("containers are on %d of %d nodes", len(perNode), len(cluster.Nodes))
	}
	dead := cluster.Nodes[1]
	dead.Kill()
	for range 3 {
		for _, ref := range refs {
			_, err := s.Load(t.Context(), ref, hour)
			if nodes[ref] == dead {
				wantError(t, err, webtask.ErrStoreUnavailable)
			} else if err != nil {
				t.Fatalf("container %s, whose node is up: %v", ref.Container, err)
			}
		}
	}
}

// A write whose answer is lost has happened once, and is not sent again.
func TestRedisLostAnswer(t *testing.T) {
	cluster := redistest.StartCluster(t)
	for name, options := range map[string]RedisOptions{
		"standalone": {Addresses: []string{redistest.Start(t).Addr()}},
		"cluster":    {Addresses: cluster.Addrs()},
	} {
		t.Run(name, func(t *testing.T) {
			universal, err := options.universal()
			if err != nil {
				t.Fatal(err)
			}
			var lose atomic.Bool
			universal.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := new(net.Dialer).DialContext(ctx, network, addr)
				return &losingConn{conn, &lose}, err
			}
			s := newRedis(options, universal)
			t.Cleanup(func() { closeStore(t, s) })
			c := newClock()
			s.whole.now = c.Now
			before := save(t, s, session1, set("a", "1")).Entries["a"].Version

			lose.Store(true)
			_, err = s.Save(t.Context(), session1, set("a", "2"))
			wantError(t, err, webtask.ErrStoreUnavailable)
			if lose.Load() {
				t.Fatal("no answer was lost")
			}
			other := openRedis(t, options)
			if after := load(t, other, session1).Entries["a"].Version; after != before+1 {
				t.Fatalf("the write happened %d times", after-before)
			}
		})
	}
}

// losingConn breaks instead of delivering what arrives when lose is set, once.
type losingConn struct {
	net.Conn
	lose *atomic.Bool
}

func (c *losingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && c.lose.CompareAndSwap(true, false) {
		return 0, io.EOF
	}
	return n, err
}

func TestRedisScriptsAreLoadedAgain(t *testing.T) {
	srv := redistest.Start(t)
	s := openRedis(t, RedisOptions{Addresses: []string{srv.Addr()}})
	save(t, s, session1, set("a", "1"))
	if err := srv.Client().ScriptFlush(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	wantValues(t, save(t, s, session1, set("b", "2")), "a", "1", "b", "2")
}

// Where Redis's memory is full, sessions can be read and removed, not written.
func TestRedisOutOfMemory(t *testing.T) {
	srv := redistest.Start(t, "--maxmemory-policy", "noeviction")
	s := openRedis(t, RedisOptions{Addresses: []string{srv.Addr()}})
	save(t, s, session1, set("a", "1"))
	age(t, srv.Client(), DefaultKeyPrefix, 30*time.Minute) // so that reading would restart its time
	if err := srv.Client().ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	wantValues(t, load(t, s, session1), "a", "1")
	_, err := s.Save(t.Context(), session1, set("a", "2"))
	wantError(t, err, webtask.ErrStoreUnavailable)
	wantValues(t, load(t, s, session1), "a", "1")
	save(t, s, session1, &webtask.SessionChange{Destroy: true})
	wantAbsent(t, s, session1)
}

func TestRedisACLAndTLS(t *testing.T) {
	const password = "s3cret-of-the-edge"
	srv := redistest.StartTLS(t, strings.Fields("--user default off --user edge on >"+password+
		" ~webtask:* resetchannels -@all +eval +evalsha +exists +hget +hgetall +hset +hsetnx +hdel +hmget +del"+
		" +rename +time +pexpire +pexpireat +pttl +zadd +zrem +zcount +zrangebyscore +zscore +get +incr")...)
	secure, err := RedisTLS{CAFile: srv.CAPath()}.Config()
	if err != nil {
		t.Fatal(err)
	}
	options := RedisOptions{Addresses: []string{srv.Addr()}, Username: "edge", Password: password, TLS: secure}
	s := openRedis(t, options)
	change := set("a", "1")
	change.MaxBytes, change.MaxSessions = 100, 100
	wantValues(t, save(t, s, session1, change), "a", "1")
	change.MoveTo = "session-2"
	wantValues(t, save(t, s, session1, change), "a", "1")
	moved := webtask.SessionRef{Container: session1.Container, ID: "session-2"}
	wantValues(t, load(t, s, moved), "a", "1")
	save(t, s, moved, &webtask.SessionChange{Destroy: true})
	if err := s.Revoke(t.Context(), "jti", time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := s.Revocations(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	take(t, s, time.Now().Truncate(hour), 0, webtask.RateWindow{Key: "a", Period: hour, Limit: 1})
	if err := s.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}

	wrong := options
	wrong.Password = "wr0ng-password"
	noTLS := options
	noTLS.TLS = nil
	noTLS.Timeout = 300 * time.Millisecond
	unknownCA := options
	unknownCA.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	nobody := options
	nobody.Username, nobody.Password = "", ""
	otherPrefix := options
	otherPrefix.KeyPrefix = "elsewhere"
	for name, c := range map[string]struct {
		options RedisOptions
		says    string
	}{
		"wrong password":   {wrong, "check the store's username and password"},
		"no password":      {nobody, "check the store's username and password"},
		"forbidden prefix": {otherPrefix, "check the store's username and password"},
		"without TLS":      {noTLS, ""},
		"unknown CA":       {unknownCA, "certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			s := openRedis(t, c.options)
			wantUnavailable(t, s)
			_, err := openRedis(t, c.options).Load(t.Context(), session1, hour)
			if !strings.Contains(err.Error(), c.says) {
				t.Fatalf("error %q does not say %q", err, c.says)
			}
			for _, secret := range []string{password, wrong.Password} {
				if strings.Contains(err.Error(), secret) {
					t.Fatalf("the error shows the password: %v", err)
				}
			}
		})
	}
}

func TestRedisErrorsHideSecrets(t *testing.T) {
	s := openRedis(t, RedisOptions{Password: "hidden-1", SentinelPassword: "hidden-2"})
	err := s.fail(errors.New("ERR unknown command 'AUTH hidden-1 hidden-2'"))
	if strings.Contains(err.Error(), "hidden") {
		t.Fatalf("shown: %v", err)
	}
	wantError(t, err, webtask.ErrStoreUnavailable)
}

func TestRedisOptionsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		options RedisOptions
		says    string
	}{
		"url":             {RedisOptions{Addresses: []string{"redis://u:pw-in-url@h:1"}}, "write host:port"},
		"userinfo":        {RedisOptions{Addresses: []string{"u:pw-in-url@h:1"}}, "write host:port"},
		"empty address":   {RedisOptions{Addresses: []string{""}}, "must not be empty"},
		"bad address":     {RedisOptions{Addresses: []string{"a:b:c"}}, "write host:port"},
		"cluster with db": {RedisOptions{Addresses: []string{"a:1", "b:1"}, DB: 1}, "only db 0"},
		"negative db":     {RedisOptions{DB: -1}, "negative"},
		"braces":          {RedisOptions{KeyPrefix: "a{b}"}, "braces"},
		"two modes":       {RedisOptions{MasterName: "m", Cluster: true}, "exclude each other"},
		"two sockets":     {RedisOptions{Addresses: []string{"/a.sock", "/b.sock"}}, "one standalone server"},
		"timeout":         {RedisOptions{Timeout: -1}, "negative"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := NewRedis(c.options)
			if err == nil {
				closeStore(t, s)
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "pw-in-url") {
				t.Fatalf("error: %v", err)
			}
		})
	}
}

func TestRedisAddresses(t *testing.T) {
	for _, c := range []struct {
		options RedisOptions
		want    string
	}{
		{RedisOptions{}, "127.0.0.1:6379"},
		{RedisOptions{MasterName: "m"}, "127.0.0.1:26379"},
		{RedisOptions{Addresses: []string{"redis"}}, "redis:6379"},
		{RedisOptions{Addresses: []string{"redis", "other:7000"}}, "redis:6379 other:7000"},
		{RedisOptions{Addresses: []string{"s1", "s2"}, MasterName: "m"}, "s1:26379 s2:26379"},
		{RedisOptions{Addresses: []string{"[::1]"}}, "[::1]:6379"},
		{RedisOptions{Addresses: []string{"::1"}}, "[::1]:6379"},
		{RedisOptions{Addresses: []string{"/run/redis.sock"}}, "/run/redis.sock"},
	} {
		universal, err := c.options.universal()
		if err != nil {
			t.Fatalf("%v: %v", c.options.Addresses, err)
		}
		if got := strings.Join(universal.Addrs, " "); got != c.want {
			t.Fatalf("%v became %s, want %s", c.options.Addresses, got, c.want)
		}
	}
}

func TestRedisUnixSocketAndDB(t *testing.T) {
	socket := t.TempDir() + "/redis.sock"
	srv := redistest.Start(t, "--unixsocket", socket)
	s := openRedis(t, RedisOptions{Addresses: []string{socket}, DB: 3})
	save(t, s, session1, set("a", "1"))
	info := srv.Client().Info(t.Context(), "keyspace").Val()
	if !strings.Contains(info, "db3:") || strings.Contains(info, "db0:") {
		t.Fatalf("keys are not in db 3: %s", info)
	}
}

func TestRedisTLSFilesRefused(t *testing.T) {
	noPEM := t.TempDir() + "/ca.pem"
	writeTestFile(t, noPEM, "no certificate")
	for name, c := range map[string]struct {
		files RedisTLS
		says  string
	}{
		"missing CA":       {RedisTLS{CAFile: "/nonexistent/ca.pem"}, "/nonexistent/ca.pem"},
		"CA without PEM":   {RedisTLS{CAFile: noPEM}, "no PEM certificate"},
		"cert without key": {RedisTLS{CertFile: noPEM}, "both"},
		"bad pair":         {RedisTLS{CertFile: noPEM, KeyFile: noPEM}, "client certificate"},
	} {
		if _, err := c.files.Config(); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRedisClosed(t *testing.T) {
	srv := redistest.Start(t)
	s := openRedis(t, RedisOptions{Addresses: []string{srv.Addr()}})
	save(t, s, session1, set("a", "1"))
	closeStore(t, s)
	wantUnavailable(t, s)
	closeStore(t, s) // again
}
