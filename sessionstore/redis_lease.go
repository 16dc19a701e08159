package sessionstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// Leases says which edge has which session backends, in Redis. It has
// connections of its own, whose calls end in time for a lease, and none of its
// calls is repeated by itself. It is safe for concurrent use.
type Leases struct {
	redis *Redis
	ttl   time.Duration
	calls atomic.Uint64 // made so far of those that change who has a key
}

// NewLeases returns the leases in a Redis, of which each lasts for ttl. It does
// not connect.
func NewLeases(options RedisOptions, ttl time.Duration) (*Leases, error) {
	options.Timeout = min(cmp.Or(options.Timeout, DefaultRedisTimeout), ttl/leaseCalls)
	store, err := NewRedis(options)
	if err != nil {
		return nil, err
	}
	return &Leases{redis: store, ttl: ttl}, nil
}

const (
	// leaseCalls is how many calls fit into the life of a lease. A Redis that is slow
	// answers in time, and one that does not answer is asked several times.
	leaseCalls = 6

	// leaseQuiet is for how long, beyond that life, a Redis that may have forgotten
	// leases gives away none.
	leaseQuiet = time.Second

	// leaseMemory is for how long a node is remembered that has no lease any more.
	leaseMemory = time.Hour
)

// Close closes all connections.
func (l *Leases) Close() error { return l.redis.Close() }

// keys returns what each script about a shard may use. They share a hash tag, and
// so a node of a Cluster.
func (l *Leases) keys(shard int) []string {
	tag := fmt.Sprintf("%s:{backends:%02d}:", l.redis.prefix, shard)
	return []string{tag + "owners", tag + "nodes", tag + "meta"}
}

func (l *Leases) args(more ...any) []any {
	return append([]any{micro(l.ttl + leaseQuiet)}, more...)
}

func micro(d time.Duration) string { return strconv.FormatInt(d.Microseconds(), 10) }

// call runs a script about a shard, and returns the words that it returns.
func (l *Leases) call(ctx context.Context, sc script, shard int, args ...any) ([]string, error) {
	reply, err := l.redis.run(ctx, sc, l.keys(shard), l.args(args...)...)
	if err != nil {
		return nil, err
	}
	return leaseWords(reply)
}

// change is call for a script that changes who has a key, and is for a node. A call
// that fails may be carried out all the same, and late: then the node may have made
// another about that key. So they are numbered, and Redis refuses one that comes
// after a later one. Those of other keys may do so in passing, and are made again.
func (l *Leases) change(ctx context.Context, sc script, shard int, node webtask.LeaseNode, args ...any) (words []string, err error) {
	const tries = 20
	for range tries {
		number := l.calls.Add(1)
		words, err = l.call(ctx, sc, shard, append([]any{node.Name, node.Incarnation, number}, args...)...)
		if err != nil || words[0] != "late" {
			return words, err
		}
	}
	return nil, unavailable(fmt.Errorf("redis: other calls of this server overtook one %d times", tries))
}

func leaseWords(reply any) ([]string, error) {
	list, _ := reply.([]any)
	words := make([]string, len(list))
	for i, item := range list {
		var ok bool
		if words[i], ok = item.(string); !ok {
			return nil, unexpected(reply)
		}
	}
	if len(words) == 0 {
		return nil, unexpected(reply)
	}
	return words, nil
}

// Renew takes or renews leases of a node, all in one round trip, and says in
// each what became of it.
func (l *Leases) Renew(ctx context.Context, node webtask.LeaseNode, renewals []webtask.LeaseRenewal) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.redis.timeout)
	defer cancel()
	again := l.renewBy(ctx, "evalsha", renewScript.sha1, node, renewals)
	if len(again) > 0 { // by a server that has not seen the script yet
		l.renewBy(ctx, "eval", renewScript.source, node, again)
		byShard := make(map[int]webtask.LeaseRenewal, len(again))
		for _, r := range again {
			byShard[r.Shard] = r
		}
		for i := range renewals {
			if r, ok := byShard[renewals[i].Shard]; ok {
				renewals[i] = r
			}
		}
	}
}

