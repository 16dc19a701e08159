package edge

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

// session is the session of one call. A script names none: the request's
// cookie decides, and only the edge sees its secret.
type session struct {
	mu        sync.Mutex
	cookie    bool                  // the request's cookie was looked at
	id        string                // public id; empty: none
	known     bool                  // the store has confirmed id, or made it
	secret    webtask.SessionSecret // of id, when it is new to the client
	isNew     bool                  // the answer must set the cookie
	expire    bool                  // the answer must expire the cookie
	used      bool                  // the script read or wrote it
	committed bool                  // the answer's head was sent
	settled   bool                  // commitSession has been through
	failed    error                 // of commitSession
	waiting   chan struct{}         // closed once settled; nil: nobody waits

	reserved   webtask.SessionSecret // of the next session that is made or moved to
	isReserved bool
}

// LoadSession implements jsruntime.Host.
func (c *call) LoadSession(ctx context.Context) (*jsruntime.Session, error) {
	if err := ended(ctx); err != nil {
		return nil, err
	}
	s := &c.session
	s.mu.Lock()
	defer s.mu.Unlock()
	c.findSession()
	s.used = true
	if s.id == "" {
		return &jsruntime.Session{}, nil
	}
	store := c.edge.opts.Sessions
	if store == nil {
		return nil, errNoStore
	}
	start := c.edge.opts.Now()
	data, err := store.Load(ctx, c.sessionRef(), c.plan.task.Limits.SessionTTL)
	c.edge.opts.Observer.StoreCalled("load", c.edge.opts.Now().Sub(start), err)
	switch {
	case errors.Is(err, webtask.ErrSessionNotFound):
		// Expired, destroyed, forged: the value is not adopted. A first write
		// makes a session under a secret of our own.
		s.id, s.known = "", false
		return &jsruntime.Session{}, nil
	case err != nil:
		return nil, err
	}
	s.known = true
	return &jsruntime.Session{ID: s.id, Data: *data}, nil
}

// SaveSession implements jsruntime.Host.
func (c *call) SaveSession(ctx context.Context, change *webtask.SessionChange) (*jsruntime.Session, error) {
	if err := ended(ctx); err != nil {
		return nil, err
	}
	s := &c.session
	s.mu.Lock()
	defer s.mu.Unlock()
	return c.saveSession(ctx, change)
}

// NewSessionID implements jsruntime.SessionNamer.
func (c *call) NewSessionID() string {
	s := &c.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := c.reserveSecret(); err != nil {
		return "" // making the session will fail for the same reason
	}
	return webtask.SessionID(c.plan.task.Container, s.reserved)
}

// reserveSecret has the next secret ready.
func (c *call) reserveSecret() error {
	s := &c.session
	if s.isReserved {
		return nil
	}
	var err error
	s.reserved, err = webtask.NewSessionSecret(c.edge.opts.Rand)
	s.isReserved = err == nil
	return err
}

// commitSession saves what the script wrote before its answer's head, and
// settles what the head says about the cookie. From then on a change that needs
// a cookie is refused.
func (c *call) commitSession(ctx context.Context, change *webtask.SessionChange) error {
	s := &c.session
	s.mu.Lock()
	defer s.mu.Unlock()
	// Later, the request's headers are not ours to read any more.
	c.findSession()
	if change != nil {
		_, s.failed = c.saveSession(ctx, change)
	}
	s.committed = s.failed == nil
	s.settled = true
	if s.waiting != nil {
		close(s.waiting)
	}
	return s.failed
}

