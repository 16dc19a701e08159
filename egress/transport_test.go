package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// names is a resolver of the test's own: each lookup of a name takes its next
// answer, the last one again and again.
type names struct {
	mu      sync.Mutex
	answers map[string][][]netip.Addr
	lookups int
}

func (n *names) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lookups++
	answers := n.answers[host]
	if len(answers) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: host, Server: "10.9.9.9:53", IsNotFound: true}
	}
	if len(answers) > 1 {
		n.answers[host] = answers[1:]
	}
	return answers[0], nil
}

func addrs(texts ...string) []netip.Addr {
	var list []netip.Addr
	for _, t := range texts {
		list = append(list, netip.MustParseAddr(t))
	}
	return list
}

func portOf(t *testing.T, server *httptest.Server) string {
	t.Helper()
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u.Port()
}

func newTransport(t *testing.T, p *Policy, o TransportOptions) *Transport {
	t.Helper()
	tr := NewTransport(p, o)
	t.Cleanup(tr.Close)
	return tr
}

// get returns the body that a round tripper gets.
func get(t *testing.T, rt http.RoundTripper, url string) (string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

// whoami answers with the remote port, which names the connection.
func whoami(w http.ResponseWriter, r *http.Request) {
	_, port, _ := net.SplitHostPort(r.RemoteAddr)
	fmt.Fprint(w, port)
}

func TestRequestsGoThrough(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(whoami))
	defer server.Close()
	port := portOf(t, server)
	resolver := &names{answers: map[string][][]netip.Addr{"app.internal": {addrs("127.0.0.1")}}}
	tr := newTransport(t, mustPolicy(t, "127.0.0.1:"+port, "app.internal:"+port), TransportOptions{Resolver: resolver})
	first, err := get(t, tr, "http://127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := get(t, tr, "http://127.0.0.1:"+port); err != nil || again != first {
		t.Errorf("the connection was not reused: %v", err)
	}
	if _, err := get(t, tr, "http://APP.internal:"+port); err != nil {
		t.Error(err)
	}
}

func TestDeniedBeforeAnythingIsSent(t *testing.T) {
	var reached atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Store(true) }))
	defer server.Close()
	port := portOf(t, server)
	resolver := &names{answers: map[string][][]netip.Addr{"rebind.example.com": {addrs("127.0.0.1")}, "mixed.example.com": {addrs("10.0.0.1", "127.0.0.1", "169.254.169.254")}}}
	tr := newTransport(t, mustPolicy(t, "public:*", "rebind.example.com:*"), TransportOptions{Resolver: resolver})
	for _, url := range []string{
		server.URL, "http://localhost:" + port, "http://rebind.example.com:" + port, "http://mixed.example.com:" + port,
		"http://[::ffff:127.0.0.1]:" + port, "http://0x7f.1:" + port, "http://2130706433:" + port, "http://127.1:" + port, "http://0.0.0.0:" + port,
		"http://[::1%25lo]:" + port,
	} {
		_, err := get(t, tr, url)
		var denied *DeniedError
		if !errors.As(err, &denied) && !isNotFound(err) {
			t.Errorf("%s: %v", url, err)
		}
	}
	body := &closing{}
	req, err := http.NewRequest(http.MethodPost, server.URL, body)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tr.RoundTrip(req); err == nil || !body.closed {
		t.Errorf("body closed %v: %v", body.closed, err)
	}
	for _, bad := range []string{"ftp://example.com/", "file:///etc/passwd", "//example.com", "http://example.com:99999/"} {
		u, err := url.Parse(bad)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tr.RoundTrip(&http.Request{URL: u}); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
	if reached.Load() {
		t.Error("a denied request arrived")
	}
}

func isNotFound(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) && dns.IsNotFound
}

type closing struct{ closed bool }

func (c *closing) Read([]byte) (int, error) { return 0, io.EOF }
func (c *closing) Close() error             { c.closed = true; return nil }

