package sessionbackend

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/webtask-edge/caddy-webtask/sessionstore"
	"github.com/webtask-edge/caddy-webtask/tests/redistest"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

const testLease = 3 * time.Second

// fleet is some edges that share a Redis, and a driver that sees all backends.
type fleet struct {
	*testing.T
	redis  *redistest.Server
	driver *localDriver
	edges  []*testEdge
}

type testEdge struct {
	fleet *fleet
	dir   string
	name  string
	node  *Node
	store LeaseStore
	*Cluster
	*Service
}

func newFleet(t *testing.T, count int) *fleet {
	f := &fleet{T: t, redis: redistest.Start(t), driver: newLocalDriver(t)}
	// What a new Redis does not know would be nobody's at first.
	leases := f.leases()
	client := f.redis.Client()
	for shard := range webtask.LeaseShards {
		if _, err := leases.Owner(t.Context(), shard, "k"); err != nil {
			t.Fatal(err)
		}
		if err := client.HSet(t.Context(), fmt.Sprintf("webtask:{backends:%02d}:meta", shard), "quiet", 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for n := range count {
		f.edges = append(f.edges, &testEdge{fleet: f, dir: t.TempDir(), name: fmt.Sprint("edge", n), store: f.leases()})
		f.edges[n].start()
	}
	t.Cleanup(func() {
		for _, e := range f.edges {
			e.close()
		}
		if f.driver.twice {
			t.Error("there were two backends of a key at once")
		}
	})
	return f
}

func (f *fleet) leases() *sessionstore.Leases {
	f.Helper()
	leases, err := sessionstore.NewLeases(sessionstore.RedisOptions{Addresses: []string{f.redis.Addr()}}, testLease)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { leases.Close() })
	return leases
}

func (e *testEdge) start() {
	e.fleet.Helper()
	e.node = NewNode(e.dir, nil)
	var err error
	e.Cluster, err = NewCluster(ClusterOptions{
		Name: e.name, Node: e.node, Store: e.store, Lease: testLease,
		Settle: func(context.Context) error { return nil },
		Begin:  func(context.Context, string) (string, error) { return e.name + ":7946", nil },
	})
	if err != nil {
		e.fleet.Fatal(err)
	}
	e.Cluster.Start()
	e.Service = NewService("docs", ServiceOptions{Ownership: e.Cluster})
	if err := e.Service.Configure(Config{Driver: e.fleet.driver, Idle: -1, ClientStarts: -1}); err != nil {
		e.fleet.Fatal(err)
	}
}

func (e *testEdge) close() {
	ctx := context.Background()
	if err := e.Service.Close(ctx); err != nil {
		e.fleet.Error(err)
	}
	e.Cluster.Close(ctx)
	if err := e.node.Close(); err != nil {
		e.fleet.Error(err)
	}
}

// crash ends an edge without a word. Its backends are there still.
func (e *testEdge) crash() {
	e.Cluster.cancel()
	e.Cluster.running.Wait()
	if err := e.node.Close(); err != nil {
		e.fleet.Error(err)
	}
}

// get acquires until it is given a backend, here or elsewhere.
func (e *testEdge) get(key string) (*Backend, *HeldError) {
	e.fleet.Helper()
	ctx, cancel := context.WithTimeout(e.fleet.Context(), time.Minute)
	defer cancel()
	for {
		b, err := e.Service.Acquire(ctx, key, Caller{})
		var held *HeldError
		var later interface{ RetryAfter() time.Duration }
		switch {
		case err == nil || errors.As(err, &held):
			return b, held
		case errors.As(err, &later):
			<-time.After(50 * time.Millisecond)
		default:
			e.fleet.Fatalf("%s: %v", e.name, err)
		}
	}
}

// own wants the backend of a key here.
func (e *testEdge) own(key string) *Backend {
	e.fleet.Helper()
	for {
		b, held := e.get(key)
		if held == nil {
			return b
		}
		e.Forget("docs", key, held.Owner)
		<-time.After(20 * time.Millisecond)
	}
}

// A thousand first requests at three edges start one backend, and all edges know
// where it is.
func TestClusterStartsOne(t *testing.T) {
	f := newFleet(t, 3)
	var wg sync.WaitGroup
	var here atomic.Int64
	ids := sync.Map{}
	for n := range 1000 {
		wg.Go(func() {
			b, held := f.edges[n%3].get("a")
			if held != nil {
				ids.Store(held.Owner.Backend, held.Owner.Fence)
				return
			}
			here.Add(1)
			ids.Store(b.ID, b.Fence)
			b.Release()
		})
	}
	wg.Wait()
	count := 0
	for id, fence := range ids.Range {
		count++
		if id != f.driver.last().ID || fence != f.driver.last().Fence {
			t.Errorf("somebody was told of %v with the token %v, and there is %+v", id, fence, f.driver.last().Identity)
		}
	}
	if f.driver.starts() != 1 || count != 1 || here.Load() == 0 || here.Load() == 1000 {
		t.Errorf("%d backends were started; %d requests were served where it is", f.driver.starts(), here.Load())
	}
	known := 0
	for _, e := range f.edges {
		if held := e.Elsewhere("docs", "a"); held != nil && held.Owner.Address == held.Owner.Name+":7946" {
			known++
		}
	}
	if known != 2 {
		t.Errorf("%d edges know that it is elsewhere", known)
	}
}

// When its owner has gone, others need not wait, and the token is larger.
func TestClusterLeaves(t *testing.T) {
	f := newFleet(t, 2)
	first := f.edges[0].own("a")
	first.Release()
	if b, held := f.edges[1].get("a"); held == nil || held.Owner.Backend != first.ID {
		t.Fatalf("another edge is given %v, %v", b, held)
	}
	f.edges[0].Drain()
	<-first.Gone()
	began := time.Now()
	second := f.edges[1].own("a")
	second.Release()
	if waited := time.Since(began); waited > testLease/2 {
		t.Errorf("the next owner waited %v", waited)
	}
	if second.Fence <= first.Fence {
		t.Errorf("the token %d follows %d", second.Fence, first.Fence)
	}
}

// While the store is away, what is there goes on until the lease is over, and then
// it is gone. Nothing else starts.
func TestClusterStoreAway(t *testing.T) {
	f := newFleet(t, 1)
	e := f.edges[0]
	first := e.own("a")
	first.Release()
	f.redis.Pause()
	b, err := e.Acquire(t.Context(), "a", Caller{})
	if err != nil {
		t.Errorf("what is there is refused: %v", err)
	} else {
		b.Release()
	}
	var unavailable *UnavailableError
	if _, err := e.Acquire(t.Context(), "b", Caller{}); !errors.As(err, &unavailable) || unavailable.RetryAfter() <= 0 {
		t.Errorf("what is not: %v", err)
	}
	deadline := first.Deadline()
	<-first.Gone()
	if late := -deadline.Until(Now()); late > testLease/8 {
		t.Errorf("it was gone %v after its deadline", late)
	}
	history, _ := first.History()
	if end := history[len(history)-1]; end.Reason != KeyExpired {
		t.Errorf("it ended as %+v", end)
	}
	f.redis.Resume()
	second := e.own("a")
	second.Release()
	if second.Fence <= first.Fence {
		t.Errorf("the token %d follows %d", second.Fence, first.Fence)
	}
}

// What the store forgets, its owner keeps, and no other edge gets.
func TestClusterStoreForgets(t *testing.T) {
	f := newFleet(t, 2)
	first := f.edges[0].own("a")
	defer first.Release()
	if err := f.redis.Client().FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	if b, held := f.edges[1].get("a"); held == nil || held.Owner.Backend != first.ID {
		t.Errorf("another edge is given %v, %v", b, held)
	}
	f.edges[1].own("b").Release() // when the time of quiet is over
	again := f.edges[0].own("a")
	again.Release()
	if again != first {
		t.Error("the owner has another backend")
	}
}

// When an edge dies, its keys are free once its leases have ended; to another life
// of it, which proves that nothing is left, at once.
func TestClusterEdgeDies(t *testing.T) {
	f := newFleet(t, 2)
	first := f.edges[0].own("a")
	first.Release()
	other := f.edges[0].own("b")
	other.Release()
	f.edges[0].crash()
	second := f.edges[1].own("a")
	second.Release()
	if second.Fence <= first.Fence {
		t.Errorf("the token %d follows %d", second.Fence, first.Fence)
	}
	crashed := *f.edges[1]
	third := f.edges[1].own("c")
	third.Release()
	crashed.crash()
	f.driver.killAll()
	f.edges[1].start()
	began := time.Now()
	fourth := f.edges[1].own("c")
	fourth.Release()
	if waited := time.Since(began); waited > testLease/2 || fourth.Fence <= third.Fence {
		t.Errorf("its next life waited %v, and has the token %d after %d", waited, fourth.Fence, third.Fence)
	}
	// The first is closed at the end, with what it thinks to have.
	f.edges[0].start()
	if err := crashed.Service.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// Two edges of one name are told apart.
func TestClusterSameName(t *testing.T) {
	f := newFleet(t, 1)
	f.edges[0].own("a").Release()
	twin := &testEdge{fleet: f, dir: t.TempDir(), name: "edge0", store: f.leases()}
	twin.start()
	f.edges = append(f.edges, twin)
	var unavailable *UnavailableError
	if _, err := twin.Acquire(t.Context(), "b", Caller{}); !errors.As(err, &unavailable) || !errors.Is(err, webtask.ErrLeaseOther) {
		t.Errorf("it is given %v", err)
	}
	f.edges[0].own("a").Release()
}

// slowStore has claims answered late.
type slowStore struct {
	LeaseStore
	hold atomic.Pointer[func()]
}

func (s *slowStore) Claim(ctx context.Context, shard int, node webtask.LeaseNode, claim webtask.LeaseClaim) (int64, *webtask.LeaseOwner, error) {
	fence, owner, err := s.LeaseStore.Claim(ctx, shard, node, claim)
	if hold := s.hold.Swap(nil); hold != nil {
		(*hold)()
	}
	return fence, owner, err
}

// What was claimed before the store forgot it, and is answered after the owner has
// told it what it has, is not owned.
func TestClusterLateClaim(t *testing.T) {
	f := newFleet(t, 0)
	slow := &slowStore{LeaseStore: f.leases()}
	e := &testEdge{fleet: f, dir: t.TempDir(), name: "edge", store: slow}
	e.start()
	f.edges = append(f.edges, e)
	e.own("first").Release()
	var claimed int64
	hold := func() {
		s := e.shardOf(keyOf("docs", "a"))
		s.mu.Lock()
		told := s.told
		s.mu.Unlock()
		last, err := f.redis.Client().HGet(t.Context(), fmt.Sprintf("webtask:{backends:%02d}:meta", s.number), "fence").Int64()
		claimed = last
		if err := errors.Join(err, f.redis.Client().FlushAll(t.Context()).Err()); err != nil {
			t.Error(err)
		}
		for again := told; again == told; <-time.After(10 * time.Millisecond) {
			s.mu.Lock()
			again = s.told
			s.mu.Unlock()
		}
	}
	slow.hold.Store(&hold)
	b := e.own("a")
	b.Release()
	if b.Fence <= claimed || claimed == 0 {
		t.Errorf("it has the token %d, which the store forgot; it was claimed with %d", b.Fence, claimed)
	}
	if held, err := e.store.Owner(t.Context(), e.shardOf(keyOf("docs", "a")).number, keyOf("docs", "a")); err != nil || held == nil || held.Fence != b.Fence {
		t.Errorf("the store knows %v, %v", held, err)
	}
}

// forgetful fails to tell the store what an edge has, as often as a test wants.
type forgetful struct {
	LeaseStore
	fails atomic.Int64
}

func (s *forgetful) Reassert(ctx context.Context, shard int, node webtask.LeaseNode, claims []webtask.LeaseClaim) ([]string, error) {
	if s.fails.Add(-1) >= 0 {
		return nil, webtask.ErrStoreUnavailable
	}
	return s.LeaseStore.Reassert(ctx, shard, node, claims)
}

// A store that forgot is told for as long as it takes.
func TestClusterTellsAgain(t *testing.T) {
	f := newFleet(t, 1)
	store := &forgetful{LeaseStore: f.leases()}
	e := &testEdge{fleet: f, dir: t.TempDir(), name: "edge", store: store}
	e.start()
	f.edges = append(f.edges, e)
	first := e.own("a")
	defer first.Release()
	store.fails.Store(1)
	if err := f.redis.Client().FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	f.edges[0].own("b").Release() // when the time of quiet is over
	if b, held := f.edges[0].get("a"); held == nil || held.Owner.Backend != first.ID {
		t.Errorf("another edge is given %v, %v", b, held)
	}
}

// What could not be given back is given back later on.
func TestClusterGivesBack(t *testing.T) {
	f := newFleet(t, 1)
	e := f.edges[0]
	first := e.own("a")
	first.Release()
	f.redis.Pause()
	<-e.Terminate("a", Soft)
	f.redis.Resume()
	key := keyOf("docs", "a")
	for {
		owner, err := e.store.Owner(t.Context(), e.shardOf(key).number, key)
		if err == nil && owner == nil {
			break
		}
		<-time.After(20 * time.Millisecond)
	}
}
