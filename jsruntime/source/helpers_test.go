package source

import (
	"context"
	"crypto/sha256"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/dop251/goja"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// clock is a settable time.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Now()} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// site is an origin of code on a real socket. Its files can be changed, and it
// can be taken down.
type site struct {
	*httptest.Server
	mu       sync.Mutex
	files    map[string]string // by path
	types    map[string]string // media type by path
	handlers map[string]http.HandlerFunc
	requests []*http.Request
	answers  []int
}

func newSite(t *testing.T, files map[string]string) *site {
	s := &site{files: files, types: map[string]string{}, handlers: map[string]http.HandlerFunc{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r)
	handler, content, mediaType := s.handlers[r.URL.Path], s.files[r.URL.Path], s.types[r.URL.Path]
	_, found := s.files[r.URL.Path]
	s.mu.Unlock()
	if handler != nil {
		handler(w, r)
		return
	}
	if !found {
		s.answer(w, http.StatusNotFound)
		return
	}
	if mediaType == "" {
		mediaType = "text/javascript; charset=utf-8"
	}
	etag := `"` + pinOf(content) + `"`
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("ETag", etag)
	if r.Header.Get("If-None-Match") == etag {
		s.answer(w, http.StatusNotModified)
		return
	}
	s.answer(w, http.StatusOK)
	w.Write([]byte(content))
}

func (s *site) answer(w http.ResponseWriter, status int) {
	s.mu.Lock()
	s.answers = append(s.answers, status)
	s.mu.Unlock()
	w.WriteHeader(status)
}

func (s *site) set(path, content string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[path] = content
}

func (s *site) remove(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.files, path)
}

// handle answers a path by a function; nil serves its file again.
func (s *site) handle(path string, h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handlers[path] = h
}

func (s *site) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.requests)
}

func (s *site) statuses() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]int(nil), s.answers...)
}

func (s *site) ref(path string) webtask.CodeRef {
	return webtask.CodeRef{Kind: webtask.CodeURL, Value: s.URL + path}
}

// dialer is a plain transport; what may be reached is tested in egress and end
// to end. It closes its connections with the test.
func dialer(t *testing.T) *http.Transport {
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// from allows all of a site.
func from(s *site) Options { return Options{Allow: []string{s.URL + "/*"}} }

// rig is a loader with what a test looks at.
type rig struct {
	*Loader
	clock *clock
	logs  *observer.ObservedLogs
}

func newRig(t *testing.T, options Options) *rig {
	t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	r := &rig{clock: newClock(), logs: logs}
	options.Logger = zap.New(core)
	options.Clock = r.clock.Now
	if options.Transport == nil {
		options.Transport = dialer(t)
	}
	if options.Bundler == nil {
		options.Bundler = bundlerOfTests
	}
	l, err := NewLoader(options)
	if err != nil {
		t.Fatal(err)
	}
	r.Loader = l
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *rig) load(t *testing.T, ref webtask.CodeRef) *Bundle {
	t.Helper()
	b, err := r.Load(context.Background(), "acme", ref, "", webtask.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (r *rig) fail(t *testing.T, ref webtask.CodeRef) error {
	t.Helper()
	b, err := r.Load(context.Background(), "acme", ref, "", webtask.Limits{})
	if err == nil {
		t.Fatalf("loaded %s, want an error", b.Code)
	}
	return err
}

// exports runs a bundle and returns its module.exports.
func exports(t *testing.T, b *Bundle) (*goja.Runtime, goja.Value) {
	t.Helper()
	rt := goja.New()
	fn, err := rt.RunString("(function (module, exports, require) {" + b.Code + "\n})")
	if err != nil {
		t.Fatalf("%v\n%s", err, b.Code)
	}
	call, ok := goja.AssertFunction(fn)
	if !ok {
		t.Fatal("the wrapper is no function")
	}
	module := rt.NewObject()
	initial := rt.NewObject()
	module.Set("exports", initial)
	require := func(name string) string { return "required " + name }
	if _, err := call(initial, module, initial, rt.ToValue(require)); err != nil {
		t.Fatalf("%v\n%s", err, b.Code)
	}
	return rt, module.Get("exports")
}

// result calls the exported function, or the default export's fetch.
func result(t *testing.T, b *Bundle, args ...any) any {
	t.Helper()
	rt, v := exports(t, b)
	if b.ESM {
		v = v.ToObject(rt).Get("default")
	}
	if fetch := v.ToObject(rt).Get("fetch"); fetch != nil {
		v = fetch
	}
	fn, ok := goja.AssertFunction(v)
	if !ok {
		t.Fatalf("no function: %v\n%s", v, b.Code)
	}
	values := make([]goja.Value, len(args))
	for i, a := range args {
		values[i] = rt.ToValue(a)
	}
	out, err := fn(goja.Undefined(), values...)
	if err != nil {
		t.Fatal(err)
	}
	return out.Export()
}

// pinOf is the integrity of one file.
func pinOf(content string) string {
	return Integrity(map[string][sha256.Size]byte{"": sha256.Sum256([]byte(content))})
}

func inlineRef(code string) webtask.CodeRef {
	return webtask.CodeRef{Kind: webtask.CodeInline, Value: code}
}

func fileRef(path string) webtask.CodeRef {
	return webtask.CodeRef{Kind: webtask.CodeFile, Value: path}
}

// write puts files below dir.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
