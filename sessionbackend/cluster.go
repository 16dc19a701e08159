package sessionbackend

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"regexp"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// LeaseStore keeps who owns what, for all edges of a Cluster. The lease client of
// package sessionstore is one, and its methods are described there.
type LeaseStore interface {
	Renew(ctx context.Context, node webtask.LeaseNode, renewals []webtask.LeaseRenewal)
	Claim(ctx context.Context, shard int, node webtask.LeaseNode, claim webtask.LeaseClaim) (fence int64, owner *webtask.LeaseOwner, err error)
	Owner(ctx context.Context, shard int, key string) (*webtask.LeaseOwner, error)
	Reassert(ctx context.Context, shard int, node webtask.LeaseNode, claims []webtask.LeaseClaim) (lost []string, err error)
	Release(ctx context.Context, shard int, node webtask.LeaseNode, claim webtask.LeaseClaim) error
	Leave(ctx context.Context, shard int, node webtask.LeaseNode) error
	Prune(ctx context.Context, shard int, cursor uint64) (next uint64, err error)
}

// ClusterOptions say which of several edges this is. All but Logger and Now are
// needed.
type ClusterOptions struct {
	Name string // of the edge: letters, digits, `.`, `_` and `-`

	Node  *Node         // proves that nothing is left of a life before
	Store LeaseStore    // all edges have the same
	Lease time.Duration // how long a lease lasts; all edges have the same

	// Settle returns when nothing is left of the backends of an edge that had the
	// Node before. It, and Begin, are tried again when they fail.
	Settle func(context.Context) error

	// Begin readies the edge for requests of others in a life of it, and returns
	// host:port, where they reach it.
	Begin func(ctx context.Context, life string) (address string, err error)

	Logger *zap.Logger     // default: none
	Now    func() BootTime // default: Now
}

// Cluster is this edge as one of several, each of which owns the backends that it
// started. It is an Ownership.
//
// What an edge owns is divided into shards, of which it has a lease each. An owner
// puts its leases off at the store again and again, and reckons the end of each by
// its own clock, from before it asked: so it is over here before it is over there.
// By then its backends are gone, and only then another edge gets the keys.
//
// When the store was restarted it may have forgotten owners. It gives what it does
// not know to nobody for the time of a lease, in which those say so again.
type Cluster struct {
	options ClusterOptions
	margin  time.Duration // by which a lease is over here before it is over at the store
	notice  time.Duration // by which backends are asked to end before that
	shards  [webtask.LeaseShards]*shard
	routes  *routes
	poke    chan struct{}
	life    string // set, as address, before the shards begin
	address string

	cancel  context.CancelFunc
	running sync.WaitGroup
}

// Bounds of ClusterOptions.Lease, and its default.
const (
	DefaultLease = 15 * time.Second
	MinLease     = 2 * time.Second
	MaxLease     = 10 * time.Minute
)

var nodeName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// CheckNodeName reports what is wrong with the name of an edge.
func CheckNodeName(name string) error {
	if !nodeName.MatchString(name) {
		return fmt.Errorf("%q is no name of a server: write 1 to 64 letters, digits, dots, hyphens and underscores", name)
	}
	return nil
}

// NewCluster returns a Cluster, which is to be started.
func NewCluster(options ClusterOptions) (*Cluster, error) {
	if err := CheckNodeName(options.Name); err != nil {
		return nil, err
	}
	if options.Lease < MinLease || options.Lease > MaxLease {
		return nil, fmt.Errorf("a lease of %v is too short or too long; it can be %v to %v", options.Lease, MinLease, MaxLease)
	}
	if options.Logger == nil {
		options.Logger = zap.NewNop()
	}
	if options.Now == nil {
		options.Now = Now
	}
	c := &Cluster{
		options: options,
		margin:  options.Lease*2/15 + options.Lease/100, // the second part is for clocks that run at different speed
		notice:  options.Lease / 5,
		routes:  newRoutes(),
		poke:    make(chan struct{}, 1),
	}
	for n := range c.shards {
		c.shards[n] = newShard(c, n)
	}
	return c, nil
}

// Start takes part. It does not wait.
func (c *Cluster) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	c.running.Go(func() { c.run(ctx) })
}

// Close gives all leases back. Nothing may be left of any backend.
func (c *Cluster) Close(ctx context.Context) {
	if c.cancel == nil {
		return
	}
	c.cancel()
	c.running.Wait()
	var leaving sync.WaitGroup
	for _, s := range c.shards {
		leaving.Go(func() { s.leave(ctx) })
	}
	leaving.Wait()
}

// run is the Cluster's goroutine.
func (c *Cluster) run(ctx context.Context) {
	before, err := c.begin(ctx)
	if err != nil {
		return // ctx has ended
	}
	for _, s := range c.shards {
		s.begin(c.life, before)
	}
	var prune pruner
	for {
		wait := c.options.Lease / 5
		if c.renew(ctx) {
			prune.turn(ctx, c)
		} else {
			wait = c.options.Lease / 15
		}
		select {
		case <-time.After(wait):
		case <-c.poke:
		case <-ctx.Done():
			return
		}
	}
}

