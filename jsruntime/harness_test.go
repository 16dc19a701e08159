package jsruntime_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dop251/goja"
	"go.uber.org/goleak"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// regexp2's clock ends by itself once nothing matches any more.
		goleak.IgnoreAnyFunction("github.com/dlclark/regexp2/v2.runClock"))
}

// fakeWeb is the least Web platform that the core can be tested with: timers,
// gates that Go opens, and responses that are plain objects.
type fakeWeb struct{ gates *gates }

// gates are awaited by scripts, gate(name), and opened by tests.
type gates struct {
	mu      sync.Mutex
	open    map[string]chan struct{}
	waiting map[string]chan struct{} // one value for each that waits
}

func newGates() *gates {
	return &gates{open: make(map[string]chan struct{}), waiting: make(map[string]chan struct{})}
}

func (g *gates) get(name string) (open, waiting chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open[name] == nil {
		g.open[name], g.waiting[name] = make(chan struct{}), make(chan struct{}, 10_000)
	}
	return g.open[name], g.waiting[name]
}

// await blocks until n calls of gate(name) wait.
func (g *gates) await(name string, n int) {
	_, waiting := g.get(name)
	for range n {
		<-waiting
	}
}

func (g *gates) release(name string) {
	open, _ := g.get(name)
	close(open)
}

func (w fakeWeb) Install(iso *jsruntime.Isolate) error {
	rt := iso.Runtime()
	timer := func(repeat bool) func(goja.FunctionCall) goja.Value {
		return func(call goja.FunctionCall) goja.Value {
			f, _ := goja.AssertFunction(call.Argument(0))
			d := time.Duration(call.Argument(1).ToInteger()) * time.Millisecond
			return rt.ToValue(iso.SetTimer(d, repeat, func() {
				_, err := f(goja.Undefined())
				iso.Uncaught(err)
			}))
		}
	}
	clearTimer := func(call goja.FunctionCall) goja.Value {
		iso.ClearTimer(int(call.Argument(0).ToInteger()))
		return nil
	}
	gate := func(call goja.FunctionCall) goja.Value {
		p, resolve, _ := rt.NewPromise()
		open, waiting := w.gates.get(call.Argument(0).String())
		iso.Async(func(ctx context.Context) func() {
			waiting <- struct{}{}
			select {
			case <-open:
			case <-ctx.Done():
			}
			return func() { iso.Uncaught(resolve(goja.Undefined())) }
		})
		return rt.ToValue(p)
	}
	crash := func(goja.FunctionCall) goja.Value {
		iso.Async(func(context.Context) func() { panic("a defect") })
		return nil
	}
	crashNow := func(goja.FunctionCall) goja.Value { panic("a defect") }
	log := func(call goja.FunctionCall) goja.Value {
		iso.Log(jsruntime.LogInfo, call.Argument(0).String(), "")
		return nil
	}
	for name, f := range map[string]func(goja.FunctionCall) goja.Value{
		"setTimeout": timer(false), "setInterval": timer(true), "clearTimeout": clearTimer, "gate": gate, "log": log, "crash": crash, "crashNow": crashNow,
	} {
		if err := rt.Set(name, f); err != nil {
			return err
		}
	}
	return nil
}

func (w fakeWeb) NewRequest(iso *jsruntime.Isolate, req *jsruntime.Request) (goja.Value, error) {
	object := iso.Runtime().NewObject()
	return object, errors.Join(object.Set("url", req.URL), object.Set("method", req.Method))
}

// ReadResponse takes text, or an object whose upstream is sent through.
func (w fakeWeb) ReadResponse(iso *jsruntime.Isolate, v goja.Value) (*jsruntime.Response, error) {
	switch v := v.(type) {
	case goja.String:
		return &jsruntime.Response{Status: 200, Bytes: []byte(v.String())}, nil
	case *goja.Object:
		if upstream, ok := v.Get("upstream").(goja.String); ok {
			body := &upstreamBody{Reader: strings.NewReader(upstream.String()), ctx: iso.Context()}
			return &jsruntime.Response{Status: 200, Body: body, BodyLength: -1, PassThrough: true}, nil
		}
	}
	return nil, &jsruntime.ScriptError{Kind: jsruntime.KindResult, Status: 500, Summary: "The handler must return a Response."}
}

// upstreamBody can be read only as long as the request's context lives.
type upstreamBody struct {
	io.Reader
	ctx context.Context
}

func (b *upstreamBody) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	return b.Reader.Read(p)
}
func (b *upstreamBody) Close() error { return nil }

// fakeNode offers res.writeHead, write, end and onDrain, and req.read.
type fakeNode struct{}

func (fakeNode) Install(*jsruntime.Isolate) error { return nil }

func (fakeNode) NewExchange(iso *jsruntime.Isolate, req *jsruntime.Request, w jsruntime.ResponseWriter) (goja.Value, goja.Value, error) {
	rt := iso.Runtime()
	reqObject, res := rt.NewObject(), rt.NewObject()
	check := func(err error) {
		if err != nil {
			panic(iso.NewError("Error", err, "%s", err.Error()))
		}
	}
	read := func(goja.FunctionCall) goja.Value {
		if req.Body == nil {
			return rt.ToValue("")
		}
		text, err := io.ReadAll(req.Body)
		check(err)
		return rt.ToValue(string(text))
	}
	writeHead := func(call goja.FunctionCall) goja.Value {
		check(w.WriteHead(int(call.Argument(0).ToInteger()), map[string][]string{"X-Made-By": {"script"}}))
		return nil
	}
	write := func(call goja.FunctionCall) goja.Value {
		drain, _ := goja.AssertFunction(call.Argument(1))
		more, err := w.Write([]byte(call.Argument(0).String()), func() {
			if drain != nil {
				_, err := drain(goja.Undefined())
				iso.Uncaught(err)
			}
		})
		check(err)
		return rt.ToValue(more)
	}
	end := func(goja.FunctionCall) goja.Value {
		check(w.End())
		return nil
	}
	err := errors.Join(reqObject.Set("read", read), res.Set("writeHead", writeHead), res.Set("write", write), res.Set("end", end))
	return reqObject, res, err
}

