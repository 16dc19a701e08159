package sessionstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/webtask-edge/caddy-webtask/tests/redistest"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

const testShard = 7

// leaser is a node with leases, as tests use it.
type leaser struct {
	*Leases
	t    *testing.T
	node webtask.LeaseNode
}

func (l *leaser) renew(gone string) webtask.LeaseRenewal {
	l.t.Helper()
	renewals := []webtask.LeaseRenewal{{Shard: testShard, Incarnation: l.node.Incarnation, Gone: gone}}
	l.Renew(l.t.Context(), l.node, renewals)
	return renewals[0]
}

func (l *leaser) claim(key string) (int64, *webtask.LeaseOwner) {
	l.t.Helper()
	fence, owner, err := l.Claim(l.t.Context(), testShard, l.node, webtask.LeaseClaim{Key: key, Backend: "b-" + l.node.Name})
	if err != nil {
		l.t.Fatalf("%s claims %s: %v", l.node.Name, key, err)
	}
	return fence, owner
}

// claimErr wants a claim refused.
func (l *leaser) claimErr(key string) error {
	l.t.Helper()
	fence, owner, err := l.Claim(l.t.Context(), testShard, l.node, webtask.LeaseClaim{Key: key, Backend: "b"})
	if err == nil {
		l.t.Fatalf("%s gets %s: %d, %v", l.node.Name, key, fence, owner)
	}
	return err
}

// eachRedis runs a test with two nodes that have leases, in each form of Redis.
func eachRedis(t *testing.T, ttl time.Duration, test func(t *testing.T, a, b *leaser, lose func())) {
	run := func(options RedisOptions, servers ...*redistest.Server) func(*testing.T) {
		return func(t *testing.T) {
			nodes := make([]*leaser, 2)
			for i, name := range []string{"a", "b"} {
				leases, err := NewLeases(options, ttl)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { leases.Close() })
				leases.redis.timeout = DefaultRedisTimeout
				nodes[i] = &leaser{leases, t, webtask.LeaseNode{Name: name, Incarnation: name + "1.0", Address: "[::1]:7946"}}
				if got := nodes[i].renew(""); got.Err != nil || !got.Taken {
					t.Fatalf("the first lease of %s: %+v", name, got)
				}
			}
			nodes[0].endQuiet()
			test(t, nodes[0], nodes[1], func() {
				for _, server := range servers {
					client := server.Client()
					if err := client.FlushAll(t.Context()).Err(); err != nil {
						t.Fatal(err)
					}
				}
			})
		}
	}
	standalone := redistest.Start(t)
	t.Run("redis", run(RedisOptions{Addresses: []string{standalone.Addr()}}, standalone))
	cluster := redistest.StartCluster(t)
	t.Run("cluster", run(RedisOptions{Addresses: cluster.Addrs()}, cluster.Nodes...))
	sentinel := redistest.StartSentinel(t)
	t.Run("sentinel", run(RedisOptions{Addresses: sentinel.Addrs(), MasterName: redistest.MasterName}, sentinel.Master))
}

// endQuiet ends the time in which a new server gives nothing away.
func (l *leaser) endQuiet() {
	l.t.Helper()
	if err := l.redis.client.HSet(l.t.Context(), l.keys(testShard)[2], "quiet", "0").Err(); err != nil {
		l.t.Fatal(err)
	}
}

func TestLeaseOfKey(t *testing.T) {
	eachRedis(t, time.Minute, func(t *testing.T, a, b *leaser, _ func()) {
		first, _ := a.claim("docs\x00{x}|y")
		if _, owner := b.claim("docs\x00{x}|y"); owner == nil || owner.LeaseNode != a.node || owner.Fence != first || owner.Backend != "b-a" {
			t.Errorf("another node is told that %+v has it", owner)
		}
		owner, err := b.Owner(t.Context(), testShard, "docs\x00{x}|y")
		if err != nil || owner == nil || owner.Name != "a" {
			t.Errorf("the owner is %v, %v", owner, err)
		}
		again, _ := a.claim("docs\x00{x}|y")
		if again <= first {
			t.Errorf("the next process of its owner has the token %d after %d", again, first)
		}
		release := func(fence int64) {
			t.Helper()
			if err := a.Release(t.Context(), testShard, a.node, webtask.LeaseClaim{Key: "docs\x00{x}|y", Fence: fence}); err != nil {
				t.Fatal(err)
			}
		}
		release(first) // of a process before
		if owner, _ := b.Owner(t.Context(), testShard, "docs\x00{x}|y"); owner == nil {
			t.Error("an old token gives the key of a new one back")
		}
		release(again)
		if owner, err := b.Owner(t.Context(), testShard, "docs\x00{x}|y"); owner != nil || err != nil {
			t.Errorf("after it was given back it is %v's, %v", owner, err)
		}
		if third, _ := b.claim("docs\x00{x}|y"); third <= again {
			t.Errorf("the next owner has the token %d after %d", third, again)
		}
		// A token is never less than an edge asks for.
		fence, _, err := a.Claim(t.Context(), testShard, a.node, webtask.LeaseClaim{Key: "other", Backend: "b", Fence: 1 << 52})
		if err != nil || fence != 1<<52 {
			t.Errorf("the token is %d, %v", fence, err)
		}
	})
}