// DNS rebinding: a name has an allowed address when it is first asked for and
// another afterwards. What was checked is what is dialled, and the next
// connection is checked again.
func TestRebinding(t *testing.T) {
	inner := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the inner server was reached") }))
	defer inner.Close()
	port := portOf(t, inner)
	listener, err := net.Listen("tcp", "127.0.0.2:"+port)
	if err != nil {
		t.Fatal(err)
	}
	outer := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		fmt.Fprint(w, "outer")
	}))
	outer.Listener.Close()
	outer.Listener = listener
	outer.Start()
	defer outer.Close()

	resolver := &names{answers: map[string][][]netip.Addr{"rebind.example.com": {addrs("127.0.0.2"), addrs("127.0.0.1")}}}
	tr := newTransport(t, mustPolicy(t, "127.0.0.2", "rebind.example.com:*"), TransportOptions{Resolver: resolver})
	if body, err := get(t, tr, "http://rebind.example.com:"+port); err != nil || body != "outer" {
		t.Errorf("before: %q %v", body, err)
	}
	if resolver.lookups != 1 {
		t.Errorf("%d lookups for one connection", resolver.lookups)
	}
	var denied *DeniedError
	if _, err := get(t, tr, "http://rebind.example.com:"+port); !errors.As(err, &denied) || denied.Addr != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("after: %v", err)
	}
}

// The socket's own check holds whatever chose the address.
func TestControlIsASecondCheck(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(whoami))
	defer server.Close()
	tr := newTransport(t, mustPolicy(t, "127.0.0.2"), TransportOptions{})
	port, err := strconv.ParseUint(portOf(t, server), 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	d := destination{name: "rebind.example.com", port: uint16(port)}
	var denied *DeniedError
	conn, err := tr.connect(t.Context(), "tcp", tr.policy, d, addrs("127.0.0.1"))
	if !errors.As(err, &denied) {
		t.Errorf("%v %v", conn, err)
	}
}

// A connection that a wider policy opened is of no use to a narrower one, and
// the other way round.
func TestConnectionsAreNotSharedAcrossPolicies(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(whoami))
	defer server.Close()
	port := portOf(t, server)
	resolver := &names{answers: map[string][][]netip.Addr{"app.internal": {addrs("127.0.0.1")}}}
	policy := mustPolicy(t, "app.internal:"+port)
	tr := newTransport(t, policy, TransportOptions{Resolver: resolver})
	under := func(rules ...string) http.RoundTripper {
		p, err := policy.Narrow(rules)
		if err != nil {
			t.Fatal(err)
		}
		return tr.For("acme", p)
	}
	target := "http://app.internal:" + port
	wide, err := get(t, under(), target)
	if err != nil {
		t.Fatal(err)
	}
	var denied *DeniedError
	for _, rules := range [][]string{{"other.internal"}, {"10.0.0.0/8"}, {"public"}, {"app.internal:1"}} {
		if _, err := get(t, under(rules...), target); !errors.As(err, &denied) {
			t.Errorf("%q: %v", rules, err)
		}
	}
	if named, err := get(t, under("app.internal"), target); err != nil || named != wide {
		t.Errorf("a policy that names the host did not get its connection: %v", err)
	}
	single, err := get(t, under("127.0.0.0/8"), target)
	if err != nil || single == wide {
		t.Errorf("a policy that needs the address shares a connection: %v", err)
	}
	if again, err := get(t, under("127.0.0.0/8"), target); err != nil || again == single {
		t.Errorf("its connection was kept: %v", err)
	}
	if again, err := get(t, under(), target); err != nil || again != wide {
		t.Errorf("the wide connection is gone: %v", err)
	}
	// A policy of other origin brings no rules of its own.
	foreign, err := mustPolicy(t, "127.0.0.1").Narrow([]string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := get(t, tr.For("acme", foreign), server.URL); !errors.As(err, &denied) {
		t.Error(err)
	}
}

func TestForbiddenAddresses(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(whoami))
	defer server.Close()
	port := portOf(t, server)
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	options := TransportOptions{
		Resolver: &names{answers: map[string][][]netip.Addr{"localhost": {addrs("127.0.0.1")}}},
		Forbidden: func(ap netip.AddrPort) bool {
			return ap == netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(number))
		},
	}
	for rule, ok := range map[string]bool{
		"127.0.0.0/8": false, "127.0.0.1": false, "127.0.0.1:*": false, "localhost:*": false, "127.0.0.1:" + port: true,
	} {
		tr := newTransport(t, mustPolicy(t, rule), options)
		for _, host := range []string{"127.0.0.1", "localhost"} {
			if _, err := get(t, tr, "http://"+host+":"+port); (err == nil) != ok {
				t.Errorf("%s under %s: %v", host, rule, err)
			}
		}
	}
}

func TestRedirectsAreCheckedAgain(t *testing.T) {
	inner := httptest.NewServer(http.HandlerFunc(whoami))
	defer inner.Close()
	outer := httptest.NewServer(http.RedirectHandler(inner.URL, http.StatusFound))
	defer outer.Close()
	tr := newTransport(t, mustPolicy(t, "127.0.0.1:"+portOf(t, outer)), TransportOptions{})
	resp, err := (&http.Client{Transport: tr}).Get(outer.URL)
	var denied *DeniedError
	if !errors.As(err, &denied) || denied.Host != "127.0.0.1:"+portOf(t, inner) {
		t.Errorf("%v %v", resp, err)
	}
}

