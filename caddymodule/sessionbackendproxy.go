package caddymodule

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"golang.org/x/net/http/httpguts"

	"github.com/webtask-edge/caddy-webtask/sessionbackend"
)

// visitVar is the variable of a request that holds its *visit.
const visitVar = "webtask_session_backend"

// visit is a request and the backend that it goes to.
type visit struct {
	backend *sessionbackend.Backend // the last, where one turned out to be dead
	request *http.Request           // as it came to the directive
	repl    *caddy.Replacer
	pass    *pass // what it comes with, if it has to
	key     string
	own     string // name of this edge, "" if it is alone

	elsewhere *elsewhere  // what it goes to instead, of another edge
	sent      atomic.Bool // there was a connection, on which something of it may have gone out
}

var errNoVisit = errors.New("the request has not passed the directive session_backend")

// refusedInProxy are parts of a reverse_proxy that could reach the process of
// another key, or would judge one process by what another did.
func (b *SessionBackend) refusedInProxy() []string {
	p := b.Proxy
	var refused []string
	for name, is := range map[string]bool{
		"upstreams": len(p.Upstreams) > 0, "dynamic_upstreams": p.DynamicUpstreamsRaw != nil, "load_balancing": p.LoadBalancing != nil,
		"health_checks": p.HealthChecks != nil, "circuit_breaker": p.CBRaw != nil,
	} {
		if is {
			refused = append(refused, name)
		}
	}
	return sorted(refused)
}

// provisionProxy makes the reverse_proxy, whose only upstream is the backend of
// each request. It is cleaned up when the last request of this configuration has
// ended: Caddy cleans up at a reload, which would cut WebSockets.
func (b *SessionBackend) provisionProxy(ctx caddy.Context) error {
	if b.Proxy == nil {
		b.Proxy = new(reverseproxy.Handler)
	}
	if b.Proxy.StreamBufferSize == 0 {
		b.Proxy.StreamBufferSize = streamBuffer
	}
	b.Proxy.DynamicUpstreams = upstreamOfVisit{}
	if err := b.Proxy.Provision(ctx); err != nil {
		return err
	}
	b.Proxy.Transport = &verifiedTransport{b.Proxy.Transport}
	b.app.shared.release = append(b.app.shared.release, b.Proxy.Cleanup)
	return nil
}

// streamBuffer is how many bytes of a tunnel are copied at once, where the
// configuration does not say. There are two buffers for each, and most tunnels are
// idle most of the time.
const streamBuffer = 8 << 10

// upstreamOfVisit is a reverseproxy.UpstreamSource.
type upstreamOfVisit struct{}

// GetUpstreams implements reverseproxy.UpstreamSource.
func (upstreamOfVisit) GetUpstreams(r *http.Request) ([]*reverseproxy.Upstream, error) {
	v, ok := caddyhttp.GetVar(r.Context(), visitVar).(*visit)
	if !ok {
		return nil, errNoVisit
	}
	if v.elsewhere != nil {
		return []*reverseproxy.Upstream{{Dial: v.elsewhere.owner.Address}}, nil
	}
	address := v.backend.Address()
	dial := address.Address
	if address.Network == "unix" {
		dial = "unix/" + dial
	}
	return []*reverseproxy.Upstream{{Dial: dial}}, nil
}

// verifiedTransport says to a backend what the edge knows of a request. It comes
// after everything that the client, the configuration and the proxy put into
// the request, so that none of it can take the names or have them removed as
// hop-by-hop headers.
type verifiedTransport struct {
	http.RoundTripper
}

const verifiedPrefix = "x-verified-"

// isVerified reports whether a backend could take a header for one of ours. Some
// languages make no difference between - and _.
func isVerified(name string) bool {
	return len(name) >= len(verifiedPrefix) && strings.EqualFold(strings.ReplaceAll(name[:len(verifiedPrefix)], "_", "-"), verifiedPrefix)
}

func removeVerified(header http.Header) {
	for name := range header {
		if isVerified(name) {
			delete(header, name)
		}
	}
}