// fakeHost is a Host with one session, in memory.
type fakeHost struct {
	mu      sync.Mutex
	session jsruntime.Session
	version uint64
	loads   int
	saves   int
	down    bool
	logs    []jsruntime.LogEntry
	logged  chan struct{}
}

func newHost() *fakeHost { return &fakeHost{logged: make(chan struct{}, 100)} }

func (h *fakeHost) Fetch(context.Context, *jsruntime.FetchRequest) (*jsruntime.FetchResponse, error) {
	return nil, errors.New("no network here")
}

func (h *fakeHost) Log(entry jsruntime.LogEntry) {
	h.mu.Lock()
	h.logs = append(h.logs, entry)
	h.mu.Unlock()
	h.logged <- struct{}{}
}

func (h *fakeHost) messages() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var messages []string
	for _, entry := range h.logs {
		messages = append(messages, entry.Message)
	}
	return messages
}

func (h *fakeHost) snapshot() *jsruntime.Session {
	return &jsruntime.Session{ID: h.session.ID, Data: webtask.SessionData{Entries: maps.Clone(h.session.Data.Entries)}}
}

func (h *fakeHost) LoadSession(context.Context) (*jsruntime.Session, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.loads++
	if h.down {
		return nil, webtask.ErrStoreUnavailable
	}
	return h.snapshot(), nil
}

func (h *fakeHost) SaveSession(_ context.Context, change *webtask.SessionChange) (*jsruntime.Session, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.saves++
	switch {
	case h.down:
		return nil, webtask.ErrStoreUnavailable
	case h.session.ID == "":
		return nil, jsruntime.ErrSessionCommitted
	}
	for key, version := range change.Expect {
		if h.session.Data.Entries[key].Version != version {
			return h.snapshot(), webtask.ErrSessionConflict
		}
	}
	h.apply(change)
	return h.snapshot(), nil
}

// apply writes a change; the mutex is held.
func (h *fakeHost) apply(change *webtask.SessionChange) {
	if h.session.Data.Entries == nil {
		h.session.Data.Entries = make(map[string]webtask.SessionEntry)
	}
	for key, value := range change.Set {
		h.version++
		h.session.Data.Entries[key] = webtask.SessionEntry{Value: value, Version: h.version}
	}
	for _, key := range change.Delete {
		delete(h.session.Data.Entries, key)
	}
}

// bench is an engine with fake platforms and what a test needs around it.
type bench struct {
	testing.TB
	engine *jsruntime.Engine
	gates  *gates
}

func newBench(t testing.TB, options jsruntime.Options) *bench {
	t.Helper()
	b := &bench{TB: t, gates: newGates()}
	options.Web, options.Node = fakeWeb{b.gates}, fakeNode{}
	b.engine = jsruntime.NewEngine(options)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := b.engine.Close(ctx); err != nil && !errors.Is(err, jsruntime.ErrClosed) {
			t.Errorf("closing the engine: %v", err)
		}
	})
	return b
}

func (b *bench) spec(code string, options jsruntime.SpecOptions) *jsruntime.Spec {
	b.Helper()
	program, err := b.engine.Compile(context.Background(), jsruntime.Script{
		Name: "hello.js", Code: code, ESM: strings.Contains(code, "exports.default"),
	})
	if err != nil {
		b.Fatalf("compiling: %v", err)
	}
	if options.Container == "" {
		options.Container = "acme"
	}
	return jsruntime.NewSpec(options.Container+"/"+program.Digest, program, options)
}

func request(host jsruntime.Host) *jsruntime.Request {
	return &jsruntime.Request{
		ID: "r1", Method: "GET", URL: "https://example.com/run?a=1&a=2&b=x%20y&webtask_no_cache=1", Proto: "HTTP/1.1",
		Header: map[string][]string{"X-Test": {"yes"}, "Accept": {"a", "b"}}, RemoteIP: "192.0.2.7", Host: host,
	}
}

// do runs code on one request and returns the text of the answer.
func (b *bench) do(spec *jsruntime.Spec, req *jsruntime.Request) (string, *jsruntime.Response) {
	b.Helper()
	resp, err := b.engine.Do(context.Background(), spec, req)
	if err != nil {
		b.Fatalf("Do: %v (%#v)", err, err)
	}
	return b.text(resp), resp
}

func (b *bench) text(resp *jsruntime.Response) string {
	b.Helper()
	if resp.Body == nil {
		return string(resp.Bytes)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.Fatalf("reading the body: %v", err)
	}
	if err := resp.Body.Close(); err != nil {
		b.Fatalf("closing the body: %v", err)
	}
	return string(text)
}

// fails runs code on one request that must fail with an error of type E.
func fails[E error](b *bench, spec *jsruntime.Spec, req *jsruntime.Request) E {
	b.Helper()
	resp, err := b.engine.Do(context.Background(), spec, req)
	if err == nil {
		b.Fatalf("no error; the answer was %d %s", resp.Status, resp.Bytes)
	}
	var failure E
	if !errors.As(err, &failure) {
		b.Fatalf("error %v (%T) is no %T", err, err, failure)
	}
	return failure
}