// TestConnectionsAreNotSharedAcrossContainers: each container keeps its own,
// also over HTTP/2, and none is the edge's.
func TestConnectionsAreNotSharedAcrossContainers(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(whoami))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	policy := mustPolicy(t, "127.0.0.1:"+portOf(t, server))
	tr := newTransport(t, policy, TransportOptions{RootCAs: roots})
	users := map[string]http.RoundTripper{"edge": tr, "acme": tr.For("acme", policy), "globex": tr.For("globex", policy)}
	owners := make(map[string]string)
	for range 2 {
		for name, user := range users {
			conn, err := get(t, user, server.URL)
			if err != nil {
				t.Fatal(err)
			}
			if owner := owners[conn]; owner != "" && owner != name {
				t.Errorf("%s used the connection of %s", name, owner)
			}
			owners[conn] = name
		}
	}
	if len(owners) != len(users) {
		t.Errorf("%d connections of %d users", len(owners), len(users))
	}
}

// TestManyContainers: connections of those that were not used for long are
// closed, and such a container begins anew.
func TestManyContainers(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(whoami))
	var open atomic.Int64
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed:
			open.Add(-1)
		}
	}
	server.Start()
	defer server.Close()
	policy := mustPolicy(t, "127.0.0.1:"+portOf(t, server))
	tr := newTransport(t, policy, TransportOptions{})
	for i := range maxContainers + 50 {
		if _, err := get(t, tr.For(fmt.Sprint("c", i), policy), server.URL); err != nil {
			t.Fatal(err)
		}
	}
	for open.Load() > maxContainers {
		runtime.Gosched() // the server is about to see them closed
	}
	if _, err := get(t, tr.For("c0", policy), server.URL); err != nil {
		t.Error(err)
	}
}

func TestHTTP2AndCertificates(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) }))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	port := portOf(t, server)
	resolver := &names{answers: map[string][][]netip.Addr{"example.com": {addrs("127.0.0.1")}, "wrong.internal": {addrs("127.0.0.1")}}}
	tr := newTransport(t, mustPolicy(t, "127.0.0.1"), TransportOptions{Resolver: resolver, RootCAs: roots})
	if proto, err := get(t, tr, "https://example.com:"+port); err != nil || proto != "HTTP/2.0" {
		t.Errorf("%s %v", proto, err)
	}
	var hostname x509.HostnameError
	if _, err := get(t, tr, "https://wrong.internal:"+port); !errors.As(err, &hostname) {
		t.Errorf("a certificate of another name: %v", err)
	}
	p, err := tr.policy.Narrow([]string{"127.0.0.0/8"})
	if err != nil {
		t.Fatal(err)
	}
	if proto, err := get(t, tr.For("acme", p), "https://example.com:"+port); err != nil || proto != "HTTP/1.1" {
		t.Errorf("a connection of one's own: %s %v", proto, err)
	}
	untrusting := newTransport(t, mustPolicy(t, "127.0.0.1"), TransportOptions{})
	var cert *tls.CertificateVerificationError
	if _, err := get(t, untrusting, "https://127.0.0.1:"+port); !errors.As(err, &cert) {
		t.Errorf("an unknown authority: %v", err)
	}
}

// TestUnreadBodies has an upstream send more than anybody reads: what it gets
// rid of is what is kept of it.
func TestUnreadBodies(t *testing.T) {
	sent := make(chan int)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		piece := make([]byte, 16<<10)
		for {
			n, err := w.Write(piece)
			if err != nil {
				return
			}
			select {
			case sent <- n:
			case <-r.Context().Done():
				return
			}
		}
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	tr := newTransport(t, mustPolicy(t, "127.0.0.1:"+portOf(t, server)), TransportOptions{RootCAs: pool})
	const bodies = 4
	for range bodies {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.ProtoMajor != 2 {
			t.Fatalf("answered over %s", resp.Proto)
		}
	}
	const slack = 256 << 10 // of the server
	for total := 0; ; {
		select {
		case n := <-sent:
			if total += n; total > bodies*maxUnread+slack {
				t.Fatalf("%d bytes of %d bodies were taken, and nobody read one", total, bodies)
			}
		case <-time.After(200 * time.Millisecond):
			return // the server waits
		}
	}
}