// RoundTrip implements http.RoundTripper.
func (t *verifiedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	v, ok := caddyhttp.GetVar(r.Context(), visitVar).(*visit)
	if !ok {
		return nil, errNoVisit
	}
	removeVerified(r.Header)
	if len(r.Trailer) > 0 && r.Body != nil {
		removeVerified(r.Trailer)
		r.Body = &verifiedBody{r.Body, r.Trailer}
	}
	// All values in one piece of memory: this is for every request.
	key, id, fence, _ := v.target()
	values := [...]string{key, id, fence, v.path(), "{}", "", ""}
	if v.pass != nil {
		values[4], values[6] = v.pass.data(), v.pass.token.Secret
		r.Header["X-Verified-Secret"] = values[6:]
	}
	for n, name := range [...]string{"X-Verified-Key", "X-Verified-Backend", "X-Verified-Fence", "X-Verified-Path", "X-Verified-User-Data"} {
		r.Header[name] = values[n : n+1 : n+1]
	}
	if user := v.user(); user != "" && httpguts.ValidHeaderFieldValue(user) {
		values[5] = user
		r.Header["X-Verified-Username"] = values[5:6:6]
	}
	if v.elsewhere != nil {
		return v.elsewhere.roundTrip(r)
	}
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { v.sent.Store(true) }}
	return t.RoundTripper.RoundTrip(r.WithContext(httptrace.WithClientTrace(r.Context(), trace)))
}

// user returns who the request is of, as far as the edge knows.
func (v *visit) user() string {
	if v.pass != nil {
		return v.pass.token.User
	}
	user, _ := v.repl.GetString("http.auth.user.id")
	return user
}

// RequiresContentLength implements reverseproxy.ContentLengthRequiredTransport for
// the transport in it.
func (t *verifiedTransport) RequiresContentLength() bool {
	inner, ok := t.RoundTripper.(reverseproxy.ContentLengthRequiredTransport)
	return ok && inner.RequiresContentLength()
}

// ProxyProtocolEnabled implements reverseproxy.ProxyProtocolTransport likewise.
func (t *verifiedTransport) ProxyProtocolEnabled() bool {
	inner, ok := t.RoundTripper.(reverseproxy.ProxyProtocolTransport)
	return ok && inner.ProxyProtocolEnabled()
}

// placeholder returns those that the directive publishes.
func (v *visit) placeholder(key string) (any, bool) {
	if v.backend == nil && v.elsewhere == nil {
		return nil, false // there is none yet
	}
	backend, id, fence, node := v.target()
	switch key {
	case "http.session_backend.key":
		return backend, true
	case "http.session_backend.id":
		return id, true
	case "http.session_backend.fence":
		return fence, true
	case "http.session_backend.node":
		return node, true
	}
	return nil, false
}

// target returns what the edge knows of the backend.
func (v *visit) target() (key, id, fence, node string) {
	if e := v.elsewhere; e != nil {
		return e.key, e.owner.Backend, e.fence(), e.owner.Name
	}
	return v.backend.Key, v.backend.ID, v.backend.FenceText(), v.own
}

// path returns the URI as the client sent it.
func (v *visit) path() string {
	if v.pass != nil && v.pass.uri != "" {
		return v.pass.uri
	}
	if original, ok := v.request.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok && original.RequestURI != "" {
		return original.RequestURI
	}
	return v.request.URL.RequestURI()
}

// verifiedBody is the body of a request with trailers, which are known at its
// end.
type verifiedBody struct {
	io.ReadCloser
	trailer http.Header
}

func (b *verifiedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		removeVerified(b.trailer)
	}
	return n, err
}

// checkOrigin refuses upgrades that pages of other sites ask for: browsers send
// this site's cookies with them, and let those pages read the answers.
func (b *SessionBackend) checkOrigin(r *http.Request) error {
	if !isUpgrade(r) {
		return nil
	}
	origin := r.Header.Get("Origin")
	if origin == "" || slices.Contains(b.Origins, "*") || slices.Contains(b.Origins, strings.ToLower(origin)) {
		return nil
	}
	if from, err := url.Parse(origin); err == nil && from.Host != "" && strings.EqualFold(from.Host, r.Host) {
		return nil
	}
	return fmt.Errorf("pages of the origin %q may not connect here; the option origins of session_backend names those that may", origin)
}

// isUpgrade reports whether a request asks for another protocol, over HTTP/1.1
// or as extended CONNECT (RFC 8441, RFC 9220).
func isUpgrade(r *http.Request) bool {
	return httpguts.HeaderValuesContainsToken(r.Header["Connection"], "upgrade") || r.Header.Get("Upgrade") != "" || r.Method == http.MethodConnect
}
