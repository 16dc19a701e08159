package source

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

func TestURLIsFetchedOnceAndRevalidated(t *testing.T) {
	s := newSite(t, map[string]string{
		"/tasks/main.ts": "import { v } from './lib'\nexport default (): number => v",
		"/tasks/lib.js":  "export const v = 1",
	})
	r := newRig(t, Options{Allow: []string{s.URL + "/tasks/*"}, MaxAge: time.Minute})
	ref := s.ref("/tasks/main.ts")
	b := r.load(t, ref)
	if got := result(t, b); got != int64(1) {
		t.Fatal(got)
	}
	if want := []string{s.URL + "/tasks/main.ts", s.URL + "/tasks/lib.js"}; !slices.Equal(b.Files, want) {
		t.Errorf("files %q", b.Files)
	}
	// main.ts, lib (404), lib.js
	if s.count() != 3 {
		t.Errorf("%d requests", s.count())
	}
	r.clock.advance(59 * time.Second)
	if r.load(t, ref) != b || s.count() != 3 {
		t.Errorf("%d requests within max age", s.count())
	}
	r.clock.advance(time.Second)
	if got := r.load(t, ref); got.Digest != b.Digest || got.Stale {
		t.Error("unchanged code became other code")
	}
	if got := s.statuses()[3:]; !slices.Equal(got, []int{304, 304}) {
		t.Errorf("revalidation answered %v", got)
	}
	s.set("/tasks/lib.js", "export const v = 2")
	r.clock.advance(time.Minute)
	changed := r.load(t, ref)
	if got := result(t, changed); got != int64(2) {
		t.Errorf("after the change: %v", got)
	}
	if changed.Integrity == b.Integrity {
		t.Error("other bytes, same integrity")
	}
}

func TestIntegrity(t *testing.T) {
	s := newSite(t, map[string]string{"/one.js": "module.exports = () => 1", "/two.js": "module.exports = require('./one.js')"})
	r := newRig(t, from(s))
	ctx := context.Background()
	one := pinOf("module.exports = () => 1")
	for _, want := range []string{one, strings.TrimRight(one, "="), strings.NewReplacer("+", "-", "/", "_").Replace(one)} {
		if _, err := r.Load(ctx, "acme", s.ref("/one.js"), want, webtask.Limits{}); err != nil {
			t.Error(err)
		}
	}
	both := r.load(t, s.ref("/two.js"))
	if _, err := r.Load(ctx, "acme", s.ref("/two.js"), both.Integrity, webtask.Limits{}); err != nil {
		t.Error(err)
	}
	for _, want := range []string{pinOf("module.exports = require('./one.js')"), "sha256-AAAA", "sha512-" + one[7:], "x"} {
		_, err := r.Load(ctx, "acme", s.ref("/two.js"), want, webtask.Limits{})
		var ie *IntegrityError
		if !errors.As(err, &ie) || ie.Want != want || ie.Got != both.Integrity {
			t.Errorf("%q: %v", want, err)
		}
	}
	// An import that changes is noticed although the entry is as it was.
	s.set("/one.js", "module.exports = () => 'stolen'")
	r.clock.advance(5 * time.Minute)
	var ie *IntegrityError
	if _, err := r.Load(ctx, "acme", s.ref("/two.js"), both.Integrity, webtask.Limits{}); !errors.As(err, &ie) {
		t.Error(err)
	}
}

