package edge

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/webtask-edge/caddy-webtask/egress"
	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/jsruntime/nodeapi"
	"github.com/webtask-edge/caddy-webtask/jsruntime/source"
	"github.com/webtask-edge/caddy-webtask/jsruntime/webapi"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

// discard is the least http.ResponseWriter.
type discard struct {
	header http.Header
	status int
	bytes  int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(p []byte) (int, error) { d.bytes += len(p); return len(p), nil }

// benchmarkServe measures Serve alone, warm: what a request costs beyond
// net/http. The request is what wrk sends.
func benchmarkServe(b *testing.B, code string, withToken bool) {
	origin := &origin{code: map[string]http.HandlerFunc{}}
	server := httptest.NewServer(origin)
	defer server.Close()
	origin.put("/hello.js", code)
	policy, err := egress.ParsePolicy([]string{server.Listener.Addr().String()})
	if err != nil {
		b.Fatal(err)
	}
	transport := egress.NewTransport(policy, egress.TransportOptions{})
	defer transport.Close()
	engine := jsruntime.NewEngine(jsruntime.Options{Web: webapi.New(), Node: nodeapi.New()})
	defer engine.Close(b.Context())
	loader, err := source.NewLoader(source.Options{Transport: transport, Allow: []string{server.URL + "/*"}})
	if err != nil {
		b.Fatal(err)
	}
	defer loader.Close()
	verifier, err := webtask.NewVerifier(testRing(), webtask.VerifierOptions{})
	if err != nil {
		b.Fatal(err)
	}
	e, err := New(Options{
		Verifier: verifier, Revocations: NewRevocations(nil, RevocationOptions{}), Loader: loader, Runner: engine,
		Transport: transport, Egress: policy,
	})
	if err != nil {
		b.Fatal(err)
	}
	r := &http.Request{
		Method: "GET", URL: &url.URL{Path: "/run"}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		RequestURI: "/run", Host: "localhost:8080", Header: http.Header{}, Body: http.NoBody,
	}
	route := &Route{}
	if withToken {
		r.Header = bearerHeader(testToken(b, webtask.Claims{Container: "acme", URL: server.URL + "/hello.js"}))
	} else {
		route.Task = &webtask.Task{Container: "@site", ID: "route:x", Code: webtask.CodeRef{Kind: webtask.CodeInline, Value: code}}
	}
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		r := r.WithContext(b.Context())
		for pb.Next() {
			w := &discard{header: make(http.Header, 8)}
			info := RequestInfo{ClientIP: "127.0.0.1"}
			if err := e.Serve(w, r, route, &info, nil); err != nil || w.status != 200 || w.bytes == 0 {
				b.Errorf("status %d, %d bytes, %v", w.status, w.bytes, err)
				return
			}
		}
	})
}

const (
	helloCallback = `module.exports = function (cb) { cb(null, "hello"); };`
	helloWeb      = `export default { fetch() { return new Response("hello"); } };`
)

func BenchmarkServeTokenCallback(b *testing.B) { benchmarkServe(b, helloCallback, true) }
func BenchmarkServeTokenWeb(b *testing.B)      { benchmarkServe(b, helloWeb, true) }
func BenchmarkServeRouteCallback(b *testing.B) { benchmarkServe(b, helloCallback, false) }
func BenchmarkServeRouteWeb(b *testing.B)      { benchmarkServe(b, helloWeb, false) }
