package jsruntime

import (
	"context"
	"slices"
	"time"
)

// waiter is a request that waits for an isolate of pool.
type waiter struct {
	pool     *pool
	since    time.Time
	deadline time.Time     // of the request
	took     time.Duration // the wait, once it is over
	grant    chan grant
}

// grant gives an isolate, or, when it is nil, a place to make one in.
type grant struct {
	iso *Isolate
	err error
}

// impatience is how long the first in the queue lets those behind it go first
// who need no isolate to be replaced for them.
const impatience = 100 * time.Millisecond

// enqueue waits in the container's queue. It is called with the mutex held and
// releases it.
func (p *pool) enqueue(ctx context.Context, spec *Spec, req *Request, deadline time.Time) (*Isolate, error) {
	c, e := p.container, p.container.engine
	if e.killed.Load() { // nobody will serve the queue again
		c.mu.Unlock()
		return nil, ErrClosed
	}
	if len(c.waiting) >= e.options.QueueLength {
		c.mu.Unlock()
		return nil, c.queueError()
	}
	w := &waiter{pool: p, since: e.clock.Now(), deadline: deadline, grant: make(chan grant, 1)}
	c.waiting = append(c.waiting, w)
	c.queued.Add(1)
	e.queued.Add(1)
	c.mu.Unlock()
	e.watchdog.notice()
	defer func() { req.QueueWait += w.took }()
	var given grant
	select {
	case given = <-w.grant:
		w.took = e.clock.Now().Sub(w.since)
	case <-ctx.Done():
		w.took = e.clock.Now().Sub(w.since)
		if c.withdraw(w) {
			return nil, context.Cause(ctx)
		}
		// The grant came first; whoever waits next shall have it.
		if given = <-w.grant; given.err == nil {
			c.giveBack(p, given.iso)
		}
		return nil, context.Cause(ctx)
	}
	if e.observer != nil {
		e.observer.QueueWaited(c.name, w.took)
	}
	switch {
	case given.err != nil:
		return nil, given.err
	case given.iso != nil:
		return given.iso, nil
	default:
		return p.create(ctx, spec, deadline, w.since)
	}
}

func (c *container) queueError() error {
	return &QueueError{Container: c.name, RetryAfter: time.Second}
}

// withdraw takes w out of the queue; false: it was granted something.
func (c *container) withdraw(w *waiter) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, other := range c.waiting {
		if other == w {
			c.dequeue(i)
			return true
		}
	}
	return false
}

// dequeue removes the waiter i.
func (c *container) dequeue(i int) *waiter {
	w := c.waiting[i]
	c.waiting = slices.Delete(c.waiting, i, i+1)
	c.queued.Add(-1)
	c.engine.queued.Add(-1)
	return w
}

// giveBack returns what a waiter was granted and does not use.
func (c *container) giveBack(p *pool, iso *Isolate) {
	if iso != nil {
		c.release(iso)
		return
	}
	c.mu.Lock()
	c.working.Add(-1)
	c.unreserve(p)
	c.serveQueue()
	c.mu.Unlock()
}

// handOver gives an isolate that came free to the first who waits for its
// pool, unless one of another pool has waited too long for any.
func (c *container) handOver(iso *Isolate) {
	p, e := iso.pool, c.engine
	for i, w := range c.waiting {
		if w.pool == p {
			c.working.Add(1)
			c.dequeue(i).grant <- grant{iso: iso}
			return
		}
		if i == 0 && e.clock.Now().Sub(w.since) > impatience {
			break
		}
	}
	p.rest(iso)
	c.serveQueue()
}

// park is called when an isolate begins to wait for something other than the
// CPU, and unpark when it goes on: meanwhile, who queues may have another one.
func (c *container) park() {
	c.working.Add(-1)
	if c.queued.Load() > 0 {
		c.mu.Lock()
		c.serveQueue()
		c.mu.Unlock()
	}
}

func (c *container) unpark() { c.working.Add(1) }

// serveQueue grants idle isolates, and places for new ones, to those who wait,
// in order, as long as there are any and the CPU has room.
func (c *container) serveQueue() {
	for len(c.waiting) > 0 {
		w := c.waiting[0]
		if iso := w.pool.takeNewest(); iso != nil {
			c.dequeue(0).grant <- grant{iso: iso}
			continue
		}
		if w.pool.count > 0 && !c.idleCPU() && c.engine.clock.Now().Sub(w.since) < impatience {
			return
		}
		if !c.reserve(w.pool, w.pool.spec) {
			return
		}
		c.dequeue(0).grant <- grant{}
	}
}

// tend is called now and then: it fails those who have waited too long, and
// grows what could not be grown on the way.
func (c *container) tend(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := 0; i < len(c.waiting); {
		w := c.waiting[i]
		switch {
		case now.Sub(w.since) >= c.engine.options.QueueWait:
			c.dequeue(i).grant <- grant{err: c.queueError()}
		case !now.Before(w.deadline):
			c.dequeue(i).grant <- grant{err: timeoutError(w.pool.spec)}
		default:
			i++
		}
	}
	c.serveQueue()
}
