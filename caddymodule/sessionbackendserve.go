package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/webtask-edge/caddy-webtask/edge"
	"github.com/webtask-edge/caddy-webtask/sessionbackend"
	"github.com/webtask-edge/caddy-webtask/sessionbackend/peer"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (b *SessionBackend) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if err := b.app.enter(w, r); err != nil {
		return err
	}
	defer b.app.life.leave()
	repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if err := b.checkOrigin(r); err != nil {
		return caddyhttp.Error(http.StatusForbidden, err)
	}
	v := &visit{request: r, repl: repl, own: b.host.nodeName()}
	if b.Auth == authToken {
		// It may stand in the URL, which goes to no other site.
		w.Header().Set("Referrer-Policy", "no-referrer")
		var err error
		if r, err = b.takeToken(r, v); err != nil {
			return refuseToken(w, err)
		}
	}
	if b.byVisitor {
		if err := b.findVisitor(w, r, repl); err != nil {
			return b.refuse(w, err)
		}
	}
	key := repl.ReplaceAll(b.Key, "")
	if key == "" {
		return caddyhttp.Error(http.StatusNotFound, errors.New("the request has no key of a session backend"))
	}
	v.key = key
	if v.pass != nil {
		if v.pass.token.Key != key {
			return caddyhttp.Error(http.StatusForbidden, errOtherKey)
		}
		return b.serveToken(w, r, next, v)
	}
	return b.serveVisit(w, r, next, v, func(ctx context.Context) (*sessionbackend.Backend, error) {
		return b.service.Acquire(ctx, key, callerOf(r))
	})
}

// enter counts a request of this configuration, which has to leave app.life when
// it has ended.
func (a *App) enter(w http.ResponseWriter, r *http.Request) error {
	if !a.life.enter() {
		w.Header().Set("Retry-After", "1")
		return caddyhttp.Error(http.StatusServiceUnavailable, errConfigurationOver)
	}
	if a.running(r.Context()) == nil {
		a.life.leave()
		return caddyhttp.Error(http.StatusServiceUnavailable, errNotRunning)
	}
	return nil
}

// serveVisit proxies a request to the backend that acquire returns.
func (b *SessionBackend) serveVisit(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, v *visit,
	acquire func(context.Context) (*sessionbackend.Backend, error),
) error {
	v.repl.Map(v.placeholder)
	caddyhttp.SetVar(r.Context(), visitVar, v)
	var busySince time.Time
	pause, ownerPause := firstDialPause, firstOwnerPause
	began := time.Now()
	for attempt := 1; ; {
		backend, err := acquire(r.Context())
		var held *sessionbackend.HeldError
		if errors.As(err, &held) {
			again, err := b.serveElsewhere(w, r, next, v, held)
			if !again {
				return err
			}
			if time.Since(began) > b.service.StartTimeout() {
				return b.refuse(w, err)
			}
			select {
			case <-time.After(ownerPause):
			case <-r.Context().Done():
				return b.refuse(w, context.Cause(r.Context()))
			}
			ownerPause = min(2*ownerPause, lastOwnerPause)
			continue
		}
		if err != nil {
			return b.refuse(w, err)
		}
		v.backend, v.elsewhere = backend, nil
		err = b.serve(w, r, next, backend)
		var dial reverseproxy.DialError
		switch {
		case v.sent.Load() || !errors.As(err, &dial):
			return err
		case isBusy(dial) && (busySince.IsZero() || time.Since(busySince) < dialPatience):
			// A Unix socket refuses at once where TCP has its clients wait.
			if busySince.IsZero() {
				busySince = time.Now()
			}
			select {
			case <-time.After(pause):
			case <-r.Context().Done():
				return err
			}
			pause = min(2*pause, lastDialPause)
		case attempt == maxAttempts || !endsNow(r.Context(), backend):
			return err
		default:
			attempt++
		}
	}
}

// How long a request waits for a backend that listens and takes no more
// connections, and how often it tries again.
const (
	dialPatience   = 10 * time.Second
	firstDialPause = time.Millisecond
	lastDialPause  = 50 * time.Millisecond
)

// isBusy reports whether as many connections wait for a socket as it may have.
// What a reverseproxy.DialError wraps, it does not give away.
func isBusy(dial reverseproxy.DialError) bool {
	return strings.Contains(dial.Error(), syscall.EAGAIN.Error())
}

