package edge

import (
	"errors"
	"net/http"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// Visitor returns the public id of the session that a request has in a container
// of the site's own, for handlers beside webtasks that tell visitors apart by it. A
// request without one gets a new session, and the answer its cookie, unless allow
// returns an error. secure says that the client came over TLS. Each call asks the store, so that a session which
// was destroyed or moved a moment ago is none.
func (e *Edge) Visitor(w http.ResponseWriter, r *http.Request, container string, secure bool, allow func() error) (id string, err error) {
	if e.opts.Sessions == nil {
		return "", errNoStore
	}
	name := webtask.SessionCookieName(container, true, secure)
	ref := webtask.SessionRef{Container: container}
	if secret, ok := sessionCookie(r.Header, name); ok {
		ref.ID = webtask.SessionID(container, secret)
		start := e.opts.Now()
		_, err := e.opts.Sessions.Load(r.Context(), ref, e.opts.Limits.SessionTTL)
		e.opts.Observer.StoreCalled("load", e.opts.Now().Sub(start), err)
		if !errors.Is(err, webtask.ErrSessionNotFound) {
			return ref.ID, err
		}
	}
	if err := allow(); err != nil {
		return "", err
	}
	secret, err := webtask.NewSessionSecret(e.opts.Rand)
	if err != nil {
		return "", err
	}
	ref.ID = webtask.SessionID(container, secret)
	start := e.opts.Now()
	_, err = e.opts.Sessions.Save(r.Context(), ref, &webtask.SessionChange{
		Create: true, TTL: e.opts.Limits.SessionTTL, MaxBytes: e.opts.Limits.SessionSize, MaxSessions: e.opts.Limits.Sessions,
	})
	e.opts.Observer.StoreCalled("save", e.opts.Now().Sub(start), err)
	if err != nil {
		return "", err
	}
	w.Header().Add("Set-Cookie", cookieText(name, secret.CookieValue(), secure))
	w.Header().Add("Cache-Control", "private, no-store")
	return ref.ID, nil
}