func TestBadURLs(t *testing.T) {
	other := newSite(t, map[string]string{"/x.js": "module.exports = 1"})
	s := newSite(t, map[string]string{
		"/tasks/page.js":    "\n <!DOCTYPE html><title>Sign in</title>",
		"/tasks/typed.js":   "hello",
		"/tasks/syntax.js":  "module.exports = (",
		"/tasks/big.js":     "/*" + strings.Repeat("x", 3000) + "*/",
		"/tasks/sum.js":     "require('./part1.js'); require('./part2.js')",
		"/tasks/part1.js":   "/*" + strings.Repeat("x", 1500) + "*/",
		"/tasks/part2.js":   "/*" + strings.Repeat("x", 1500) + "*/",
		"/tasks/foreign.js": "import '" + other.URL + "/x.js'",
		"/tasks/above.js":   "import '../above.js'",
		"/above.js":         "export default 1",
	})
	s.types["/tasks/typed.js"] = "text/html; charset=utf-8"
	redirect := func(to string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) }
	}
	s.handlers["/tasks/loop.js"] = redirect("/tasks/loop.js")
	s.handlers["/tasks/out.js"] = redirect("/secret.js")
	s.handlers["/tasks/scheme.js"] = redirect("file:///etc/passwd")
	s.handlers["/tasks/fail.js"] = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }
	s.handlers["/tasks/endless.js"] = func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 1<<10)); err != nil {
				return
			}
		}
	}
	s.handlers["/tasks/cut.js"] = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		w.Write([]byte("module.exports"))
	}
	r := newRig(t, Options{Allow: []string{s.URL + "/tasks/*"}, CodeSize: 2000})
	var (
		compile *CompileError
		fetch   *FetchError
		allowed *NotAllowedError
		large   *TooLargeError
	)
	tests := []struct {
		url     string
		kind    any
		message string
	}{
		{s.URL + "/tasks/page.js", &compile, "the URL answers an HTML page, not JavaScript"},
		{s.URL + "/tasks/typed.js", &compile, "the URL answers an HTML page, not JavaScript"},
		{s.URL + "/tasks/syntax.js", &compile, "Unexpected end of file"},
		{s.URL + "/tasks/big.js", &large, "code_size"},
		{s.URL + "/tasks/sum.js", &large, "/tasks/sum.js is larger than code_size allows (2000 bytes)"},
		{s.URL + "/tasks/endless.js", &large, "code_size"},
		{s.URL + "/tasks/cut.js", &fetch, "unexpected EOF"},
		{s.URL + "/tasks/none.js", &fetch, "the origin answered 404"},
		{s.URL + "/tasks/fail.js?token=s3cret", &fetch, "/tasks/fail.js?…: the origin answered 502"},
		{s.URL + "/tasks/loop.js", &fetch, "more than 5 redirects"},
		{s.URL + "/tasks/out.js", &allowed, "/secret.js: no code_allow pattern"},
		{s.URL + "/tasks/scheme.js", &allowed, "neither https nor http"},
		{s.URL + "/tasks/foreign.js", &compile, "is of another origin"},
		{s.URL + "/tasks/above.js", &compile, "no code_allow pattern"},
		{s.URL + "/other.js", &allowed, "no code_allow pattern"},
		{s.URL + "/tasks/../above.js", &allowed, "/above.js: no code_allow pattern"},
		{s.URL + "/tasks/%2e%2e/above.js", &allowed, "encoded dot segment"},
		{s.URL + "/tasks/..%2fabove.js", &allowed, "encoded slash"},
		{other.URL + "/x.js", &allowed, "no code_allow pattern"},
		{strings.Replace(s.URL, "http://", "http://user:s3cret@", 1) + "/tasks/x.js", &allowed, "user name or password"},
		{"ftp://127.0.0.1/x.js", &allowed, "neither https nor http"},
		{"http:///x.js", &allowed, "names no host"},
		{"http://[::1", &allowed, "not a valid URL"},
		{"http://127.0.0.1:1/tasks/x.js", &allowed, "no code_allow pattern"},
	}
	for _, test := range tests {
		err := r.fail(t, webtask.CodeRef{Kind: webtask.CodeURL, Value: test.url})
		if !errors.As(err, test.kind) {
			t.Errorf("%s: %T: %v", test.url, err, err)
			continue
		}
		if !strings.Contains(err.Error(), test.message) {
			t.Errorf("%s: %v", test.url, err)
		}
		if strings.Contains(fmt.Sprintf("%v %+v", err, err), "s3cret") {
			t.Errorf("%s: the error tells the secret: %v", test.url, err)
		}
	}
	for _, req := range s.requests {
		if req.URL.Path == "/secret.js" || req.URL.Path == "/above.js" {
			t.Errorf("%s was asked for", req.URL.Path)
		}
		if req.Referer() != "" || req.Header.Get("Cookie") != "" || req.Header.Get("Authorization") != "" {
			t.Errorf("request carries %v", req.Header)
		}
	}
}

func TestDeadOriginIsNotHammered(t *testing.T) {
	s := newSite(t, map[string]string{})
	r := newRig(t, from(s))
	for range 5 {
		r.fail(t, s.ref("/none.js"))
	}
	if s.count() != 1 {
		t.Errorf("%d requests for a dead URL", s.count())
	}
	s.set("/none.js", "module.exports = () => 1")
	r.clock.advance(failedFor)
	r.load(t, s.ref("/none.js"))
}

