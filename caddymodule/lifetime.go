package caddymodule

import "sync/atomic"

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
