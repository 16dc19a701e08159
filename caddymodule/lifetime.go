package caddymodule

import (
	"sync"
	"sync/atomic"
	"time"
)

// lifetime counts the requests that use a configuration. Caddy cleans up an
// old configuration while its requests still run, and what it shares may go
// only when the last of them has ended.
type lifetime struct {
	users atomic.Int64 // requests, and one for the configuration itself
	end   func()       // called once, by whoever leaves last
}

// ended marks a lifetime as over, far below anything that requests add up to.
const ended = -1 << 40

// begin starts the lifetime.
func (l *lifetime) begin(end func()) {
	l.end = end
	l.users.Store(1)
}

// enter adds a user; it reports false when the lifetime is over.
func (l *lifetime) enter() bool {
	if l.users.Add(1) > 0 {
		return true
	}
	l.users.Add(-1)
	return false
}

// leave takes a user away again.
func (l *lifetime) leave() {
	if l.users.Add(-1) == 0 && l.users.CompareAndSwap(0, ended) {
		l.end()
	}
}

// lateRequests is how long a configuration that was replaced still takes
// requests. Caddy cleans it up without waiting for those of which a server has
// read a part but which no handler has seen: they come in the moments after.
const lateRequests = 5 * time.Second

// retired are the configurations that were replaced a moment ago.
var retired retirees

// retirees leave their lifetimes when their time is up, or all at once.
type retirees struct {
	mu     sync.Mutex
	timers map[*lifetime]*time.Timer
}

// keep has the configuration of l leave after a time.
func (r *retirees) keep(l *lifetime, d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.timers == nil {
		r.timers = map[*lifetime]*time.Timer{}
	}
	r.timers[l] = time.AfterFunc(d, func() {
		r.mu.Lock()
		delete(r.timers, l)
		r.mu.Unlock()
		l.leave()
	})
}

// leave has all of them leave now, for Caddy stops.
func (r *retirees) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for l, timer := range r.timers {
		if timer.Stop() {
			l.leave()
		}
	}
	r.timers = nil
}