func TestDefaultAllowIsHTTPS(t *testing.T) {
	r := newRig(t, Options{})
	err := r.fail(t, webtask.CodeRef{Kind: webtask.CodeURL, Value: "http://127.0.0.1:1/x.js"})
	if !strings.Contains(err.Error(), "code_allow http://127.0.0.1:1/*") {
		t.Error(err)
	}
}

func TestHTTPSNeedsNoPattern(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/plain.js" {
			http.Redirect(w, r, "http://"+r.Host+"/main.js", http.StatusFound)
			return
		}
		w.Write([]byte("module.exports = () => 1"))
	}))
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer transport.CloseIdleConnections()
	r := newRig(t, Options{Transport: transport})
	ref := func(path string) webtask.CodeRef {
		return webtask.CodeRef{Kind: webtask.CodeURL, Value: server.URL + path}
	}
	if got := result(t, r.load(t, ref("/main.js"))); got != int64(1) {
		t.Error(got)
	}
	var allowed *NotAllowedError
	if err := r.fail(t, ref("/plain.js")); !errors.As(err, &allowed) || !strings.Contains(err.Error(), "not https") {
		t.Errorf("a redirect to http: %v", err)
	}
	var unknown *tls.CertificateVerificationError
	if err := newRig(t, Options{}).fail(t, ref("/main.js")); !errors.As(err, &unknown) {
		t.Errorf("an unknown authority: %v", err)
	}
}

func TestManyFirstRequestsAreOneFetch(t *testing.T) {
	const requests = 50
	s := newSite(t, map[string]string{})
	arrived, release := make(chan struct{}), make(chan struct{})
	s.handle("/slow.js", func(w http.ResponseWriter, _ *http.Request) {
		close(arrived) // panics when there is a second request
		<-release
		w.Write([]byte("module.exports = () => 1"))
	})
	r := newRig(t, from(s))

	// The request that started the fetch goes away; the others are served.
	first, cancel := context.WithCancel(context.Background())
	firstErr := make(chan error)
	go func() {
		_, err := r.Load(first, "acme", s.ref("/slow.js"), "", webtask.Limits{})
		firstErr <- err
	}()
	<-arrived
	cancel()
	if err := <-firstErr; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var started sync.WaitGroup
	started.Add(requests)
	for range requests {
		wg.Go(func() {
			started.Done()
			if _, err := r.Load(context.Background(), "acme", s.ref("/slow.js"), "", webtask.Limits{}); err != nil {
				t.Error(err)
			}
		})
	}
	started.Wait()
	close(release)
	wg.Wait()
}

func TestSlowDrip(t *testing.T) {
	s := newSite(t, map[string]string{})
	s.handle("/drip.js", func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte("module"))
		w.(http.Flusher).Flush()
		<-r.Context().Done() // the loader gives up
	})
	options := from(s)
	options.FetchTimeout = 20 * time.Millisecond
	r := newRig(t, options)
	err := r.fail(t, s.ref("/drip.js"))
	var fetch *FetchError
	if !errors.As(err, &fetch) || !strings.Contains(err.Error(), "no complete answer within 20ms") {
		t.Errorf("%T: %v", err, err)
	}
}

