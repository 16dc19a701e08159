package edge

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// planFor checks a token of ours and returns the plan of what it runs:
// signature, time, revocation, host, container and rate limits, and then the
// secrets.
func (e *Edge) planFor(r *http.Request, route *Route, token string, now time.Time) (*plan, error) {
	p, err := e.openToken(r, route, token, now)
	e.opts.Observer.TokenOpened(tokenResult(err))
	return p, err
}

func (e *Edge) openToken(r *http.Request, route *Route, token string, now time.Time) (*plan, error) {
	verified, err := e.verify(r, token, route.Container, now)
	if err != nil {
		return nil, err
	}
	if claims := verified.Claims(); claims.RateLimit != (webtask.RateLimits{}) {
		if err := e.takeRate(r.Context(), verified, now); err != nil {
			return nil, err
		}
	}
	return e.tokenPlan(verified, route)
}

// verify does the checks of a token that count nothing.
func (e *Edge) verify(r *http.Request, token, container string, now time.Time) (*webtask.Verified, error) {
	if e.opts.Verifier == nil {
		return nil, webtask.ErrTokenUnverified
	}
	verified, err := e.opts.Verifier.Open(token, now)
	if err != nil {
		return nil, err
	}
	if e.opts.Revocations != nil {
		if err := e.opts.Revocations.check(verified, now); err != nil {
			return nil, err
		}
	}
	claims := verified.Claims()
	if claims.Host != "" && !strings.EqualFold(claims.Host, stripPort(r.Host)) {
		return nil, &tokenNotAllowed{why: "its claim host names another host."}
	}
	if container != "" && !verified.AllowsContainer(container) {
		return nil, &tokenNotAllowed{why: "it is for another container."}
	}
	if home, ok := e.runDomain.container(r.Host); ok && claims.Container != home {
		// That host is an origin of its own for one container.
		return nil, &tokenNotAllowed{why: "this host is another container's."}
	}
	return verified, nil
}

// takeRate counts a request against the rate limits of its token.
func (e *Edge) takeRate(ctx context.Context, token *webtask.Verified, now time.Time) error {
	if e.opts.Rates == nil {
		return errNoStore
	}
	claims := token.Claims()
	start := e.opts.Now()
	after, err := e.opts.Rates.Take(ctx, now, claims.RateLimit.Windows(claims.Container, claims.ID))
	e.opts.Observer.StoreCalled("rate", e.opts.Now().Sub(start), err)
	switch {
	case err != nil && !errors.Is(err, webtask.ErrRateLimited):
		return err
	case err != nil || after > 0:
		return &retryError{webtask.ErrRateLimited, max(after, time.Second)}
	}
	return nil
}

// Match reports whether the request carries one token of ours that passes
// every check that needs no counting: signature, time, revocation, host, and,
// unless it is empty, the container. The error, an *Answer, says that it
// cannot be told.
func (e *Edge) Match(r *http.Request, container string) (bool, error) {
	token, err := findToken(r)
	if err != nil || token.in == carriedNot {
		return false, nil
	}
	_, err = e.verify(r, token.token, container, e.opts.Now())
	if errors.Is(err, ErrRevocationsStale) {
		return false, AnswerFor(err)
	}
	return err == nil, nil
}

// tokenResult names what became of a token, for metrics.
func tokenResult(err error) string {
	for _, known := range tokenResults {
		if errors.Is(err, known.err) {
			return known.result
		}
	}
	if err != nil {
		return "error"
	}
	return "ok"
}

var tokenResults = []struct {
	err    error
	result string
}{
	{webtask.ErrTokenMalformed, "malformed"},
	{webtask.ErrTokenUnverified, "unverified"},
	{webtask.ErrTokenExpired, "expired"},
	{webtask.ErrTokenNotYetValid, "not_yet_valid"},
	{webtask.ErrTokenRevoked, "revoked"},
	{webtask.ErrTokenNotAllowed, "not_allowed"},
	{webtask.ErrTokenSecrets, "secrets"},
	{webtask.ErrRateLimited, "rate_limited"},
}
