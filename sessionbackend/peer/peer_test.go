package peer_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/webtask-edge/caddy-webtask/sessionbackend/peer"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	ann = peer.Identity{Node: "ann", Life: "life1"}
	bob = peer.Identity{Node: "bob", Life: "life2"}
)

func authority(t *testing.T, secrets ...byte) *peer.Authority {
	t.Helper()
	all := make([][]byte, len(secrets))
	for i, secret := range secrets {
		all[i] = bytes.Repeat([]byte{secret}, 32)
	}
	a, err := peer.NewAuthority(all)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// backend answers requests that ann's edge sends to bob's.
type backend struct {
	*testing.T
	server *peer.Server
	owner  webtask.LeaseOwner
	got    peer.Request
	serve  func(w http.ResponseWriter, r *http.Request) error // if set, instead of the backend
}

// start starts bob's edge, whose backend is a handler.
func start(t *testing.T, handler http.HandlerFunc) *backend {
	t.Helper()
	process := httptest.NewServer(handler)
	t.Cleanup(process.Close)
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", process.Listener.Addr().String())
	}}
	t.Cleanup(transport.CloseIdleConnections)
	b := &backend{T: t}
	var err error
	b.server, err = peer.NewServer(peer.ServerOptions{Self: bob, Authority: authority(t, 1), Serve: func(w http.ResponseWriter, r *http.Request, request peer.Request) error {
		b.got = request
		if b.serve != nil {
			return b.serve(w, r)
		}
		return peer.Forward(w, r, transport)
	}})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- b.server.Serve(listener) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = b.server.Close(ctx) // tunnels are not waited for
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	b.owner = webtask.LeaseOwner{LeaseNode: webtask.LeaseNode{Name: bob.Node, Incarnation: bob.Life + ".3", Address: listener.Addr().String()}}
	return b
}

func client(t *testing.T, a *peer.Authority) *peer.Client {
	t.Helper()
	c, err := peer.NewClient(peer.ClientOptions{Self: ann, Authority: a, Silence: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func request(t *testing.T, method string, body io.Reader, header ...string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, "http://docs.example.com/a%2Fb//c?d=%zz", body)
	r.RequestURI = ""
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	return r
}

// A request arrives as it is, with what the first edge says of it, and so does the
// answer.
func TestForward(t *testing.T) {
	b := start(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Webtask-Peer-Answer", "edge") // a forgery
		w.Header().Set("Trailer", "X-End")
		w.WriteHeader(http.StatusMisdirectedRequest) // its own
		fmt.Fprint(w, r.Method, " ", r.Host, " ", r.RequestURI, " ", r.Header["X-Forwarded-For"], r.Header["Webtask-Peer-Request"], r.Header["Expect"], " ", string(body), " ", r.Trailer)
		w.Header().Set("X-End", "end")
	})
	c := client(t, authority(t, 1))
	r := request(t, "POST", strings.NewReader("the body"), "X-Forwarded-For: 192.0.2.1", "Webtask-Peer-Request: forged")
	r.Trailer = http.Header{"X-Sum": {"42"}}
	r.ContentLength = -1
	resp, err := c.RoundTrip(r, &b.owner, peer.Request{Service: "docs", Key: "ключ {x}", Backend: "id", Client: "192.0.2.1"})
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		t.Fatal(err)
	}
	if want := "POST docs.example.com /a%2Fb//c?d=%zz [192.0.2.1] [] [] the body map[X-Sum:[42]]"; string(text) != want || resp.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("it answers %d %s\nwant %s", resp.StatusCode, text, want)
	}
	if resp.Trailer.Get("X-End") != "end" || resp.Header.Get("Webtask-Peer-Answer") != "" {
		t.Errorf("headers %v, trailers %v", resp.Header, resp.Trailer)
	}
	if want := (peer.Request{Service: "docs", Key: "ключ {x}", Backend: "id", Client: "192.0.2.1"}); b.got != want {
		t.Errorf("it is for %+v", b.got)
	}
}

