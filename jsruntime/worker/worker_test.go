//go:build unix

package worker_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/jsruntime/worker"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

// bench runs scripts in real worker processes.
type bench struct {
	t          testing.TB
	supervisor *worker.Supervisor
}

func newBench(t testing.TB, options worker.Options) *bench {
	t.Helper()
	options.Logger = zap.NewNop()
	s, err := worker.New(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return &bench{t, s}
}

func (b *bench) spec(code string, options jsruntime.SpecOptions) *jsruntime.Spec {
	b.t.Helper()
	program, err := b.supervisor.Compile(b.t.Context(), jsruntime.Script{Name: "test.js", Code: code, ESM: strings.Contains(code, "exports.default")})
	if err != nil {
		b.t.Fatal(err)
	}
	if options.Container == "" {
		options.Container = "acme"
	}
	return jsruntime.NewSpec(options.Container+program.Digest, program, options)
}

func (b *bench) do(spec *jsruntime.Spec, host jsruntime.Host) (string, *jsruntime.Response, error) {
	return b.send(b.t.Context(), spec, &jsruntime.Request{
		ID: "r1", Method: "GET", URL: "http://localhost/", Proto: "HTTP/1.1", Header: http.Header{"X-A": {"1", "2"}}, Host: host,
	})
}

func (b *bench) send(ctx context.Context, spec *jsruntime.Spec, req *jsruntime.Request) (string, *jsruntime.Response, error) {
	resp, err := b.supervisor.Do(ctx, spec, req)
	if err != nil {
		return "", nil, err
	}
	if resp.Body == nil {
		return string(resp.Bytes), resp, nil
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), resp, err
}

// host is a Host that the tests look into.
type host struct {
	mu      sync.Mutex
	fetch   func(context.Context, *jsruntime.FetchRequest) (*jsruntime.FetchResponse, error)
	session jsruntime.Session
	saved   []*webtask.SessionChange
	logs    []string
	fail    error
}

func (h *host) Fetch(ctx context.Context, req *jsruntime.FetchRequest) (*jsruntime.FetchResponse, error) {
	return h.fetch(ctx, req)
}

func (h *host) LoadSession(context.Context) (*jsruntime.Session, error) {
	if h.fail != nil {
		return nil, h.fail
	}
	return &h.session, nil
}

func (h *host) SaveSession(_ context.Context, change *webtask.SessionChange) (*jsruntime.Session, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.saved = append(h.saved, change)
	return &h.session, h.fail
}

func (h *host) Log(entry jsruntime.LogEntry) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.logs = append(h.logs, entry.Message)
}

const web = "exports.default = { async fetch(request, env, ctx) { "

func TestHello(t *testing.T) {
	b := newBench(t, worker.Options{})
	for name, test := range map[string]struct{ code, want string }{
		"callback": {`module.exports = (cb) => cb(null, "hello")`, `"hello"`},
		"web":      {web + `return new Response(request.headers.get("x-a") + env.K)` + "}}", "1, 2v"},
		"node":     {`module.exports = (ctx, req, res) => { res.write("a"); setTimeout(() => res.end("b"), 1) }`, "ab"},
		"async":    {web + `await new Promise(f => setTimeout(f, 5)); return Response.json({ok: true})` + "}}", `{"ok":true}`},
		"large":    {web + `return new Response("x".repeat(300000))` + "}}", strings.Repeat("x", 300000)},
	} {
		t.Run(name, func(t *testing.T) {
			spec := b.spec(test.code, jsruntime.SpecOptions{Secrets: map[string]string{"K": "v"}})
			for range 3 {
				if got, _, err := b.do(spec, &host{}); err != nil || got != test.want {
					t.Fatalf("got %.100q, %v", got, err)
				}
			}
		})
	}
}

func TestErrors(t *testing.T) {
	b := newBench(t, worker.Options{})
	_, _, err := b.do(b.spec(`module.exports = (cb) => { throw new TypeError("no") }`, jsruntime.SpecOptions{}), &host{})
	var script *jsruntime.ScriptError
	if !errors.As(err, &script) || script.Name != "TypeError" || script.Message != "no" || script.Status != 500 || !strings.Contains(script.Stack, "test.js:1") {
		t.Errorf("got %#v", err)
	}
	_, _, err = b.do(b.spec(`module.exports = (`, jsruntime.SpecOptions{}), &host{})
	if !errors.As(err, &script) || script.Kind != jsruntime.KindCompile {
		t.Errorf("got %#v", err)
	}
	down := errors.Join(errors.New("dial"), webtask.ErrStoreUnavailable)
	_, _, err = b.do(b.spec(web+`await ctx.session.get("a"); return new Response()`+"}}", jsruntime.SpecOptions{}), &host{fail: down})
	if !errors.Is(err, down) || !errors.As(err, &script) {
		t.Errorf("the Host's error came back as %#v", err)
	}
}