func TestStaleWhileOriginIsDown(t *testing.T) {
	s := newSite(t, map[string]string{"/a.js": "module.exports = () => 1"})
	options := from(s)
	options.MaxAge, options.StaleFor, options.CacheDir = time.Minute, time.Hour, t.TempDir()
	r := newRig(t, options)
	ref := s.ref("/a.js")
	good := r.load(t, ref)

	s.handle("/a.js", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	r.clock.advance(time.Minute)
	for range 3 {
		b := r.load(t, ref)
		if !b.Stale || b.Digest != good.Digest {
			t.Fatalf("stale %v", b.Stale)
		}
		r.clock.advance(retryAfter)
		awaitFlight(r, ref)
	}
	if got := r.logged(zapcore.WarnLevel); len(got) != 1 || !strings.Contains(got[0], "origin is down") {
		t.Errorf("warnings: %q", got)
	}
	if good.Stale {
		t.Error("a bundle that was handed out has changed")
	}

	// A restart, still without the origin.
	options.Clock, options.Logger = nil, nil
	restarted := newRig(t, options)
	restarted.clock.advance(2 * time.Minute)
	if b := restarted.load(t, ref); !b.Stale || result(t, b) != int64(1) {
		t.Error("not served from the disk cache after a restart")
	}
	if got := restarted.logged(zapcore.WarnLevel); len(got) != 1 {
		t.Errorf("warnings after the restart: %q", got)
	}

	// It comes back.
	s.handle("/a.js", nil)
	r.clock.advance(retryAfter)
	r.load(t, ref)
	awaitFlight(r, ref)
	if b := r.load(t, ref); b.Stale {
		t.Error("still stale although the origin is back")
	}
	if got := r.logged(zapcore.InfoLevel); len(got) != 1 {
		t.Errorf("notes: %q", got)
	}

	// Down for longer than it may be.
	s.handle("/a.js", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	r.clock.advance(time.Hour + 2*time.Minute)
	var fetch *FetchError
	if err := r.fail(t, ref); !errors.As(err, &fetch) || fetch.Status != http.StatusServiceUnavailable {
		t.Error(err)
	}
}

// awaitFlight lets an attempt that nobody waits for end.
func awaitFlight(r *rig, ref webtask.CodeRef) {
	e := r.entry(ref)
	e.mu.Lock()
	f := e.flight
	e.mu.Unlock()
	if f != nil {
		<-f.done
	}
}

func TestGoneCodeStops(t *testing.T) {
	s := newSite(t, map[string]string{"/a.js": "module.exports = () => 1"})
	options := from(s)
	options.CacheDir = t.TempDir()
	r := newRig(t, options)
	r.load(t, s.ref("/a.js"))
	s.remove("/a.js")
	r.clock.advance(5 * time.Minute)
	var fetch *FetchError
	if err := r.fail(t, s.ref("/a.js")); !errors.As(err, &fetch) || fetch.Status != http.StatusNotFound {
		t.Error(err)
	}
}

func TestBrokenUpdateKeepsLastGood(t *testing.T) {
	s := newSite(t, map[string]string{"/a.js": "module.exports = () => 1"})
	r := newRig(t, from(s))
	good := r.load(t, s.ref("/a.js"))
	s.set("/a.js", "module.exports = (")
	r.clock.advance(5 * time.Minute)
	if b := r.load(t, s.ref("/a.js")); b.Digest != good.Digest || !b.Stale {
		t.Error("the broken update replaced the good version")
	}
	if got := r.logged(zapcore.ErrorLevel); len(got) != 1 {
		t.Errorf("errors logged: %q", got)
	}
	s.set("/a.js", "module.exports = () => 2")
	r.clock.advance(retryAfter)
	r.load(t, s.ref("/a.js"))
	awaitFlight(r, s.ref("/a.js"))
	if b := r.load(t, s.ref("/a.js")); b.Stale || result(t, b) != int64(2) {
		t.Error("the repaired version was not picked up")
	}
}

func TestSlowRevalidationIsNotWaitedFor(t *testing.T) {
	s := newSite(t, map[string]string{"/a.js": "module.exports = () => 1"})
	options := from(s)
	options.RevalidateTimeout = time.Millisecond
	r := newRig(t, options)
	ref := s.ref("/a.js")
	good := r.load(t, ref)
	release := make(chan struct{})
	s.handle("/a.js", func(w http.ResponseWriter, _ *http.Request) {
		<-release
		w.Write([]byte("module.exports = () => 2"))
	})
	r.clock.advance(5 * time.Minute)
	if r.load(t, ref) != good { // waited for as long as RevalidateTimeout
		t.Error("not the version that was there")
	}
	if r.load(t, ref) != good { // not waited for at all
		t.Error("not the version that was there")
	}
	close(release)
	awaitFlight(r, ref)
	if got := result(t, r.load(t, ref)); got != int64(2) {
		t.Errorf("after the origin answered: %v", got)
	}
}

func TestRedirectsAreFollowed(t *testing.T) {
	s := newSite(t, map[string]string{"/v2/main.js": "import v from './lib.js'; export default () => v", "/v2/lib.js": "export default 5"})
	s.handle("/latest.js", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/v2/main.js", http.StatusTemporaryRedirect)
	})
	r := newRig(t, from(s))
	b := r.load(t, s.ref("/latest.js?key=s3cret"))
	if got := result(t, b); got != int64(5) {
		t.Error(got)
	}
	if b.Name != s.URL+"/latest.js?…" || strings.Contains(b.Code+string(b.Map), "s3cret") {
		t.Errorf("the bundle tells the query: %s", b.Name)
	}
}

// Many requests while code changes, breaks and comes back: every one gets a
// version that was good at some time.
func TestLoadWhileCodeChanges(t *testing.T) {
	dir := t.TempDir()
	s := newSite(t, map[string]string{"/a.js": "module.exports = () => 0"})
	write(t, dir, map[string]string{"a.js": "module.exports = () => 0"})
	options := from(s)
	options.CacheDir = t.TempDir()
	options.Check = func(_ context.Context, b *Bundle) error {
		if strings.Contains(b.Code, "bad") {
			return errors.New("bad")
		}
		return nil
	}
	r := newRig(t, options)
	refs := []webtask.CodeRef{s.ref("/a.js"), fileRef(filepath.Join(dir, "a.js"))}
	for _, ref := range refs {
		r.load(t, ref)
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				b, err := r.Load(context.Background(), "acme", refs[i%2], "", webtask.Limits{})
				if err != nil {
					t.Error(err)
					return
				}
				if strings.Contains(b.Code, "bad") {
					t.Error("a version that failed its check was handed out")
					return
				}
			}
		})
	}
	for i := range 24 {
		content := fmt.Sprintf("module.exports = () => %d", i)
		switch i % 4 {
		case 1:
			content = "module.exports = 'bad'"
		case 2:
			content = "module.exports = ("
		case 3:
			s.handle("/a.js", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
		default:
			s.handle("/a.js", nil)
		}
		s.set("/a.js", content)
		temp := filepath.Join(dir, "temp")
		write(t, dir, map[string]string{"temp": content})
		if err := os.Rename(temp, filepath.Join(dir, "a.js")); err != nil {
			t.Fatal(err)
		}
		r.clock.advance(5 * time.Minute)
		for _, ref := range refs {
			r.load(t, ref)
			awaitFlight(r, ref)
		}
	}
	close(done)
	wg.Wait()
}