func TestNoProxyFromTheEnvironment(t *testing.T) {
	var proxied atomic.Bool
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { proxied.Store(true) }))
	defer proxy.Close()
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"} {
		t.Setenv(name, proxy.URL)
	}
	resolver := &names{answers: map[string][][]netip.Addr{"app.internal": {addrs("127.0.0.1")}}}
	server := httptest.NewServer(http.HandlerFunc(whoami))
	defer server.Close()
	tr := newTransport(t, mustPolicy(t, "app.internal:*"), TransportOptions{Resolver: resolver})
	if _, err := get(t, tr, "http://app.internal:"+portOf(t, server)); err != nil || proxied.Load() {
		t.Errorf("proxied %v: %v", proxied.Load(), err)
	}
}

func TestNextAddressIsTried(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(whoami))
	defer server.Close()
	port := portOf(t, server)
	// Nothing listens on the first two; the last is not allowed.
	resolver := &names{answers: map[string][][]netip.Addr{"app.internal": {addrs("::1", "127.0.0.2", "127.0.0.1", "169.254.169.254")}}}
	tr := newTransport(t, mustPolicy(t, "app.internal:*"), TransportOptions{Resolver: resolver})
	if _, err := get(t, tr, "http://app.internal:"+port); err != nil {
		t.Error(err)
	}
}

func TestErrorsTellNoAddresses(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
	listener.Close() // nobody listens there now
	resolver := &names{answers: map[string][][]netip.Addr{"app.internal": {addrs("127.0.0.1")}, "empty.internal": {nil}}}
	tr := newTransport(t, mustPolicy(t, "*.internal:*"), TransportOptions{Resolver: resolver})
	for host, want := range map[string]string{"app.internal": "connection refused", "none.internal": "no such host", "empty.internal": "no addresses"} {
		_, err := get(t, tr, "http://"+host+":"+port)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), host) {
			t.Errorf("%s: %v", host, err)
		}
		if err != nil && (strings.Contains(err.Error(), "127.0.0.1") || strings.Contains(err.Error(), "10.9.9.9")) {
			t.Errorf("%s: the error tells an address: %v", host, err)
		}
	}
}

func TestHeadersAreBounded(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Long", strings.Repeat("x", 10<<10))
	}))
	defer server.Close()
	tr := newTransport(t, mustPolicy(t, "127.0.0.1"), TransportOptions{MaxHeaderBytes: 4 << 10})
	if _, err := get(t, tr, server.URL); err == nil || !strings.Contains(err.Error(), "header") {
		t.Error(err)
	}
}

func TestHeaderTimeout(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer server.Close()
	tr := newTransport(t, mustPolicy(t, "127.0.0.1"), TransportOptions{HeaderTimeout: 20 * time.Millisecond})
	var timeout net.Error
	if _, err := get(t, tr, server.URL); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Error(err)
	}
}

func TestClosed(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(whoami))
	defer server.Close()
	tr := NewTransport(mustPolicy(t, "127.0.0.1"), TransportOptions{})
	if _, err := get(t, tr, server.URL); err != nil {
		t.Fatal(err)
	}
	tr.Close()
	if _, err := get(t, tr, server.URL); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

func TestManyAtOnce(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(whoami))
	defer server.Close()
	policy := mustPolicy(t, "app.internal:*")
	resolver := &names{answers: map[string][][]netip.Addr{"app.internal": {addrs("::1", "127.0.0.1")}}}
	tr := newTransport(t, policy, TransportOptions{Resolver: resolver})
	target := "http://app.internal:" + portOf(t, server)
	allowed, err := policy.Narrow([]string{"127.0.0.0/8"})
	if err != nil {
		t.Fatal(err)
	}
	refused, err := policy.Narrow([]string{"10.0.0.0/8"})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() {
			p := []*Policy{policy, allowed, refused}[i%3]
			_, err := get(t, tr.For("acme", p), target)
			if (err == nil) != (p != refused) {
				t.Errorf("policy %d: %v", i%3, err)
			}
		})
	}
	wg.Wait()
}

func BenchmarkCheck(b *testing.B) {
	policy := mustPolicy(b)
	narrow, err := policy.Narrow([]string{"api.example.com", "*.example.org"})
	if err != nil {
		b.Fatal(err)
	}
	tr := NewTransport(policy, TransportOptions{})
	defer tr.Close()
	u := &url.URL{Scheme: "https", Host: "api.example.com"}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tr.check(u, narrow); err != nil {
			b.Fatal(err)
		}
	}
}
