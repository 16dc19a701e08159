package edge

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap/zaptest/observer"

	"github.com/webtask-edge/caddy-webtask/egress"
	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/jsruntime/nodeapi"
	"github.com/webtask-edge/caddy-webtask/jsruntime/source"
	"github.com/webtask-edge/caddy-webtask/jsruntime/webapi"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

// stage is an edge of real parts behind a real server: engine, platforms,
// loader, egress, store and keyring, and an origin that has code.
type stage struct {
	*testing.T
	edge    *Edge
	engine  *jsruntime.Engine
	loader  *source.Loader
	origin  *origin
	url     string // of the server
	store   store
	log     *observer.ObservedLogs
	console *observer.ObservedLogs
	clock   *clock

	route  *Route // what the server serves
	client *http.Transport

	mu    sync.Mutex
	infos []*RequestInfo
	errs  []error
	next  Next // nil: answers 299

	served chan struct{} // one value for each request that Serve is through with, up to a bound
}

// origin serves code by path.
type origin struct {
	url  string
	mu   sync.Mutex
	code map[string]http.HandlerFunc
}

// put serves code at path.
func (o *origin) put(path, code string) {
	o.handle(path, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		io.WriteString(w, code)
	})
}

func (o *origin) handle(path string, serve http.HandlerFunc) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.code[path] = serve
}

func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	serve, ok := o.code[r.URL.Path]
	o.mu.Unlock()
	if !ok {
		serve = http.NotFound
	}
	serve(w, r)
}

// newStage puts up an edge over a store; change may alter its options.
func newStage(t *testing.T, s store, change func(*Options)) *stage {
	t.Helper()
	st := &stage{T: t, origin: &origin{code: map[string]http.HandlerFunc{}}, store: s, clock: newClock(), route: &Route{}, served: make(chan struct{}, 1000)}
	codeServer := httptest.NewServer(st.origin)
	t.Cleanup(codeServer.Close)
	st.origin.url = codeServer.URL

	policy, err := egress.ParsePolicy([]string{strings.TrimPrefix(codeServer.URL, "http://")})
	if err != nil {
		t.Fatal(err)
	}
	transport := egress.NewTransport(policy, egress.TransportOptions{})
	st.engine = jsruntime.NewEngine(jsruntime.Options{Web: webapi.New(), Node: nodeapi.New()})
	programs, err := NewPrograms(st.engine, 0)
	if err != nil {
		t.Fatal(err)
	}
	st.loader, err = source.NewLoader(source.Options{
		Transport: transport, Allow: []string{codeServer.URL + "/*"}, FetchTimeout: time.Second, CodeSize: 1 << 20, Check: programs.Check,
	})
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := webtask.NewVerifier(testRing(), webtask.VerifierOptions{})
	if err != nil {
		t.Fatal(err)
	}
	log, logs := testLog()
	console, lines := testLog()
	st.log, st.console = logs, lines
	options := Options{
		Verifier: verifier, Rates: s, Sessions: s, Loader: st.loader, Runner: st.engine, Programs: programs,
		Revocations: NewRevocations(s, RevocationOptions{}), Transport: transport, Egress: policy,
		Logger: log, Console: console, Now: st.clock.Now,
	}
	if change != nil {
		change(&options)
	}
	if st.edge, err = New(options); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(st)
	st.url = server.URL
	st.client = &http.Transport{DisableCompression: true}
	t.Cleanup(func() {
		st.client.CloseIdleConnections()
		server.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := st.engine.Close(ctx); err != nil {
			t.Error("draining the engine:", err)
		}
		if err := st.loader.Close(); err != nil {
			t.Error(err)
		}
		transport.Close()
	})
	return st
}

// ServeHTTP is what package caddymodule does, without Caddy.
func (st *stage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	info := &RequestInfo{ClientIP: host, Secure: r.Header.Get("X-Test-Scheme") == "https"}
	var err error
	defer func() { // also when Serve aborts
		st.mu.Lock()
		st.infos, st.errs = append(st.infos, info), append(st.errs, err)
		st.mu.Unlock()
		select {
		case st.served <- struct{}{}:
		default:
		}
	}()
	err = st.edge.Serve(w, r, st.route, info, func(w http.ResponseWriter, r *http.Request) error {
		if st.next != nil {
			return st.next(w, r)
		}
		w.WriteHeader(299)
		return nil
	})
	var answer *Answer
	if errors.As(err, &answer) {
		http.Error(w, "handed on", answer.Status)
	}
}

// inline makes the stage serve code without a token.
func (st *stage) inline(code string) *webtask.Task {
	task := &webtask.Task{Container: "@site", ID: "route:test", Code: webtask.CodeRef{Kind: webtask.CodeInline, Value: code}, ParseBody: webtask.ParseBodyByArity}
	st.route = &Route{Task: task}
	return task
}

// tokenFor puts code on the origin and returns a token that runs it.
func (st *stage) tokenFor(code string, change func(*webtask.Claims)) string {
	st.Helper()
	claims := webtask.Claims{Container: "acme"}
	if code != "" {
		st.origin.put("/code.js", code)
		claims.URL = st.origin.url + "/code.js"
	}
	if change != nil {
		change(&claims)
	}
	return testToken(st, claims)
}

// do sends a request and reads the answer.
func (st *stage) do(method, target string, header http.Header, body string) (*http.Response, string) {
	st.Helper()
	resp, text, err := st.try(method, target, header, body)
	if err != nil {
		st.Fatal(err)
	}
	return resp, text
}

func (st *stage) try(method, target string, header http.Header, body string) (*http.Response, string, error) {
	st.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	r, err := http.NewRequestWithContext(testContext(st), method, st.url+target, reader)
	if err != nil {
		st.Fatal(err)
	}
	for name, values := range header {
		if name == "Host" {
			r.Host = values[0]
			continue
		}
		r.Header[name] = values
	}
	resp, err := st.client.RoundTrip(r)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp, string(text), err
}

func (st *stage) get(target string, header http.Header) (*http.Response, string) {
	st.Helper()
	return st.do("GET", target, header, "")
}

func bearerHeader(token string) http.Header {
	return http.Header{"Authorization": {"Bearer " + token}}
}

// lastInfo returns what the edge said about the last request that was served.
func (st *stage) lastInfo() *RequestInfo {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.infos[len(st.infos)-1]
}

// noLeak fails if a secret or token that was used is in a log entry.
func (st *stage) noLeak(secrets ...string) {
	st.Helper()
	for _, entry := range append(st.log.All(), st.console.All()...) {
		text := entry.Message
		for _, field := range entry.Context {
			text += " " + field.String
			if err, ok := field.Interface.(error); ok {
				text += " " + err.Error()
			}
		}
		for _, secret := range secrets {
			if strings.Contains(text, secret) {
				st.Errorf("the log entry %q holds a secret", entry.Message)
			}
		}
	}
}

// await waits for an event.
func (st *stage) await(event <-chan struct{}) {
	st.Helper()
	select {
	case <-event:
	case <-testContext(st).Done():
		st.Fatal("it never happened")
	}
}