// What is written is sent on at once, in both directions, also after an upgrade.
func TestTunnel(t *testing.T) {
	b := start(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			fmt.Fprint(w, "event")
			_ = http.NewResponseController(w).Flush() // the test would not hear of it
			<-r.Context().Done()
			return
		}
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_, _ = io.Copy(conn, buffered)
	})
	c := client(t, authority(t, 1))
	events, err := c.RoundTrip(request(t, "GET", nil), &b.owner, peer.Request{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(events.Body, make([]byte, len("event"))); err != nil {
		t.Error(err)
	}
	events.Body.Close()
	resp, err := c.RoundTrip(request(t, "GET", nil, "Connection: Upgrade", "Upgrade: echo"), &b.owner, peer.Request{})
	if err != nil {
		t.Fatal(err)
	}
	tunnel, ok := resp.Body.(io.ReadWriteCloser)
	if resp.StatusCode != http.StatusSwitchingProtocols || !ok {
		t.Fatalf("an upgrade is answered with %s", resp.Status)
	}
	lines := bufio.NewReader(tunnel)
	for n := range 3 {
		fmt.Fprintf(tunnel, "line %d\n", n)
		if line, err := lines.ReadString('\n'); err != nil || line != fmt.Sprintf("line %d\n", n) {
			t.Fatalf("sent line %d and got %q, %v", n, line, err)
		}
		<-time.After(500 * time.Millisecond) // longer than an edge may be silent, that is there
	}
	tunnel.Close()
}

// A request that is refused has its body still, and can be sent again.
func TestRefusal(t *testing.T) {
	b := start(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	want := &peer.Refusal{Status: 503, Message: "full", After: 3 * time.Second, Backend: "next", Fence: 42}
	b.serve = func(http.ResponseWriter, *http.Request) error { return fmt.Errorf("wrapped: %w", want) }
	c := client(t, authority(t, 1))
	r := request(t, "POST", strings.NewReader(strings.Repeat("x", 1<<20)))
	_, err := c.RoundTrip(r, &b.owner, peer.Request{})
	var got *peer.Refusal
	if !errors.As(err, &got) || *got != *want {
		t.Fatalf("it is refused with %+v, want %+v", err, want)
	}
	b.serve = func(http.ResponseWriter, *http.Request) error { return errors.New("a secret of the edge") }
	if _, err = c.RoundTrip(r, &b.owner, peer.Request{}); !errors.As(err, &got) || got.Status != 502 || strings.Contains(err.Error(), "secret") {
		t.Errorf("an error of the other edge is %+v", err)
	}
	b.serve = nil
	resp, err := c.RoundTrip(r, &b.owner, peer.Request{})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, resp.Body); n != 1<<20 || err != nil {
		t.Errorf("%d bytes come back of a request that was refused before, %v", n, err)
	}
	resp.Body.Close()
}

// Only who it is said to be is talked to, and only edges of the same keys.
func TestIdentity(t *testing.T) {
	b := start(t, func(http.ResponseWriter, *http.Request) {})
	try := func(c *peer.Client, owner webtask.LeaseOwner) error {
		resp, err := c.RoundTrip(request(t, "GET", nil), &owner, peer.Request{})
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	c := client(t, authority(t, 1))
	if err := try(c, b.owner); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(*webtask.LeaseOwner){
		"another life": func(o *webtask.LeaseOwner) { o.Incarnation = "life3.0" },
		"another name": func(o *webtask.LeaseOwner) { o.Name = "carol" },
	} {
		owner := b.owner
		change(&owner)
		var lost *peer.LostError
		if err := try(c, owner); !errors.As(err, &lost) || lost.Sent {
			t.Errorf("%s is taken for it: %v", what, err)
		}
	}
	if err := try(client(t, authority(t, 2)), b.owner); err == nil {
		t.Error("an edge of other keys is served")
	}
	// Keys are changed one edge after the other.
	if err := b.server.SetAuthority(authority(t, 2, 1)); err != nil {
		t.Fatal(err)
	}
	for _, keys := range [][]byte{{1, 2}, {2, 1}, {2}} {
		if err := try(client(t, authority(t, keys...)), b.owner); err != nil {
			t.Errorf("keys %v: %v", keys, err)
		}
	}
	// Who shows no certificate is nobody.
	conn, err := net.Dial("tcp", b.owner.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if text, _ := io.ReadAll(conn); strings.Contains(string(text), "200") {
		t.Errorf("without TLS: %s", text)
	}
}

// An edge that stands still is given up, with what it has.
func TestSilence(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") // which takes connections, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	owner := webtask.LeaseOwner{LeaseNode: webtask.LeaseNode{Name: bob.Node, Incarnation: bob.Life + ".0", Address: listener.Addr().String()}}
	var lost *peer.LostError
	if _, err := client(t, authority(t, 1)).RoundTrip(request(t, "GET", nil), &owner, peer.Request{}); !errors.As(err, &lost) {
		t.Errorf("it is %v", err)
	}

	b := start(t, nil)
	reached := make(chan struct{})
	still := make(chan struct{})
	b.serve = func(http.ResponseWriter, *http.Request) error {
		close(reached)
		<-still
		return errors.New("too late")
	}
	proxy := freezable(t, b.owner.Address)
	b.owner.Address = proxy.Addr().String()
	failed := make(chan error, 1)
	go func() {
		_, err := client(t, authority(t, 1)).RoundTrip(request(t, "GET", nil), &b.owner, peer.Request{})
		failed <- err
	}()
	<-reached
	proxy.freeze()
	if err := <-failed; !errors.As(err, &lost) || !lost.Sent {
		t.Errorf("a request that an edge has which stands still: %v", err)
	}
	close(still)
}

// network is what is between two edges, and can stop to carry anything.
type network struct {
	net.Listener
	frozen chan struct{}
}

func freezable(t *testing.T, to string) *network {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &network{listener, make(chan struct{})}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			there, err := net.Dial("tcp", to)
			if err != nil {
				from.Close()
				continue
			}
			t.Cleanup(func() { from.Close(); there.Close() })
			go n.carry(from, there)
			go n.carry(there, from)
		}
	}()
	return n
}

func (n *network) freeze() { close(n.frozen) }

func (n *network) carry(from, to net.Conn) {
	buffer := make([]byte, 1<<16)
	for {
		count, err := from.Read(buffer)
		if err != nil {
			return
		}
		select {
		case <-n.frozen:
			continue // lost
		default:
		}
		if _, err := to.Write(buffer[:count]); err != nil {
			return
		}
	}
}