// AwaitSessionCommit implements jsruntime.SessionCommitter.
func (c *call) AwaitSessionCommit(ctx context.Context) error {
	s := &c.session
	s.mu.Lock()
	if s.settled {
		defer s.mu.Unlock()
		return s.failed
	}
	if s.waiting == nil {
		s.waiting = make(chan struct{})
	}
	settled := s.waiting
	s.mu.Unlock()
	select {
	case <-settled:
		return s.failed // not written to any more
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

var errNoStore = fmt.Errorf("%w: this edge has none", webtask.ErrStoreUnavailable)

func (c *call) sessionRef() webtask.SessionRef {
	return webtask.SessionRef{Container: c.plan.task.Container, ID: c.session.id}
}

// findSession reads the request's cookie, once.
func (c *call) findSession() {
	s := &c.session
	if s.cookie {
		return
	}
	s.cookie = true
	if secret, ok := sessionCookie(c.header, c.cookieName()); ok {
		s.id = webtask.SessionID(c.plan.task.Container, secret)
	}
}

// saveSession applies a change under the lock: to the session there is, or to
// a new one when there is none.
func (c *call) saveSession(ctx context.Context, change *webtask.SessionChange) (*jsruntime.Session, error) {
	s := &c.session
	c.findSession()
	s.used = true
	if s.id == "" {
		return c.createSession(ctx, change)
	}
	if c.edge.opts.Sessions == nil {
		return nil, errNoStore
	}
	bounded := c.bounded(change)
	if change.MoveTo != "" {
		if s.committed {
			return nil, jsruntime.ErrSessionCommitted
		}
		if err := c.reserveSecret(); err != nil {
			return nil, err
		}
		bounded.MoveTo = webtask.SessionID(c.plan.task.Container, s.reserved)
	}
	data, err := c.store(ctx, bounded)
	switch {
	case errors.Is(err, webtask.ErrSessionNotFound) && !s.known:
		// Nobody asked for it before, so the cookie's value was never a
		// session, or is none any more.
		s.id = ""
		return c.createSession(ctx, change)
	case errors.Is(err, webtask.ErrSessionConflict) && data != nil:
		s.known = true
		return &jsruntime.Session{ID: s.id, Data: *data}, err
	case change.Destroy && (err == nil || errors.Is(err, webtask.ErrSessionNotFound)):
		s.id, s.known, s.isNew, s.expire = "", false, false, true
		return &jsruntime.Session{}, nil
	case err != nil:
		return nil, err
	}
	s.known = true
	if bounded.MoveTo != "" {
		s.id, s.secret, s.isNew, s.isReserved = bounded.MoveTo, s.reserved, true, false
	}
	return &jsruntime.Session{ID: s.id, Data: *data}, nil
}

// createSession makes a session under a new secret and applies a change to it.
// A change that leaves it empty makes none.
func (c *call) createSession(ctx context.Context, change *webtask.SessionChange) (*jsruntime.Session, error) {
	s := &c.session
	if change.Destroy || len(change.Set) == 0 {
		return &jsruntime.Session{}, nil
	}
	if s.committed {
		return nil, jsruntime.ErrSessionCommitted
	}
	if c.edge.opts.Sessions == nil {
		return nil, errNoStore
	}
	if err := c.reserveSecret(); err != nil {
		return nil, err
	}
	bounded := c.bounded(change)
	bounded.Create, bounded.MoveTo = true, ""
	s.id = webtask.SessionID(c.plan.task.Container, s.reserved)
	data, err := c.store(ctx, bounded)
	if err != nil {
		s.id = ""
		return nil, err
	}
	s.known, s.secret, s.isNew, s.isReserved, s.expire = true, s.reserved, true, false, false
	return &jsruntime.Session{ID: s.id, Data: *data}, nil
}

// bounded returns the change with what the edge adds to it.
func (c *call) bounded(change *webtask.SessionChange) *webtask.SessionChange {
	limits := &c.plan.task.Limits
	b := *change
	b.TTL, b.MaxBytes, b.MaxSessions = limits.SessionTTL, limits.SessionSize, limits.Sessions
	return &b
}

func (c *call) store(ctx context.Context, change *webtask.SessionChange) (*webtask.SessionData, error) {
	start := c.edge.opts.Now()
	data, err := c.edge.opts.Sessions.Save(ctx, c.sessionRef(), change)
	c.edge.opts.Observer.StoreCalled("save", c.edge.opts.Now().Sub(start), err)
	return data, err
}

// sessionOutcome returns what the answer's head says about the session: its public
// id, whether the script used it, and the value of Set-Cookie, if any.
func (c *call) sessionOutcome() (id string, used bool, setCookie string) {
	s := &c.session
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.isNew:
		setCookie = cookieText(c.cookieName(), s.secret.CookieValue(), c.secure)
	case s.expire:
		setCookie = cookieText(c.cookieName(), "", c.secure) + "; Max-Age=0"
	}
	if s.known {
		id = s.id
	}
	return id, s.used, setCookie
}

func (c *call) cookieName() string {
	if c.secure {
		return c.plan.cookies[1]
	}
	return c.plan.cookies[0]
}
