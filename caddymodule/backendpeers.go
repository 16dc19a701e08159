package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/webtask-edge/caddy-webtask/sessionbackend"
	"github.com/webtask-edge/caddy-webtask/sessionbackend/peer"
)

// servePeer serves a request that another edge has for a backend of this one.
func servePeer(w http.ResponseWriter, r *http.Request, request peer.Request) error {
	service := serviceNamed(request.Service)
	if service == nil {
		return &peer.Refusal{}
	}
	directive := service.inForce()
	if directive == nil || !directive.app.life.enter() {
		return &peer.Refusal{}
	}
	defer directive.app.life.leave()
	var busySince time.Time
	for pause := firstDialPause; ; pause = min(2*pause, lastDialPause) {
		err := directive.servePeer(w, r, request)
		var dial reverseproxy.DialError
		if !errors.As(err, &dial) {
			return err
		}
		if busySince.IsZero() {
			busySince = time.Now()
		}
		if !isBusy(dial) || time.Since(busySince) > dialPatience {
			return &peer.Refusal{} // it has ended, and the other edge asks for the next
		}
		select {
		case <-time.After(pause):
		case <-r.Context().Done():
			return err
		}
	}
}

func (b *SessionBackend) servePeer(w http.ResponseWriter, r *http.Request, request peer.Request) error {
	backend, err := b.service.Acquire(r.Context(), request.Key, sessionbackend.Caller{Client: request.Client, Peer: true})
	if err != nil {
		return peerRefusal(err)
	}
	defer backend.Release()
	if backend.ID != request.Backend {
		return &peer.Refusal{Backend: backend.ID, Fence: backend.Fence}
	}
	if request.Pass {
		ctx, done, err := backend.Admit(r.Context(), &sessionbackend.Token{User: request.User, Issued: request.Issued})
		if err != nil {
			return peerRefusal(err)
		}
		defer done()
		r = r.WithContext(ctx)
	}
	return peer.Forward(w, r, &peerTransport{b.Proxy.Transport.(*verifiedTransport).RoundTripper, backend.Address()})
}

// peerRefusal tells another edge why there is no backend for its request.
func peerRefusal(err error) error {
	var held *sessionbackend.HeldError
	if errors.As(err, &held) || errors.Is(err, sessionbackend.ErrUnheld) || errors.Is(err, sessionbackend.ErrClosed) {
		return &peer.Refusal{} // others may have it, or start it
	}
	refusal := new(peer.Refusal)
	refusal.Status, refusal.Message = backendStatus(err)
	var later interface{ RetryAfter() time.Duration }
	if errors.As(err, &later) {
		refusal.After = later.RetryAfter()
	}
	return refusal
}

// peerTransport is the transport of a reverse_proxy, for a request that has not
// come through that.
type peerTransport struct {
	http.RoundTripper
	address sessionbackend.Address
}

// dialInfoKey is where the transport of a reverse_proxy finds what to dial.
const dialInfoKey caddy.CtxKey = "reverse_proxy.dial_info"

// RoundTrip implements http.RoundTripper.
func (t *peerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx := context.WithValue(r.Context(), caddy.ReplacerCtxKey, caddy.NewReplacer())
	ctx = context.WithValue(ctx, dialInfoKey, reverseproxy.DialInfo{Network: t.address.Network, Address: t.address.Address})
	r = r.WithContext(ctx)
	r.URL.Scheme, r.URL.Host = "", t.address.Address // by which connections are told apart
	return t.RoundTripper.RoundTrip(r)
}
