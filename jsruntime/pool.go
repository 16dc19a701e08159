package jsruntime

import (
	"container/list"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Why an isolate was thrown away.
const (
	discardRecycled = "recycled" // it served RecycleAfter requests
	discardIdle     = "idle"     // nobody needed it for IdleTimeout
	discardEvicted  = "evicted"  // another key needed its place
	discardFlushed  = "flushed"
	discardLimit    = "limit"   // it was interrupted
	discardError    = "error"   // it overflowed its stack, or the engine failed
	discardPending  = "pending" // its request left something running
	discardClosed   = "closed"
)

// container holds the isolates of one tenant, and what bounds them.
type container struct {
	name   string
	engine *Engine
	slots  slots
	queued atomic.Int32 // requests that wait for an isolate

	// working is how many isolates are being made or serve a request and do
	// not wait for anything but the CPU.
	working atomic.Int64

	mu      sync.Mutex
	pools   map[string]*pool
	count   int       // isolates, those that are being made included
	made    list.List // of *Isolate, idle or busy, by when they were last given back
	waiting []*waiter
}

// pool holds the isolates of one key. Its container's mutex guards it.
type pool struct {
	container *container
	spec      *Spec // the first of the key
	model     atomic.Int32

	idle     []*Isolate // the one used last comes last
	count    int        // idle, busy and being made
	created  uint64
	requests uint64
	flushes  atomic.Uint64 // isolates from before the last are not to be used again

	lastUsed int64       // by the watchdog's clock
	gone     atomic.Bool // removed from the container; look it up again
}

// errPoolGone says that a pool was removed meanwhile.
var errPoolGone = errors.New("pool was removed")

// acquire returns an isolate of the pool, waiting for one if need be.
func (p *pool) acquire(ctx context.Context, spec *Spec, req *Request, deadline time.Time) (*Isolate, error) {
	c := p.container
	c.mu.Lock()
	if p.gone.Load() {
		c.mu.Unlock()
		return nil, errPoolGone
	}
	p.requests++
	if iso := p.takeNewest(); iso != nil {
		c.mu.Unlock()
		return iso, nil
	}
	if (p.count == 0 || c.idleCPU()) && c.reserve(p, spec) {
		c.mu.Unlock()
		return p.create(ctx, spec, deadline, c.engine.clock.Now())
	}
	return p.enqueue(ctx, spec, req, deadline)
}

// reserve takes a place for one more isolate of p, throwing away an idle one of
// another pool when the container or the engine is full.
func (c *container) reserve(p *pool, spec *Spec) bool {
	limit := spec.Limits.Isolates
	if limit <= 0 {
		limit = DefaultIsolates
	}
	if c.count >= limit && !c.evict(p) {
		return false
	}
	cost := isolateCost(p.spec.Program)
	for !c.engine.budget.take(cost) {
		if !c.evict(p) {
			// The watchdog looks for room in other containers.
			c.engine.starved.Store(true)
			return false
		}
	}
	c.count++
	c.working.Add(1)
	p.count++
	return true
}

// idleCPU reports whether one more isolate would find a CPU slot. If it would
// only wait for one, an isolate that is there comes free about as soon.
func (c *container) idleCPU() bool { return c.working.Load() < int64(c.engine.options.CPUSlots) }

// unreserve gives up the place of an isolate of p.
func (c *container) unreserve(p *pool) {
	c.count--
	p.count--
	c.engine.budget.give(isolateCost(p.spec.Program))
}

// evict throws away the idle isolate of the container that was used longest
// ago, but none of p. A pool that has nothing left goes with it: callers choose
// keys, by their tokens, so there can be any number.
func (c *container) evict(p *pool) bool {
	iso := c.oldestIdle(p)
	if iso == nil {
		return false
	}
	oldest := iso.pool
	c.drop(oldest.takeOldest(), discardEvicted)
	if oldest.count == 0 && !slices.ContainsFunc(c.waiting, func(w *waiter) bool { return w.pool == oldest }) {
		c.remove(oldest)
	}
	return true
}

// oldestIdle returns the idle isolate that was used longest ago, but none of
// p; nil: there is none.
func (c *container) oldestIdle(p *pool) *Isolate {
	for e := c.made.Front(); e != nil; e = e.Next() {
		if iso := e.Value.(*Isolate); iso.idle && iso.pool != p {
			return iso
		}
	}
	return nil
}

// remove forgets a pool that has no isolates.
func (c *container) remove(p *pool) {
	p.gone.Store(true)
	delete(c.pools, p.spec.Key)
}

// create makes an isolate in the place that was reserved for it, for a request
// that has waited since. Loading needs a CPU slot; waiting for that is part of
// the wait for an isolate, and ends as that does.
func (p *pool) create(ctx context.Context, spec *Spec, deadline, since time.Time) (*Isolate, error) {
	e, c := p.container.engine, p.container
	start, flushes := e.clock.Now(), p.flushes.Load()
	iso, err := newIsolate(e, p, spec)
	if err == nil {
		iso.flushes = flushes
		e.watchdog.add(iso)
		if err = iso.load(ctx, deadline, since.Add(e.options.QueueWait)); err != nil {
			e.watchdog.remove(iso)
		}
	}
	if err != nil {
		c.giveBack(p, nil)
		return nil, err
	}
	p.model.Store(int32(iso.handler.model))
	c.mu.Lock()
	p.created++
	iso.place = c.made.PushBack(iso)
	c.mu.Unlock()
	if e.observer != nil {
		e.observer.IsolateCreated(c.name, e.clock.Now().Sub(start))
	}
	return iso, nil
}

// release takes an isolate back after a request.
func (c *container) release(iso *Isolate) {
	p, e := iso.pool, c.engine
	if iso.served >= e.options.RecycleAfter {
		iso.condemn(discardRecycled)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.working.Add(-1)
	if iso.flushes != p.flushes.Load() {
		iso.condemn(discardFlushed)
	}
	if iso.condemned != "" {
		c.drop(iso, iso.condemned)
		c.serveQueue()
		return
	}
	p.lastUsed = e.watchdog.now.Load()
	iso.lastUsed = p.lastUsed
	if len(c.waiting) == 0 {
		p.rest(iso)
		return
	}
	c.handOver(iso)
}

// drop forgets an isolate that nobody holds.
func (c *container) drop(iso *Isolate, reason string) {
	c.unreserve(iso.pool)
	c.made.Remove(iso.place)
	c.engine.watchdog.remove(iso)
	if c.engine.observer != nil {
		c.engine.observer.IsolateDiscarded(c.name, reason)
	}
}

// shrink drops the isolates, and then the pools, that nobody has used since.
func (c *container) shrink(since int64) {
	for _, p := range c.pools {
		for len(p.idle) > 0 && p.idle[0].lastUsed < since {
			c.drop(p.takeOldest(), discardIdle)
		}
		if p.count == 0 && p.lastUsed < since {
			c.remove(p)
		}
	}
}

// rest makes an isolate idle.
func (p *pool) rest(iso *Isolate) {
	iso.idle = true
	p.idle = append(p.idle, iso)
	p.container.made.MoveToBack(iso.place)
}

// takeNewest takes the idle isolate that was used last, to work; nil: there is
// none.
func (p *pool) takeNewest() *Isolate {
	if len(p.idle) == 0 {
		return nil
	}
	p.container.working.Add(1)
	return p.take(len(p.idle) - 1)
}

// takeOldest takes the idle isolate that was used longest ago.
func (p *pool) takeOldest() *Isolate { return p.take(0) }

func (p *pool) take(i int) *Isolate {
	iso := p.idle[i]
	p.idle = slices.Delete(p.idle, i, i+1)
	iso.idle = false
	return iso
}

// oldestUse returns when the idle isolate of the container that was used
// longest ago was.
func (c *container) oldestUse() (at int64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if oldest := c.oldestIdle(nil); oldest != nil {
		return oldest.lastUsed, true
	}
	return 0, false
}

// flush discards the isolates of a key; of all when it is empty.
func (c *container) flush(key, reason string) (flushed int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.pools {
		if key != "" && key != p.spec.Key {
			continue
		}
		flushed += p.count
		p.flushes.Add(1)
		for len(p.idle) > 0 {
			c.drop(p.takeOldest(), reason)
		}
	}
	c.serveQueue()
	return flushed
}

func (c *container) stats(stats []PoolStats) []PoolStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	queued := make(map[*pool]int)
	for _, w := range c.waiting {
		queued[w.pool]++
	}
	for key, p := range c.pools {
		stats = append(stats, PoolStats{
			Key:       key,
			Container: c.name,
			Name:      p.spec.Name,
			Program:   p.spec.Program.Name,
			Idle:      len(p.idle),
			Busy:      p.count - len(p.idle),
			Queued:    queued[p],
			Requests:  p.requests,
			Created:   p.created,
		})
	}
	return stats
}
