package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
)

// TransportOptions of a Transport. Every zero field has a default.
type TransportOptions struct {
	// Resolver turns names into addresses. Default: net.DefaultResolver.
	Resolver Resolver

	// Forbidden reports addresses that no name and no range opens, only a rule
	// with that very address and port: the edge's own administration endpoint.
	// It is asked at every connection, from many goroutines. Default: none.
	Forbidden func(netip.AddrPort) bool

	// DialTimeout bounds resolving and connecting together. Default: 10 s.
	DialTimeout time.Duration

	// HeaderTimeout bounds the wait for a response's headers after the request
	// was written. Default: 60 s.
	HeaderTimeout time.Duration

	// MaxHeaderBytes bounds a response's headers. Default: 256 KiB.
	MaxHeaderBytes int64

	// IdleTimeout is how long an unused connection is kept. Default: 90 s.
	IdleTimeout time.Duration

	// MaxIdlePerHost is how many unused connections are kept for one host, of
	// each container. Default: 64; twice that for all its hosts together.
	MaxIdlePerHost int

	// RootCAs verify servers. Default: the system's.
	RootCAs *x509.CertPool
}

// Transport is an http.RoundTripper that reaches only what its policy allows.
// It takes no proxy from the environment and sends no credentials of its own.
// Redirects are not followed; each hop that a caller follows is a RoundTrip
// and so is checked again. It is safe for concurrent use.
//
// Connections are kept and shared by the requests of one container, whatever
// policy they are made under. That is sound because the edge's own rules, which
// are one for the whole Transport, are what decides about the address of such a
// connection, while a narrowing list decides by host name and port before a
// connection is chosen. A request whose list can only be decided by the
// address behind a name gets a connection of its own.
//
// Containers share none: on one connection a task that does not read, or makes
// its server close it, would hold up others (RFC 9113, section 5.2), and one that
// confuses the server about where a request ends could have another's answer
// (RFC 9112, section 11.2).
type Transport struct {
	policy      *Policy
	resolver    Resolver
	forbidden   func(netip.AddrPort) bool
	dialTimeout time.Duration

	own        *http.Transport // of requests of no container
	containers *otter.Cache[string, *http.Transport]
	kept       func() *http.Transport // makes one that keeps connections
	single     *http.Transport
	closed     atomic.Bool
}

// maxContainers is of how many containers connections are kept.
const maxContainers = 256

// NewTransport returns a Transport for a policy as ParsePolicy returns it.
func NewTransport(policy *Policy, options TransportOptions) *Transport {
	t := &Transport{
		policy:      policy,
		resolver:    options.Resolver,
		forbidden:   options.Forbidden,
		dialTimeout: withDefault(options.DialTimeout, 10*time.Second),
	}
	if t.resolver == nil {
		t.resolver = defaultResolver
	}
	t.kept = func() *http.Transport {
		kept := t.httpTransport(options)
		kept.ForceAttemptHTTP2 = true
		return kept
	}
	t.own = t.kept()
	t.containers = otter.Must(&otter.Options[string, *http.Transport]{
		MaximumSize: maxContainers,
		OnDeletion:  func(e otter.DeletionEvent[string, *http.Transport]) { e.Value.CloseIdleConnections() },
		Executor:    func(run func()) { run() }, // no goroutine that somebody would have to end
	})
	t.single = t.httpTransport(options)
	t.single.DisableKeepAlives = true
	t.single.Protocols = new(http.Protocols)
	t.single.Protocols.SetHTTP1(true)
	return t
}

// maxUnread is how much of a body HTTP/2 takes before anybody reads it. By its
// default, 4 MiB, a task that reads none of its answers would fill the memory.
const maxUnread = 256 << 10

func (t *Transport) httpTransport(options TransportOptions) *http.Transport {
	perHost := withDefault(options.MaxIdlePerHost, 64)
	return &http.Transport{
		DialContext:            t.dial,
		TLSClientConfig:        &tls.Config{RootCAs: options.RootCAs, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    10 * time.Second,
		MaxIdleConns:           2 * perHost,
		MaxIdleConnsPerHost:    perHost,
		IdleConnTimeout:        withDefault(options.IdleTimeout, 90*time.Second),
		ResponseHeaderTimeout:  withDefault(options.HeaderTimeout, time.Minute),
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: withDefault(options.MaxHeaderBytes, 256<<10),
		HTTP2:                  &http.HTTP2Config{MaxReceiveBufferPerStream: maxUnread},
	}
}

func withDefault[T int | int64 | time.Duration](value, otherwise T) T {
	if value == 0 {
		return otherwise
	}
	return value
}

// RoundTrip sends a request of no container under the policy of the Transport.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	return t.roundTrip(req, t.policy, "")
}

// For returns the Transport as seen by a task: with the connections of its
// container, which must have a name, and under its policy. Only the narrowing
// lists of p count; the edge's own rules stay those of t.
func (t *Transport) For(container string, p *Policy) http.RoundTripper {
	policy := t.policy
	if len(p.narrow) > 0 {
		policy = &Policy{rules: t.policy.rules, narrow: p.narrow}
	}
	return &tasks{t, container, policy}
}

// tasks is the Transport of a container's tasks of one policy.
type tasks struct {
	transport *Transport
	container string
	policy    *Policy
}

// RoundTrip implements http.RoundTripper.
func (t *tasks) RoundTrip(req *http.Request) (*http.Response, error) {
	return t.transport.roundTrip(req, t.policy, t.container)
}

// of returns what keeps the connections of a container; "": of none.
func (t *Transport) of(container string) *http.Transport {
	if container == "" {
		return t.own
	}
	kept, _ := t.containers.ComputeIfAbsent(container, func() (*http.Transport, bool) { return t.kept(), false })
	return kept
}

// Close drops idle connections and refuses further requests. Responses that
// are still being read go on, and their connections end with them.
func (t *Transport) Close() {
	t.closed.Store(true)
	t.own.CloseIdleConnections()
	t.containers.InvalidateAll()
	t.single.CloseIdleConnections()
}

// policyKey carries the policy of a request to the dial of its own connection.
type policyKey struct{}

func (t *Transport) roundTrip(req *http.Request, policy *Policy, container string) (*http.Response, error) {
	needsAddr, err := t.check(req.URL, policy)
	if err != nil {
		// A RoundTripper closes the body, also when it fails.
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, err
	}
	if !needsAddr {
		return t.of(container).RoundTrip(req)
	}
	return t.single.RoundTrip(req.WithContext(context.WithValue(req.Context(), policyKey{}, policy)))
}

func (t *Transport) check(u *url.URL, policy *Policy) (needsAddr bool, err error) {
	if t.closed.Load() {
		return false, ErrClosed
	}
	if u == nil || u.Host == "" {
		return false, errors.New("egress: the URL names no host")
	}
	var port uint64
	switch u.Scheme {
	case "http":
		port = 80
	case "https":
		port = 443
	default:
		return false, &DeniedError{Host: u.Host, Reason: fmt.Sprintf("the scheme %q is neither http nor https", u.Scheme)}
	}
	if p := u.Port(); p != "" {
		if port, err = strconv.ParseUint(p, 10, 16); err != nil {
			return false, &DeniedError{Host: u.Host, Reason: "its port is not a number from 1 to 65535"}
		}
	}
	d, err := parseDestination(u.Hostname(), uint16(port))
	if err != nil {
		return false, err
	}
	return policy.checkHost(d)
}