// begin begins a life when nothing is left of the ones before, of which it returns
// the last. It tries for as long as it takes.
func (c *Cluster) begin(ctx context.Context) (before string, err error) {
	for pause := time.Second; ; pause = min(2*pause, time.Minute) {
		if _, err = c.options.Node.Lock(ctx); err == nil {
			err = c.options.Settle(ctx)
		}
		if err == nil && c.life == "" {
			c.life, before, err = c.options.Node.begin(ctx)
		}
		if err == nil {
			if c.address, err = c.options.Begin(ctx, c.life); err == nil {
				return before, nil
			}
		}
		if ctx.Err() != nil {
			return "", err
		}
		c.options.Logger.Error("this server can have no session backends yet", zap.Error(err))
		for _, s := range c.shards {
			s.wait(err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// renew puts off all leases, and reports whether all of them were.
func (c *Cluster) renew(ctx context.Context) bool {
	var renewals []webtask.LeaseRenewal
	for _, s := range c.shards {
		if r, ok := s.renewal(); ok {
			renewals = append(renewals, r)
		}
	}
	sent := c.options.Now()
	c.options.Store.Renew(ctx, c.node(""), renewals)
	results := make([]bool, len(renewals))
	var told sync.WaitGroup
	for i, r := range renewals {
		told.Go(func() { results[i] = c.shards[r.Shard].renewed(ctx, sent, r) })
	}
	told.Wait()
	all := len(renewals) == len(c.shards)
	for _, ok := range results {
		all = all && ok
	}
	return all
}

// hurry has leases renewed at once.
func (c *Cluster) hurry() {
	select {
	case c.poke <- struct{}{}:
	default:
	}
}

// node returns this edge in one of its incarnations.
func (c *Cluster) node(incarnation string) webtask.LeaseNode {
	return webtask.LeaseNode{Name: c.options.Name, Incarnation: incarnation, Address: c.address}
}

// keyOf is what a key is called at the store. No name and no key has a NUL in it.
func keyOf(service, key string) string { return service + "\x00" + key }

func (c *Cluster) shardOf(key string) *shard {
	return c.shards[crc32.ChecksumIEEE([]byte(key))%webtask.LeaseShards]
}

// Claim implements Ownership.
func (c *Cluster) Claim(ctx context.Context, identity Identity) (*Tenure, error) {
	key := keyOf(identity.Service, identity.Key)
	tenure, owner, err := c.shardOf(key).claim(ctx, webtask.LeaseClaim{Key: key, Backend: identity.ID})
	if owner != nil {
		c.routes.put(key, owner)
		return nil, &HeldError{*owner}
	}
	if err == nil {
		c.routes.drop(key)
	}
	return tenure, err
}

// Elsewhere implements Ownership: from memory, which may be old. Whoever finds it
// wrong calls Forget.
func (c *Cluster) Elsewhere(service, key string) *HeldError {
	if owner := c.routes.get(keyOf(service, key)); owner != nil {
		return &HeldError{*owner}
	}
	return nil
}

// Ask implements Ownership.
func (c *Cluster) Ask(ctx context.Context, service, key string) *HeldError {
	text := keyOf(service, key)
	owner, err := c.options.Store.Owner(ctx, c.shardOf(text).number, text)
	if err != nil || owner == nil || owner.Name == c.options.Name {
		return nil
	}
	c.routes.put(text, owner)
	return &HeldError{*owner}
}

// Name returns the name of this edge.
func (c *Cluster) Name() string { return c.options.Name }

// Overdue is how long after its deadline a backend may be there before it could be
// another edge's: half of it is left for what ends it then.
func (c *Cluster) Overdue() time.Duration { return c.margin / 2 }

// Learn notes that another process of the same owner has a key now.
func (c *Cluster) Learn(service, key string, owner webtask.LeaseOwner) {
	c.routes.put(keyOf(service, key), &owner)
}

// Forget forgets who owns a key, unless that has changed meanwhile.
func (c *Cluster) Forget(service, key string, owner webtask.LeaseOwner) {
	c.routes.dropIf(keyOf(service, key), owner)
}

// pruner has the store forget what belongs to nobody, a little at a time.
type pruner struct {
	shard  int
	cursor uint64
}

func (p *pruner) turn(ctx context.Context, c *Cluster) {
	next, err := c.options.Store.Prune(ctx, p.shard, p.cursor)
	if err != nil {
		return // it is tried again, and until then costs memory only
	}
	if p.cursor = next; next == 0 {
		p.shard = (p.shard + 1) % len(c.shards)
	}
}

// errNotLeased says why a lease is not there, where nobody else did.
var errNotLeased = errors.New("this server has no lease yet")