// renewBy returns the renewals that need the source of the script.
func (l *Leases) renewBy(ctx context.Context, command, body string, node webtask.LeaseNode, renewals []webtask.LeaseRenewal) (again []webtask.LeaseRenewal) {
	pipe := l.redis.client.Pipeline()
	commands := make([]*redis.Cmd, len(renewals))
	for i, r := range renewals {
		commands[i] = scriptCommand(ctx, command, body, l.keys(r.Shard), l.args(node.Name, r.Incarnation, micro(l.ttl), node.Address, r.Gone))
		_ = pipe.Process(ctx, once{commands[i]}) // it is sent with all others
	}
	_, _ = pipe.Exec(ctx) // the errors are the commands'
	for i, command := range commands {
		r := &renewals[i]
		reply, err := command.Result()
		if redis.HasErrorPrefix(err, "NOSCRIPT") {
			again = append(again, *r)
			continue
		}
		if err != nil {
			r.Err = l.redis.fail(err)
			continue
		}
		words, err := leaseWords(reply)
		if err != nil || len(words) != 2 {
			r.Err = errors.Join(err, unexpected(reply))
			continue
		}
		r.Run = words[1]
		switch words[0] {
		case "renewed":
		case "taken":
			r.Taken = true
		case "expired":
			r.Err = webtask.ErrLeaseExpired
		default:
			r.Err = webtask.ErrLeaseOther
		}
	}
	return again
}

// Claim gives a key to a node, and returns its fencing token. When another node
// has it, it returns that one. Errors are webtask.ErrLeaseNone, *webtask.QuietError
// and webtask.ErrStoreUnavailable, after which the node may have it all the same.
func (l *Leases) Claim(ctx context.Context, shard int, node webtask.LeaseNode, claim webtask.LeaseClaim) (fence int64, owner *webtask.LeaseOwner, err error) {
	words, err := l.change(ctx, claimScript, shard, node, claim.Key, claim.Backend, claim.Fence)
	if err != nil {
		return 0, nil, err
	}
	switch {
	case words[0] == "yours" && len(words) == 2:
		if fence, err = strconv.ParseInt(words[1], 10, 64); err != nil {
			return 0, nil, unexpected(words)
		}
		return fence, nil, nil
	case words[0] == "quiet" && len(words) == 2:
		wait, err := strconv.ParseInt(words[1], 10, 64)
		if err != nil {
			return 0, nil, unexpected(words)
		}
		return 0, nil, &webtask.QuietError{After: time.Duration(wait) * time.Microsecond}
	case words[0] == "none":
		return 0, nil, webtask.ErrLeaseNone
	}
	owner, err = leaseOwner(words)
	return 0, owner, err
}

func leaseOwner(words []string) (*webtask.LeaseOwner, error) {
	if words[0] != "held" || len(words) != 6 {
		return nil, unexpected(words)
	}
	fence, err := strconv.ParseInt(words[1], 10, 64)
	if err != nil {
		return nil, unexpected(words)
	}
	return &webtask.LeaseOwner{
		LeaseNode: webtask.LeaseNode{Name: words[2], Incarnation: words[3], Address: words[5]},
		Fence:     fence, Backend: words[4],
	}, nil
}

// Owner returns the node that has a key, or nil.
func (l *Leases) Owner(ctx context.Context, shard int, key string) (*webtask.LeaseOwner, error) {
	words, err := l.call(ctx, ownerScript, shard, key)
	if err != nil || words[0] == "free" {
		return nil, err
	}
	return leaseOwner(words)
}

// Reassert says again which keys a node has, to a Redis that may have forgotten
// it, and returns those that it has lost.
func (l *Leases) Reassert(ctx context.Context, shard int, node webtask.LeaseNode, claims []webtask.LeaseClaim) (lost []string, err error) {
	var args []any
	for _, claim := range claims {
		args = append(args, claim.Key, claim.Fence, claim.Backend)
	}
	words, err := l.change(ctx, reassertScript, shard, node, args...)
	if err != nil {
		return nil, err
	}
	if words[0] == "none" {
		return nil, webtask.ErrLeaseNone
	}
	return words[1:], nil
}

// Release gives a key back. With a fence of 0 it is the node's, whatever token it
// had.
func (l *Leases) Release(ctx context.Context, shard int, node webtask.LeaseNode, claim webtask.LeaseClaim) error {
	fence := ""
	if claim.Fence != 0 {
		fence = strconv.FormatInt(claim.Fence, 10)
	}
	_, err := l.change(ctx, releaseScript, shard, node, claim.Key, fence)
	return err
}

// Leave gives the lease of a node back.
func (l *Leases) Leave(ctx context.Context, shard int, node webtask.LeaseNode) error {
	_, err := l.call(ctx, leaveScript, shard, node.Name, node.Incarnation)
	return err
}

// Prune forgets some of the keys whose owners have no lease any more. The cursor
// is that of the last call; it is 0 at first, and again when all were looked at.
func (l *Leases) Prune(ctx context.Context, shard int, cursor uint64) (next uint64, err error) {
	words, err := l.call(ctx, pruneScript, shard, cursor, micro(leaseMemory))
	if err != nil {
		return 0, err
	}
	if next, err = strconv.ParseUint(words[0], 10, 64); err != nil {
		return 0, unexpected(words)
	}
	return next, nil
}
