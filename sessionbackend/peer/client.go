package peer

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// ClientOptions configure a Client. All are needed.
type ClientOptions struct {
	Self      Identity
	Authority *Authority

	// Silence is after what time another edge that does not answer is given up, with
	// all requests that it has. It is the time of a lease: then that edge has no
	// backends any more.
	Silence time.Duration
}

// Client sends requests to other edges. It is safe for concurrent use.
type Client struct {
	options ClientOptions

	mu          sync.Mutex
	authority   *Authority
	certificate *tls.Certificate
	others      map[string]*other // by name
}

// NewClient returns a client.
func NewClient(options ClientOptions) (*Client, error) {
	c := &Client{options: options, others: map[string]*other{}}
	return c, c.SetAuthority(options.Authority)
}

// SetAuthority changes the authority for connections made from now on.
func (c *Client) SetAuthority(a *Authority) error {
	certificate, err := a.certify(c.options.Self)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.authority, c.certificate = a, certificate
	for name, o := range c.others {
		o.transport.CloseIdleConnections()
		delete(c.others, name)
	}
	return nil
}

// Close closes the connections that nobody uses.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range c.others {
		o.transport.CloseIdleConnections()
	}
}

const (
	dialTimeout = 2 * time.Second
	clientIdle  = 90 * time.Second
)

// lookUp returns the other edge that owns something.
func (c *Client) lookUp(owner *webtask.LeaseOwner) *other {
	life, _, _ := strings.Cut(owner.Incarnation, ".")
	is := Identity{Node: owner.Name, Life: life}
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.others[owner.Name]
	if o != nil && o.identity == is && o.address == owner.Address {
		return o
	}
	if o != nil {
		o.transport.CloseIdleConnections()
	}
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 5 * time.Second}
	o = &other{
		identity: is, address: owner.Address, silence: c.options.Silence, active: map[*exchange]struct{}{},
		transport: &http.Transport{
			DialContext:     dialer.DialContext,
			TLSClientConfig: c.authority.clientTLS(c.certificate, is), TLSHandshakeTimeout: dialTimeout,
			TLSNextProto:        map[string]func(string, *tls.Conn) http.RoundTripper{}, // HTTP/1.1 only, which has upgrades
			MaxIdleConnsPerHost: 256, IdleConnTimeout: clientIdle,
			DisableCompression: true, ExpectContinueTimeout: 24 * time.Hour, // the other edge answers whether it wants a body
			WriteBufferSize: 16 << 10, ReadBufferSize: 16 << 10,
		},
	}
	c.others[owner.Name] = o
	return o
}

// RoundTrip sends a request to the edge that owns a backend, and returns the answer
// of that. The body of the request is left alone when the other edge refuses the
// request. Errors are *Refusal and *LostError.
func (c *Client) RoundTrip(r *http.Request, owner *webtask.LeaseOwner, request Request) (*http.Response, error) {
	o := c.lookUp(owner)
	var sent atomic.Bool
	client := r.Context()
	// Whoever traces the request is not to see the other edge ask for the body.
	base, cancel := context.WithCancelCause(context.Background())
	context.AfterFunc(client, func() { cancel(context.Cause(client)) })
	ctx := httptrace.WithClientTrace(base, traceOf(client, &sent))
	r = r.Clone(ctx)
	r.URL.Scheme, r.URL.Host = "https", owner.Address
	if err := request.set(r.Header); err != nil {
		cancel(nil)
		return nil, err
	}
	if r.Body != nil && r.Body != http.NoBody {
		r.Header.Set("Expect", "100-continue")
		r.Body = io.NopCloser(r.Body)
	}
	e := &exchange{cancel: cancel}
	o.begin(e)
	resp, err := o.transport.RoundTrip(r)
	if err != nil {
		o.end(e)
		cause := context.Cause(ctx)
		cancel(nil)
		if errors.Is(cause, errSilent) {
			err = cause
		} else if client.Err() != nil {
			return nil, err
		}
		return nil, &LostError{Node: owner.Name, Sent: sent.Load(), Cause: err}
	}
	if resp.Header.Get(answerHeader) != ofBackend {
		defer o.end(e)
		defer cancel(nil)
		return nil, readRefusal(resp)
	}
	resp.Header.Del(answerHeader)
	resp.Body = o.follow(resp.Body, e)
	return resp, nil
}

// traceOf returns what is told of a request: whether its headers went out, and to
// whoever traces ctx, which interim responses the backend gives.
func traceOf(ctx context.Context, sent *atomic.Bool) *httptrace.ClientTrace {
	trace := &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }}
	if outer := httptrace.ContextClientTrace(ctx); outer != nil && outer.Got1xxResponse != nil {
		trace.Got1xxResponse = func(code int, header textproto.MIMEHeader) error {
			if code == http.StatusContinue {
				return nil
			}
			return outer.Got1xxResponse(code, header)
		}
	}
	return trace
}

// maxRefusal is how many bytes a refusal has at most.
const maxRefusal = 64 << 10

func readRefusal(resp *http.Response) error {
	defer resp.Body.Close()
	var refusal Refusal
	if resp.Header.Get(answerHeader) != ofEdge {
		return &LostError{Sent: true, Cause: fmt.Errorf("what answers is no edge: status %d", resp.StatusCode)}
	}
	if err := json.NewDecoder(bufio.NewReader(io.LimitReader(resp.Body, maxRefusal))).Decode(&refusal); err != nil {
		return &LostError{Sent: true, Cause: fmt.Errorf("a refusal that cannot be read: %w", err)}
	}
	return &refusal
}