func TestMemoryIsBounded(t *testing.T) {
	s := newSite(t, map[string]string{})
	var fetched atomic.Int64
	body := "module.exports = '" + strings.Repeat("x", 50<<10) + "'"
	for i := range 40 {
		s.handlers[fmt.Sprintf("/%d.js", i)] = func(w http.ResponseWriter, _ *http.Request) {
			fetched.Add(1)
			w.Write([]byte(body))
		}
	}
	options := from(s)
	options.MemoryBytes = 1 << 20
	r := newRig(t, options)
	for i := range 40 {
		r.load(t, s.ref(fmt.Sprintf("/%d.js", i)))
	}
	r.urls.CleanUp()
	if w := r.urls.WeightedSize(); w > 1<<20 {
		t.Errorf("%d bytes kept", w)
	}
	if n := r.urls.EstimatedSize(); n == 0 || n >= 40 {
		t.Errorf("%d entries kept", n)
	}
}

func TestClose(t *testing.T) {
	s := newSite(t, map[string]string{})
	arrived := make(chan struct{})
	s.handle("/never.js", func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	})
	r := newRig(t, from(s))
	failed := make(chan error)
	go func() {
		_, err := r.Load(context.Background(), "acme", s.ref("/never.js"), "", webtask.Limits{})
		failed <- err
	}()
	<-arrived
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if err := r.fail(t, inlineRef("() => 1")); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

func BenchmarkLoadCached(b *testing.B) {
	l, err := NewLoader(Options{Transport: http.DefaultTransport, CacheDir: ""})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	url := webtask.CodeRef{Kind: webtask.CodeURL, Value: "https://example.com/tasks/hello.js"}
	e := l.entry(url)
	e.state.Store(&state{bundle: &Bundle{Integrity: "sha256-x"}})
	e.due.Store(time.Now().Add(time.Hour).UnixNano())
	inlined := inlineRef("() => 'hello'")
	if _, err := l.Load(context.Background(), "acme", inlined, "", webtask.Limits{}); err != nil {
		b.Fatal(err)
	}
	for name, ref := range map[string]webtask.CodeRef{"url": url, "inline": inlined} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := l.Load(context.Background(), "acme", ref, "", webtask.Limits{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