func TestSession(t *testing.T) {
	b := newBench(t, worker.Options{})
	h := &host{session: jsruntime.Session{ID: "s1", Data: webtask.SessionData{Entries: map[string]webtask.SessionEntry{"n": {Value: []byte("41"), Version: 3}}}}}
	spec := b.spec(web+`const n = await ctx.session.get("n"); await ctx.session.set("n", n + 1); return new Response(ctx.session.id + n)`+"}}", jsruntime.SpecOptions{})
	got, resp, err := b.do(spec, h)
	if err != nil || got != "s141" || resp.Session == nil || string(resp.Session.Set["n"]) != "42" {
		t.Errorf("got %q, %v, %+v", got, err, resp)
	}
}

func TestFetchStreams(t *testing.T) {
	b := newBench(t, worker.Options{})
	text := strings.Repeat("0123456789", 100_000)
	h := &host{fetch: func(_ context.Context, req *jsruntime.FetchRequest) (*jsruntime.FetchResponse, error) {
		if req.Body == nil {
			return nil, errors.New("no body came")
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		return &jsruntime.FetchResponse{Status: 200, URL: req.URL, Header: http.Header{"X-Method": {req.Method}}, Body: io.NopCloser(strings.NewReader(string(body)))}, nil
	}}
	spec := b.spec(web+`const r = await fetch("http://up/", {method: "POST", body: request.body}); console.log("sent"); return new Response(r.body, r)`+"}}", jsruntime.SpecOptions{})
	got, resp, err := b.send(t.Context(), spec, &jsruntime.Request{
		ID: "r", Method: "POST", URL: "http://localhost/", Header: http.Header{}, Host: h, Body: io.NopCloser(strings.NewReader(text)), Length: int64(len(text)),
	})
	if err != nil || got != text || resp.Header.Get("X-Method") != "POST" {
		t.Fatalf("%d bytes, %v, %+v", len(got), err, resp)
	}
	if len(h.logs) != 1 || h.logs[0] != "sent" {
		t.Errorf("logs %q", h.logs)
	}
}

// TestCallsAtOnce has scripts make many calls at once, which reach the edge in
// the order of their numbers, or it would end the worker.
func TestCallsAtOnce(t *testing.T) {
	b := newBench(t, worker.Options{})
	h := &host{fetch: func(context.Context, *jsruntime.FetchRequest) (*jsruntime.FetchResponse, error) {
		return &jsruntime.FetchResponse{Status: 200, Body: http.NoBody}, nil
	}}
	spec := b.spec(web+`
		const all = await Promise.all(Array.from({ length: 50 }, (_, i) => fetch("http://x/" + i)));
		return new Response(String(all.length));
	}}`, jsruntime.SpecOptions{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10 {
				if got, _, err := b.do(spec, h); err != nil || got != "50" {
					t.Errorf("got %q, %v", got, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestStuck: a script that nothing stops costs its worker; who ran beside it is run again.
func TestStuck(t *testing.T) {
	b := newBench(t, worker.Options{})
	limits := webtask.Limits{CPUTime: 200 * time.Millisecond, Timeout: time.Minute}
	stuck := b.spec(`module.exports = (cb) => { Array.prototype.indexOf.call({length: 2**53-1}, 1) }`, jsruntime.SpecOptions{Limits: limits})
	slow := b.spec(web+`await new Promise(f => setTimeout(f, 1000)); return new Response("ok")`+"}}", jsruntime.SpecOptions{})
	var wg sync.WaitGroup
	wg.Go(func() {
		if got, _, err := b.do(slow, &host{}); err != nil || got != "ok" {
			t.Errorf("the one beside it got %q, %v", got, err)
		}
	})
	_, _, err := b.do(stuck, &host{})
	var limit *jsruntime.LimitError
	if !errors.As(err, &limit) || limit.Limit != "cpu_time" {
		t.Errorf("got %v", err)
	}
	wg.Wait()
}

// TestSlowStopsNobody: who comes while a script computes is served beside it.
func TestSlowStopsNobody(t *testing.T) {
	b := newBench(t, worker.Options{})
	limits := webtask.Limits{CPUTime: time.Minute, Timeout: time.Minute}
	slow := b.spec(web+`
		const end = Date.now() + 3000;
		console.log("begun");
		while (Date.now() < end);
		return new Response("slow");
	}}`, jsruntime.SpecOptions{Limits: limits})
	quick := b.spec(`module.exports = (cb) => cb(null, "quick")`, jsruntime.SpecOptions{})
	h, done := &host{}, make(chan error, 1)
	go func() {
		_, _, err := b.do(slow, h)
		done <- err
	}()
	for begun := false; !begun; runtime.Gosched() {
		h.mu.Lock()
		begun = len(h.logs) > 0
		h.mu.Unlock()
	}
	if got, _, err := b.do(quick, &host{}); err != nil || got != `"quick"` {
		t.Errorf("got %q, %v", got, err)
	}
	select {
	case err := <-done:
		t.Errorf("the slow one was done first (%v)", err)
	default:
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestCrash(t *testing.T) {
	b := newBench(t, worker.Options{})
	deep := b.spec(`module.exports = (cb) => { new Function("(".repeat(2**20)); cb(null, 1) }`, jsruntime.SpecOptions{Limits: webtask.Limits{CPUTime: time.Minute, Timeout: time.Minute}})
	_, _, err := b.do(deep, &host{})
	var crash *jsruntime.CrashError
	if !errors.As(err, &crash) || !crash.Alone {
		t.Errorf("got %v", err)
	}
	if got, _, err := b.do(b.spec(`module.exports = (cb) => cb(null, 2)`, jsruntime.SpecOptions{}), &host{}); got != "2" || err != nil {
		t.Errorf("afterwards %q, %v", got, err)
	}
}

func TestCancel(t *testing.T) {
	b := newBench(t, worker.Options{})
	begun := make(chan struct{})
	h := &host{fetch: func(ctx context.Context, _ *jsruntime.FetchRequest) (*jsruntime.FetchResponse, error) {
		close(begun)
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}}
	spec := b.spec(web+`await fetch("http://up/"); return new Response()`+"}}", jsruntime.SpecOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-begun
		cancel()
	}()
	_, _, err := b.send(ctx, spec, &jsruntime.Request{ID: "r", Method: "GET", URL: "http://localhost/", Header: http.Header{}, Host: h})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// Flushing a container ends its workers, and no other's.
func TestFlush(t *testing.T) {
	b := newBench(t, worker.Options{})
	spec := func(container string) *jsruntime.Spec {
		return b.spec(`let n = 0; module.exports = (cb) => cb(null, ++n)`, jsruntime.SpecOptions{Container: container})
	}
	ours, others := spec("ours"), spec("others")
	count := func(spec *jsruntime.Spec, want string) {
		t.Helper()
		if got, _, err := b.do(spec, &host{}); err != nil || got != want {
			t.Errorf("got %q, %v; want %s", got, err, want)
		}
	}
	count(ours, "1")
	count(others, "1")
	if n := b.supervisor.Flush("ours", ours.Key); n != 1 {
		t.Errorf("%d isolates of one key were flushed", n)
	}
	count(ours, "1")
	count(ours, "2")
	if n := b.supervisor.Flush("ours", ""); n != 1 {
		t.Errorf("%d isolates of one container were flushed", n)
	}
	for len(b.supervisor.Stats()) != 1 {
		runtime.Gosched() // its worker ends at the next look after it
	}
	count(ours, "1")
	count(others, "2")
}

func BenchmarkHello(b *testing.B) {
	s := newBench(b, worker.Options{})
	spec := s.spec(`module.exports = (cb) => cb(null, "hello")`, jsruntime.SpecOptions{})
	h := &host{}
	req := jsruntime.Request{ID: "r1", Method: "GET", URL: "http://localhost/", Proto: "HTTP/1.1", Header: http.Header{"Accept": {"*/*"}, "User-Agent": {"x"}}, Host: h}
	run := func(b *testing.B) {
		r := req
		if _, err := s.supervisor.Do(b.Context(), spec, &r); err != nil {
			b.Error(err)
		}
	}
	run(b)
	b.Run("one", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			run(b)
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.SetParallelism(16)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				run(b)
			}
		})
	})
}