func TestLeaseOfNode(t *testing.T) {
	eachRedis(t, time.Minute, func(t *testing.T, a, b *leaser, _ func()) {
		if got := a.renew(""); got.Err != nil || got.Taken || len(got.Run) <= len("run:") {
			t.Errorf("a lease that there is: %+v", got)
		}
		fence, _ := a.claim("k")
		next := *a
		next.node.Incarnation = "a2.0"
		if got := next.renew(""); !errors.Is(got.Err, webtask.ErrLeaseOther) {
			t.Errorf("a second server of that name: %+v", got)
		}
		if err := next.claimErr("k"); !errors.Is(err, webtask.ErrLeaseNone) {
			t.Errorf("without a lease: %v", err)
		}
		for _, gone := range []string{"a", "a1.", "a11", "b1"} {
			if got := next.renew(gone); !errors.Is(got.Err, webtask.ErrLeaseOther) {
				t.Errorf("%q is taken for a1.0: %+v", gone, got)
			}
		}
		// Nothing is left of the first: there is no need to wait.
		if got := next.renew("a1"); got.Err != nil || !got.Taken {
			t.Errorf("its successor: %+v", got)
		}
		if second, owner := b.claim("k"); owner != nil || second <= fence {
			t.Errorf("a key of an incarnation that is gone: %d, %v", second, owner)
		}
		if err := a.Leave(t.Context(), testShard, a.node); err != nil {
			t.Fatal(err)
		}
		if got := next.renew(""); got.Err != nil || got.Taken {
			t.Errorf("the old incarnation gave back the lease of the new one: %+v", got)
		}
	})
}

// While Redis may lack the newest, a lease that is over there may have been put off.
func TestLeaseOfOldCopy(t *testing.T) {
	eachRedis(t, time.Minute, func(t *testing.T, a, b *leaser, _ func()) {
		ctx, keys := t.Context(), a.keys(testShard)
		a.claim("k")
		lags := map[string]any{"a": "a1.0|1|x"} // as it was on a replica
		if err := errors.Join(a.redis.client.HSet(ctx, keys[1], lags).Err(), a.redis.client.HSet(ctx, keys[2], "run", "another").Err()); err != nil {
			t.Fatal(err)
		}
		b.node.Incarnation = "b1.0"
		b.renew("")
		var quiet *webtask.QuietError
		if err := b.claimErr("k"); !errors.As(err, &quiet) {
			t.Errorf("the key of a lease that may have been put off: %v", err)
		}
		twin := *a
		twin.node.Incarnation = "a2.0"
		if got := twin.renew(""); !errors.Is(got.Err, webtask.ErrLeaseOther) {
			t.Errorf("another server of that name: %+v", got)
		}
	})
}

// A call that was given up, and is carried out after a later one, changes nothing.
func TestLateCall(t *testing.T) {
	eachRedis(t, time.Minute, func(t *testing.T, a, b *leaser, _ func()) {
		first := a.calls.Load()
		fence, _ := a.claim("k")
		for name, sc := range map[string]script{"claim": claimScript, "release": releaseScript, "reassert": reassertScript} {
			args := map[string][]any{"claim": {"k", "late", 0}, "release": {"k", ""}, "reassert": {"k", 1, "late"}}[name]
			words, err := a.call(t.Context(), sc, testShard, append([]any{a.node.Name, a.node.Incarnation, first}, args...)...)
			if err != nil || words[0] != "late" {
				t.Errorf("%s: %v, %v", name, words, err)
			}
		}
		if _, owner := b.claim("k"); owner == nil || owner.Fence != fence || owner.Backend != "b-a" {
			t.Errorf("it is %v's", owner)
		}
		// One that is overtaken by others is made again.
		var wg sync.WaitGroup
		for n := range 50 {
			wg.Go(func() { a.claim(fmt.Sprint("k", n)) })
		}
		wg.Wait()
	})
}

func TestLeaseEnds(t *testing.T) {
	const ttl = 400 * time.Millisecond
	eachRedis(t, ttl, func(t *testing.T, a, b *leaser, _ func()) {
		for got := a.renew(""); got.Err != nil; got = a.renew("") { // the set-up may have taken longer
			a.node.Incarnation += "0"
		}
		fence, _ := a.claim("k")
		<-time.After(2 * ttl)
		if got := a.renew(""); !errors.Is(got.Err, webtask.ErrLeaseExpired) {
			t.Errorf("a lease that is over: %+v", got)
		}
		b.node.Incarnation = "b2.0"
		if got := b.renew(""); got.Err != nil {
			t.Fatal(got.Err)
		}
		second, owner := b.claim("k")
		if owner != nil || second <= fence {
			t.Errorf("its key: %d, %v", second, owner)
		}
		lost, err := b.Reassert(t.Context(), testShard, b.node, []webtask.LeaseClaim{{Key: "k", Fence: second, Backend: "b-b"}, {Key: "k2", Fence: 5, Backend: "x"}})
		if err != nil || !slices.Equal(lost, []string{"k2"}) {
			t.Errorf("of what it has and has not, it has lost %v, %v", lost, err)
		}
	})
}

