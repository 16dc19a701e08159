package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/webtask-edge/caddy-webtask/sessionbackend"
	"github.com/webtask-edge/caddy-webtask/sessionbackend/peer"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

// elsewhere is a backend of another edge, and how to reach it.
type elsewhere struct {
	owner   webtask.LeaseOwner
	key     string
	cluster *backendCluster
	request peer.Request
}

// serveElsewhere proxies a request to the edge that has the backend. It reports
// whether nothing was sent on, for the owner is another now, or cannot be reached.
func (b *SessionBackend) serveElsewhere(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, v *visit, held *sessionbackend.HeldError) (again bool, err error) {
	owner, key := held.Owner, v.key
	for range maxAttempts {
		v.elsewhere = &elsewhere{owner: owner, key: key, cluster: b.host.cluster, request: b.peerRequest(r, v, key, owner.Backend)}
		err = b.Proxy.ServeHTTP(w, r, next)
		var refusal *peer.Refusal
		var lost *peer.LostError
		switch {
		case errors.As(err, &refusal) && refusal.Backend != "" && v.pass == nil:
			owner.Backend, owner.Fence = refusal.Backend, refusal.Fence
			b.host.cluster.Learn(b.Name, key, owner)
			continue
		case errors.As(err, &refusal) && refusal.Status != 0:
			return false, b.refuse(w, refusal)
		case refusal != nil:
			b.host.cluster.Forget(b.Name, key, owner)
			return true, &sessionbackend.UnavailableError{Cause: refusal, After: time.Second}
		case errors.As(err, &lost):
			b.host.cluster.Forget(b.Name, key, owner)
			if lost.Sent {
				return false, caddyhttp.Error(http.StatusBadGateway, err)
			}
			return true, &sessionbackend.UnavailableError{Cause: lost, After: time.Second}
		}
		return false, err
	}
	return true, &sessionbackend.UnavailableError{Cause: err, After: time.Second}
}

// peerRequest says to another edge what a request is for.
func (b *SessionBackend) peerRequest(r *http.Request, v *visit, key, backend string) peer.Request {
	request := peer.Request{Service: b.Name, Key: key, Backend: backend, Client: callerOf(r).Client}
	if v.pass != nil {
		request.Pass, request.User, request.Issued = true, v.pass.token.User, v.pass.token.Issued
	}
	return request
}

// ownerOfToken returns the edge that has the backend of a token, if that is another.
func (b *SessionBackend) ownerOfToken(ctx context.Context, token *sessionbackend.Token) *sessionbackend.HeldError {
	if b.host.cluster == nil {
		return nil
	}
	held := b.host.cluster.Elsewhere(b.Name, token.Key)
	if held == nil || held.Owner.Backend != token.Backend {
		held = b.host.cluster.Ask(ctx, b.Name, token.Key)
	}
	if held == nil || held.Owner.Backend != token.Backend {
		return nil
	}
	return held
}

// Waits for the owner of a key, while that cannot be reached.
const (
	firstOwnerPause = 20 * time.Millisecond
	lastOwnerPause  = time.Second
)

// fence is the fencing token in decimal digits.
func (e *elsewhere) fence() string { return strconv.FormatInt(e.owner.Fence, 10) }

var errNoLife = errors.New("this server does not take part yet")

// roundTrip sends a request to the other edge.
func (e *elsewhere) roundTrip(r *http.Request) (*http.Response, error) {
	client := e.cluster.peers()
	if client == nil {
		return nil, &peer.LostError{Node: e.owner.Name, Cause: errNoLife}
	}
	return client.RoundTrip(r, &e.owner, e.request)
}
