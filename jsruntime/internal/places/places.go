// Package places shares a number of places fairly: nobody holds more than half
// of them, so that whoever comes finds a place that is not one user's alone.
//
//	p := places.New(16)
//	if err := p.Take(ctx, container, 5*time.Second); err != nil { … }
//	defer p.Free(container)
package places

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// ErrBusy is returned to whoever waited in vain.
var ErrBusy = errors.New("no place came free")

// Places are safe for concurrent use.
type Places struct {
	mu    sync.Mutex
	free  int
	share int // of one user
	// users are those who hold a place or wait for one. Whoever gets one, or
	// gives it back, goes to the end.
	users []*user
}

type user struct {
	name    string
	held    int
	waiting []*waiter // whoever came first, first
}

type waiter struct {
	granted chan struct{}
}

// New returns n places, all free.
func New(n int) *Places { return &Places{free: n, share: max(1, n/2)} }

// Take takes a place for a user. It waits until one comes free that is due to
// that user, for as long as wait: then the error is ErrBusy, or ctx's cause when
// that ends before.
//
// A place goes to the user who holds the fewest, of several to the one who has
// had none for the longest: many who wait for one user are in nobody's way.
func (p *Places) Take(ctx context.Context, name string, wait time.Duration) error {
	p.mu.Lock()
	u, w := p.user(name), &waiter{make(chan struct{})}
	u.waiting = append(u.waiting, w)
	p.grant()
	p.mu.Unlock()
	select {
	case <-w.granted:
		return nil
	default:
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-w.granted:
		return nil
	case <-timer.C:
		return p.leave(u, w, ErrBusy)
	case <-ctx.Done():
		return p.leave(u, w, context.Cause(ctx))
	}
}

// leave ends a wait with err, unless it was over just before.
func (p *Places) leave(u *user, w *waiter, err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.Index(u.waiting, w)
	if i < 0 {
		return nil
	}
	u.waiting = slices.Delete(u.waiting, i, i+1)
	p.forget(u)
	return err
}

// Free gives a user's place back.
func (p *Places) Free(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	u := p.user(name)
	u.held--
	p.free++
	p.toEnd(u)
	p.grant()
	p.forget(u)
}

// user returns the state of a user. mu is held, here and below.
func (p *Places) user(name string) *user {
	for _, u := range p.users {
		if u.name == name {
			return u
		}
	}
	u := &user{name: name}
	p.users = append(p.users, u)
	return u
}

// grant hands out what is free.
func (p *Places) grant() {
	for p.free > 0 {
		var next *user
		for _, u := range p.users {
			if len(u.waiting) > 0 && u.held < p.share && (next == nil || u.held < next.held) {
				next = u
			}
		}
		if next == nil {
			return
		}
		close(next.waiting[0].granted)
		next.waiting = slices.Delete(next.waiting, 0, 1)
		next.held++
		p.free--
		p.toEnd(next)
	}
}

func (p *Places) toEnd(u *user) {
	p.remove(u)
	p.users = append(p.users, u)
}

// forget drops a user who neither holds a place nor waits for one.
func (p *Places) forget(u *user) {
	if u.held == 0 && len(u.waiting) == 0 {
		p.remove(u)
	}
}

func (p *Places) remove(u *user) {
	i := slices.Index(p.users, u)
	p.users = slices.Delete(p.users, i, i+1)
}