// What a Redis forgets, those who have it tell it again, and nobody else gets it
// meanwhile.
func TestLeaseForgotten(t *testing.T) {
	eachRedis(t, time.Minute, func(t *testing.T, a, b *leaser, lose func()) {
		fence, _ := a.claim("k")
		run := a.renew("").Run
		lose()
		got := b.renew("")
		if !got.Taken || got.Run == run {
			t.Errorf("a Redis that was flushed: %+v", got)
		}
		var quiet *webtask.QuietError
		if err := b.claimErr("k"); !errors.As(err, &quiet) || quiet.After < 50*time.Second || quiet.After > 62*time.Second {
			t.Errorf("what it does not know: %v", err)
		}
		if _, err := a.Reassert(t.Context(), testShard, a.node, nil); !errors.Is(err, webtask.ErrLeaseNone) {
			t.Errorf("who has no lease can reassert: %v", err)
		}
		a.renew("")
		claims := []webtask.LeaseClaim{{Key: "k", Fence: fence, Backend: "b-a"}}
		if lost, err := a.Reassert(t.Context(), testShard, a.node, claims); err != nil || len(lost) > 0 {
			t.Errorf("what was told again is lost: %v, %v", lost, err)
		}
		if _, owner := b.claim("k"); owner == nil || owner.Fence != fence || owner.Name != "a" {
			t.Errorf("then it is %v's", owner)
		}
		a.endQuiet()
		if again, _ := b.claim("k2"); again <= fence {
			t.Errorf("the next token is %d after %d", again, fence)
		}
		claims[0] = webtask.LeaseClaim{Key: "k3", Fence: 1 << 51, Backend: "b-a"}
		if lost, err := a.Reassert(t.Context(), testShard, a.node, claims); err != nil || !slices.Equal(lost, []string{"k3"}) {
			t.Errorf("what comes too late is kept: %v, %v", lost, err)
		}
		if next, _ := b.claim("k4"); next <= 1<<51 {
			t.Errorf("the token %d is less than one that there has been", next)
		}
	})
}

// A Redis that was restarted with all its data may still have lost the newest.
func TestLeaseAfterRestart(t *testing.T) {
	server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	leases, err := NewLeases(RedisOptions{Addresses: []string{server.Addr()}}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer leases.Close()
	a := &leaser{leases, t, webtask.LeaseNode{Name: "a", Incarnation: "a1.0"}}
	run := a.renew("").Run
	a.endQuiet()
	a.claim("k")
	server.Kill()
	if err := a.claimErr("k"); !errors.Is(err, webtask.ErrStoreUnavailable) {
		t.Errorf("while it is down: %v", err)
	}
	if got := a.renew(""); !errors.Is(got.Err, webtask.ErrStoreUnavailable) {
		t.Errorf("while it is down: %+v", got)
	}
	server.Restart()
	var got webtask.LeaseRenewal
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); <-time.After(10 * time.Millisecond) {
		got = a.renew("")
		if _, err := a.Owner(t.Context(), testShard, "k"); err == nil && got.Err == nil {
			break
		}
	}
	if got.Err != nil || got.Taken || got.Run == run {
		t.Errorf("after the restart: %+v, and the run before was %s", got, run)
	}
	var quiet *webtask.QuietError
	if err := a.claimErr("new"); !errors.As(err, &quiet) {
		t.Errorf("it gives away what it does not know: %v", err)
	}
	a.claim("k") // which is a's, as it knows
}

func TestLeasesArePruned(t *testing.T) {
	eachRedis(t, time.Minute, func(t *testing.T, a, b *leaser, _ func()) {
		ctx := t.Context()
		for n := range 300 {
			a.claim(fmt.Sprint("a", n))
			b.claim(fmt.Sprint("b", n))
		}
		if err := a.Leave(ctx, testShard, a.node); err != nil {
			t.Fatal(err)
		}
		var cursor uint64
		for {
			var err error
			if cursor, err = b.Prune(ctx, testShard, cursor); err != nil {
				t.Fatal(err)
			}
			if cursor == 0 {
				break
			}
		}
		left, err := b.redis.client.HLen(ctx, b.keys(testShard)[0]).Result()
		if err != nil || left != 300 {
			t.Errorf("%d keys are left of the 300 that have an owner, %v", left, err)
		}
	})
}

func TestLeasesEndInTime(t *testing.T) {
	server := redistest.Start(t)
	leases, err := NewLeases(RedisOptions{Addresses: []string{server.Addr()}, Timeout: time.Hour}, 3*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer leases.Close()
	a := &leaser{leases, t, webtask.LeaseNode{Name: "a", Incarnation: "a1.0"}}
	a.renew("")
	server.Pause()
	defer server.Resume()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- leases.Release(ctx, testShard, a.node, webtask.LeaseClaim{Key: "k"}) }()
	select {
	case err := <-done:
		if !errors.Is(err, webtask.ErrStoreUnavailable) {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("a call to a Redis that stands still goes on for longer than a lease")
	}
}