// sessionPlaceholder in a key is the public id of the visitor's session.
const sessionPlaceholder = "{http.session.id}"

// findVisitor makes the placeholder known.
func (b *SessionBackend) findVisitor(w http.ResponseWriter, r *http.Request, repl *caddy.Replacer) error {
	var info edge.RequestInfo
	describeRequest(&info, r)
	// Sessions are made for those only who would be given a backend.
	allow := func() error { return b.service.Check(callerOf(r)) }
	id, err := b.app.edge.Load().Visitor(w, r, b.container, info.Secure, allow)
	if err != nil {
		return err
	}
	repl.Set("http.session.id", id)
	return nil
}

// maxAttempts is how often a request is sent to a backend that turns out to be
// dead already: nothing of it has been sent then.
const maxAttempts = 3

// endsNow waits for the end of a backend that could not be dialed, and reports
// whether it came.
func endsNow(ctx context.Context, backend *sessionbackend.Backend) bool {
	const patience = time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case <-backend.Gone():
		return true
	case <-ctx.Done():
		return false
	}
}

// serve proxies a request to a backend, and releases that.
func (b *SessionBackend) serve(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, backend *sessionbackend.Backend) error {
	defer backend.Release()
	return b.Proxy.ServeHTTP(w, r, next)
}

// callerOf returns who sent a request.
func callerOf(r *http.Request) sessionbackend.Caller {
	address, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string) // else nobody's starts are counted
	return sessionbackend.Caller{Client: address}
}

// refuse answers a request for which there is no backend. What operators need to
// know of a failed one is logged when it ends, not for each that waited for it.
func (b *SessionBackend) refuse(w http.ResponseWriter, err error) error {
	if c := b.logger.Check(zap.DebugLevel, "no session backend for a request"); c != nil {
		c.Write(zap.String("service", b.Name), zap.Error(err))
	}
	status, message := backendStatus(err)
	var later interface{ RetryAfter() time.Duration }
	if errors.As(err, &later) && later.RetryAfter() > 0 {
		seconds := int64((later.RetryAfter() + time.Second - 1) / time.Second)
		w.Header().Set("Retry-After", strconv.FormatInt(max(seconds, 1), 10))
	}
	return caddyhttp.Error(status, errors.New(message))
}

// statusClientGone is what access logs show where a client did not wait, as for
// reverse_proxy.
const statusClientGone = 499

// backendStatus maps the errors of services to a status and what a client may
// know.
func backendStatus(err error) (status int, message string) {
	var (
		key     *sessionbackend.KeyError
		client  *sessionbackend.ClientError
		full    *sessionbackend.FullError
		cordon  *sessionbackend.CordonError
		backoff *sessionbackend.BackoffError
		start   *sessionbackend.StartError
		refusal *peer.Refusal

		unavailable *sessionbackend.UnavailableError
	)
	switch {
	case errors.As(err, &refusal):
		return refusal.Status, refusal.Message
	case errors.As(err, &unavailable):
		return http.StatusServiceUnavailable, "session backends cannot be started for now"
	case errors.Is(err, sessionbackend.ErrGone), errors.Is(err, webtask.ErrTokenRevoked):
		return http.StatusGone, messageGone
	case errors.As(err, &key):
		return http.StatusBadRequest, err.Error()
	case errors.As(err, &client):
		return http.StatusTooManyRequests, err.Error()
	case errors.As(err, &full), errors.As(err, &cordon), errors.Is(err, sessionbackend.ErrClosed):
		return http.StatusServiceUnavailable, err.Error()
	case errors.Is(err, webtask.ErrStoreUnavailable), errors.Is(err, webtask.ErrSessionQuota):
		return http.StatusServiceUnavailable, "no session can be had of the store"
	case errors.As(err, &backoff):
		return http.StatusServiceUnavailable, fmt.Sprintf("the session backend failed %d times in a row", backoff.Failures)
	case errors.As(err, &start) && start.Timeout != 0:
		return http.StatusGatewayTimeout, err.Error()
	case errors.As(err, &start):
		return http.StatusBadGateway, "the session backend did not start"
	case errors.Is(err, context.Canceled):
		return statusClientGone, "the client did not wait"
	default:
		return http.StatusInternalServerError, "the session backend cannot be reached"
	}
}
