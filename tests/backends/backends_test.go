// Package backends tests session backends end to end: real servers, real
// processes, real connections.
package backends

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/webtask-edge/caddy-webtask/tests/harness"
)

// who is what the test backend answers.
type who struct {
	PID      int
	Key      string
	ID       string
	Fence    string
	URI      string
	Header   http.Header
	Trailers http.Header
}

// withBackend is a site with one service. Lines are options of the directive.
func withBackend(t *testing.T, driver string, lines ...string) string {
	return fmt.Sprintf(`{
	webtask {
		{$STORE}
	}
}
http://localhost:{$PORT} {
	session_backend docs /doc/* {
		key {path.1}
		driver process %s
		%s
	}
	respond "no document" 418
}
`, driver, strings.Join(lines, "\n\t\t"))
}

func startBackends(t *testing.T, mode string, lines ...string) *harness.Server {
	t.Helper()
	return harness.Start(t, harness.Config{Caddyfile: withBackend(t, testBackend(t)+" "+mode, lines...)})
}

func testBackend(t *testing.T) string { return harness.Program(t, "testbackend") }

func ask(t *testing.T, s *harness.Server, path string, header ...string) who {
	t.Helper()
	var w who
	harness.NewClient(t).Get(t, s.URL+path, header...).Want(t, 200, "").JSON(t, &w)
	return w
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

// Each key has one process, which all requests reach.
func TestBackendOfKey(t *testing.T) {
	s := startBackends(t, "")
	var wg sync.WaitGroup
	answers := make(chan who, 100)
	for n := range cap(answers) {
		wg.Go(func() { answers <- ask(t, s, fmt.Sprintf("/doc/%d/who", n%2)) })
	}
	wg.Wait()
	close(answers)
	pids := map[string]int{}
	for w := range answers {
		if pid, ok := pids[w.Key]; ok && pid != w.PID {
			t.Errorf("the key %s has the processes %d and %d", w.Key, pid, w.PID)
		}
		pids[w.Key] = w.PID
	}
	if warning := "run as the server's own user"; !strings.Contains(s.Log.String(), warning) {
		t.Errorf("the start does not warn that backends %s", warning)
	}
	if len(pids) != 2 || pids["0"] == pids["1"] {
		t.Errorf("the processes are %v", pids)
	}
	harness.NewClient(t).Get(t, s.URL+"/doc/").Want(t, 404, "")
	harness.NewClient(t).Get(t, s.URL+"/elsewhere").Want(t, 418, "no document")
}

// Keys are data: they reach no path, no option and no placeholder.
func TestBackendKeys(t *testing.T) {
	s := harness.Start(t, harness.Config{Caddyfile: strings.Replace(withBackend(t, testBackend(t)), "{path.1}", "{query.key}", 1)})
	for _, key := range []string{"../../etc/passwd", "{env.HOME}", "{http.request.uri}", "{backend.port}", "-rf", "--socket=/tmp/x", "ключ", "a b", "a/b", "%2e%2e"} {
		w := ask(t, s, "/doc/x?key="+url.QueryEscape(key))
		if w.Key != key || w.Header.Get("X-Verified-Key") != key {
			t.Errorf("%q: the key is %q, and the header %q", key, w.Key, w.Header.Get("X-Verified-Key"))
		}
	}
	for key, status := range map[string]int{"": 404, "+a": 400, "a+": 400, "a%00b": 400, "a%0Ab": 400, "%FF": 400, strings.Repeat("k", 10_000): 400} {
		harness.NewClient(t).Get(t, s.URL+"/doc/x?key="+key).Want(t, status, "")
	}
}

// What a client sends cannot be taken for what the edge says.
func TestBackendHeaders(t *testing.T) {
	s := startBackends(t, "")
	w := ask(t, s, "/doc/a/b?c=d",
		"X-Verified-Key: forged", "x_verified_key: forged", "X-Verified-Username: root", "X_Verified-Fence: 7", "X-Verified-Anything: forged",
		"Connection: X-Verified-Key, X-Verified-Backend")
	for name, values := range w.Header {
		lower := strings.ReplaceAll(strings.ToLower(name), "_", "-")
		if strings.HasPrefix(lower, "x-verified-") && (len(values) != 1 || strings.Contains(name, "_") || values[0] == "forged" || values[0] == "root") {
			t.Errorf("the backend sees %s: %q", name, values)
		}
	}
	for name, want := range map[string]string{
		"X-Verified-Key": "a", "X-Verified-Backend": w.ID, "X-Verified-Fence": w.Fence, "X-Verified-Path": "/doc/a/b?c=d", "X-Verified-User-Data": "{}",
	} {
		if got := w.Header.Get(name); got != want || want == "" {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if w.URI != "/doc/a/b?c=d" {
		t.Errorf("the backend sees the path %s", w.URI)
	}
	// As a trailer.
	conn := dial(t, s)
	fmt.Fprint(conn, "POST /doc/a/b HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nTrailer: X-Verified-Key, X-Other\r\nConnection: close\r\n\r\n"+
		"1\r\nx\r\n0\r\nX-Verified-Key: forged\r\nX-Other: kept\r\n\r\n")
	text, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "forged") || !strings.Contains(string(text), "kept") {
		t.Errorf("with trailers the backend sees %s", text)
	}
}

func dial(t *testing.T, s *harness.Server) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// tunnel is an upgraded connection to a backend.
type tunnel struct {
	net.Conn
	*bufio.Reader
}

func upgrade(t *testing.T, s *harness.Server, path string, header ...string) (*tunnel, *http.Response) {
	t.Helper()
	conn := dial(t, s)
	lines := append([]string{"GET " + path + " HTTP/1.1", "Host: localhost", "Connection: Upgrade", "Upgrade: echo"}, header...)
	fmt.Fprint(conn, strings.Join(lines, "\r\n")+"\r\n\r\n")
	reader := bufio.NewReader(conn)
	resp, err := http.ReadResponse(reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &tunnel{conn, reader}, resp
}

// says sends a line and wants it back.
func (u *tunnel) says(t *testing.T, line string) {
	t.Helper()
	if _, err := fmt.Fprintln(u.Conn, line); err != nil {
		t.Fatal(err)
	}
	got, err := u.ReadString('\n')
	if err != nil || strings.TrimSpace(got) != line {
		t.Fatalf("sent %q and got %q, %v", line, got, err)
	}
}

// Only pages of the site itself, and of origins that are named, may connect.
func TestBackendOrigins(t *testing.T) {
	s := startBackends(t, "", "origins https://app.example.com")
	for origin, want := range map[string]int{
		"": 101, "http://localhost": 101, "https://app.example.com": 101,
		"https://evil.example.com": 403, "https://app.example.com.evil.com": 403, "null": 403, "http://localhost:1": 403,
	} {
		var header []string
		if origin != "" {
			header = []string{"Origin: " + origin}
		}
		if _, resp := upgrade(t, s, "/doc/a/ws", header...); resp.StatusCode != want {
			t.Errorf("the origin %q gets %d, want %d", origin, resp.StatusCode, want)
		}
	}
}

// Whatever is connected keeps a backend: tunnels, events, long polls, uploads.
// Without any it ends.
func TestBackendIdle(t *testing.T) {
	s := startBackends(t, "", "idle 300ms")
	tunnel, resp := upgrade(t, s, "/doc/tunnel/ws")
	if resp.StatusCode != 101 {
		t.Fatal(resp.Status)
	}
	events, err := http.Get(s.URL + "/doc/events/events")
	if err != nil {
		t.Fatal(err)
	}
	defer events.Body.Close()
	poll := dial(t, s)
	fmt.Fprint(poll, "GET /doc/poll/wait HTTP/1.1\r\nHost: localhost\r\n\r\n")
	upload := dial(t, s)
	fmt.Fprint(upload, "POST /doc/upload/upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf")
	before := map[string]int{}
	for _, key := range []string{"tunnel", "events", "poll", "upload", "nobody"} {
		before[key] = ask(t, s, "/doc/"+key+"/who").PID
	}
	harness.Until(t, "the backend that nobody uses ends", func() bool { return !alive(before["nobody"]) })
	for range 5 { // as long again as all have been there
		gone := ask(t, s, "/doc/nobody/who").PID
		harness.Until(t, "its successor ends", func() bool { return !alive(gone) })
	}
	for _, key := range []string{"tunnel", "events", "poll", "upload"} {
		if got := ask(t, s, "/doc/"+key+"/who").PID; got != before[key] {
			t.Errorf("%s: the process was %d and is %d", key, before[key], got)
		}
	}
	tunnel.says(t, "still here")
	tunnel.Conn.Close()
	events.Body.Close()
	poll.Close()
	upload.Close()
	harness.Until(t, "all end", func() bool {
		for _, pid := range before {
			if alive(pid) {
				return false
			}
		}
		return true
	})
}

// A reload changes no process and cuts no stream; what it says holds at once.
func TestBackendReload(t *testing.T) {
	backend := testBackend(t)
	s := harness.Start(t, harness.Config{Caddyfile: withBackend(t, backend)})
	tunnel, _ := upgrade(t, s, "/doc/a/ws")
	events, err := http.Get(s.URL + "/doc/a/events")
	if err != nil {
		t.Fatal(err)
	}
	defer events.Body.Close()
	stream := bufio.NewReader(events.Body)
	pid := ask(t, s, "/doc/a/who").PID
	for n := range 10 {
		s.AdminLoad(t, withBackend(t, backend, fmt.Sprintf("idle %dm", n+1)))
		tunnel.says(t, fmt.Sprint("reload ", n))
		if _, err := stream.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		if got := ask(t, s, "/doc/a/who").PID; got != pid {
			t.Fatalf("the process was %d and is %d", pid, got)
		}
	}
	// Without the directive, it ends with its last connection.
	s.AdminLoad(t, strings.ReplaceAll(withBackend(t, backend), "session_backend docs", "session_backend others"))
	tunnel.says(t, "reload")
	if !alive(pid) {
		t.Error("it ended before its connections")
	}
	tunnel.Conn.Close()
	events.Body.Close()
	harness.Until(t, "it ends", func() bool { return !alive(pid) })
}

// A configuration that does not start after all changes nothing.
func TestBackendRejectedReload(t *testing.T) {
	backend := testBackend(t)
	s := harness.Start(t, harness.Config{Caddyfile: withBackend(t, backend)})
	taken, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	s.WriteFile(t, "rejected", withBackend(t, backend+" exits")+"http://localhost:"+strings.TrimPrefix(taken.Addr().String(), "127.0.0.1:")+" {\n\trespond taken\n}\n")
	_, stderr, err := s.TryCommand("reload", "--config", s.Dir+"/rejected", "--adapter", "caddyfile", "--address", strings.TrimPrefix(s.Admin, "http://"))
	if err == nil || !strings.Contains(stderr, "address already in use") {
		t.Fatalf("the reload was not refused as it should: %v\n%s", err, stderr)
	}
	ask(t, s, "/doc/a/who")
}

// A visitor who may not start a backend gets no session either.
func TestBackendSessionLimit(t *testing.T) {
	s := harness.Start(t, harness.Config{Caddyfile: strings.Replace(withBackend(t, testBackend(t), "client_starts 1"), "{path.1}", "{http.session.id}", 1)})
	ann := harness.NewClient(t)
	ann.Get(t, s.URL+"/doc/who").Want(t, 200, "")
	if answer := harness.NewClient(t).Get(t, s.URL+"/doc/who").Want(t, 429, ""); len(answer.Header["Set-Cookie"]) != 0 {
		t.Error("who is refused has a session")
	}
	ann.Get(t, s.URL+"/doc/who").Want(t, 200, "")
}

// When the server stops, streams end, backends get their time, and nothing is
// left; after a kill as well.
func TestBackendServerEnds(t *testing.T) {
	for _, kill := range []bool{false, true} {
		s := startBackends(t, "")
		events, err := http.Get(s.URL + "/doc/a/events")
		if err != nil {
			t.Fatal(err)
		}
		defer events.Body.Close()
		first := ask(t, s, "/doc/a/who")
		if kill {
			s.Kill(t)
		} else {
			s.Stop(t)
			if alive(first.PID) {
				t.Error("the server ended before its backend")
			}
		}
		s.Run(t)
		second := ask(t, s, "/doc/a/who")
		if alive(first.PID) {
			t.Errorf("kill %v: there are two of a key", kill)
		}
		if second.Fence <= first.Fence {
			t.Errorf("kill %v: the token %s follows %s", kill, second.Fence, first.Fence)
		}
	}
}

// Backends that do not work: each has its status, and its reason in the log.
func TestBackendFails(t *testing.T) {
	for _, c := range []struct {
		name, mode string
		lines      []string
		status     int
		log        string
	}{
		{"never listens", "never", []string{"start_timeout 300ms"}, 504, "was not ready within"},
		{"exits", "exits", nil, 502, "I do not want to"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := startBackends(t, c.mode, c.lines...)
			client := harness.NewClient(t)
			client.Get(t, s.URL+"/doc/a/who").Want(t, c.status, "")
			client.Get(t, s.URL+"/doc/a/who").Want(t, c.status, "")
			if answer := client.Get(t, s.URL+"/doc/a/who").Want(t, 503, ""); answer.Header.Get("Retry-After") != "1" {
				t.Errorf("to be tried again after %q", answer.Header.Get("Retry-After"))
			}
			if !strings.Contains(s.Log.String(), c.log) {
				t.Errorf("the log does not say %q:\n%s", c.log, s.Log)
			}
		})
	}
}

func TestBackendCrash(t *testing.T) {
	s := startBackends(t, "")
	first := ask(t, s, "/doc/a/who")
	harness.NewClient(t).Get(t, s.URL+"/doc/a/crash").Want(t, 502, "")
	harness.Until(t, "it is gone", func() bool { return !alive(first.PID) })
	if second := ask(t, s, "/doc/a/who"); second.PID == first.PID || second.Fence <= first.Fence {
		t.Errorf("%+v follows %+v", second, first)
	}
}

func TestBackendsFull(t *testing.T) {
	s := startBackends(t, "", "max_backends 1")
	ask(t, s, "/doc/a/who")
	if answer := harness.NewClient(t).Get(t, s.URL+"/doc/b/who").Want(t, 503, ""); answer.Header.Get("Retry-After") == "" {
		t.Error("no word of when to try again")
	}
	ask(t, s, "/doc/a/who")
	s.AdminLoad(t, withBackend(t, testBackend(t), "max_backends 1", "on_full evict"))
	ask(t, s, "/doc/b/who")
}

func TestBackendClientStarts(t *testing.T) {
	s := startBackends(t, "", "client_starts 2")
	ask(t, s, "/doc/a/who")
	ask(t, s, "/doc/b/who")
	if answer := harness.NewClient(t).Get(t, s.URL+"/doc/c/who").Want(t, 429, ""); answer.Header.Get("Retry-After") == "" {
		t.Error("no word of when to try again")
	}
	ask(t, s, "/doc/a/who")
}

// A first request is held until the backend is ready.
func TestBackendIsSlow(t *testing.T) {
	s := startBackends(t, "slow", "ready http /who")
	began := time.Now()
	ask(t, s, "/doc/a/who")
	if waited := time.Since(began); waited < 400*time.Millisecond {
		t.Errorf("it was ready after %v", waited)
	}
}

// Operators see what there is, and can end it.
func TestBackendAdmin(t *testing.T) {
	s := startBackends(t, "")
	pid := ask(t, s, "/doc/b/who").PID
	tunnel, _ := upgrade(t, s, "/doc/b/ws")
	defer tunnel.Conn.Close()
	admin := strings.TrimPrefix(s.Admin, "http://")
	out := s.Command(t, "webtask", "backends", "--address", admin)
	if !strings.Contains(out, "docs") || !strings.Contains(out, `"b"`) || !strings.Contains(out, "ready") || strings.Contains(out, "\x1b") {
		t.Errorf("it prints\n%s", out)
	}
	metrics := s.AdminGet(t, "/metrics")
	for _, line := range []string{
		`caddy_session_backend_backends{service="docs",status="ready"} `, `caddy_session_backend_connections{service="docs"} 1`,
		`caddy_session_backend_starts_total{result="ok",service="docs"} `,
	} {
		if !strings.Contains(metrics, line) {
			t.Errorf("the metrics lack %s", line)
		}
	}
	s.Command(t, "webtask", "backends", "stop", "docs", "--key", "b", "--address", admin)
	if alive(pid) {
		t.Error("it was stopped, and is alive")
	}
	if _, stderr, err := s.TryCommand("webtask", "backends", "stop", "others", "--address", admin); err == nil || !strings.Contains(stderr, "there is none called") {
		t.Errorf("stopping what is not there: %v, %s", err, stderr)
	}
}

// With {http.session.id} a browser's session and its backend are one thing.
func TestBackendOfSession(t *testing.T) {
	harness.EachStore(t, func(t *testing.T, store harness.Store) {
		caddyfile := strings.Replace(withBackend(t, testBackend(t)), "{path.1}", "{http.session.id}", 1)
		caddyfile = strings.Replace(caddyfile, "respond \"no", `webtask /id {
		code "async (ctx, cb) => { await ctx.session.set('a', 1); cb(null, ctx.session.id); }"
	}
	webtask /login {
		code "async (ctx, cb) => { await ctx.session.regenerate(); cb(null, ctx.session.id); }"
	}
	respond "no`, 1)
		s := harness.Start(t, harness.Config{Caddyfile: caddyfile, Store: store})
		visit := func(c *harness.Client) (w who) {
			t.Helper()
			c.Get(t, s.URL+"/doc/who").Want(t, 200, "").JSON(t, &w)
			return w
		}
		ann, ben := harness.NewClient(t), harness.NewClient(t)
		first := visit(ann)
		if cookies := ann.Cookies(t, s.URL); len(cookies) != 1 || cookies[0].Name != "webtask_session" || first.Key == cookies[0].Value {
			t.Fatalf("the cookies are %v, the key is %q", cookies, first.Key)
		}
		if again := visit(ann); again.PID != first.PID {
			t.Error("the second request reached another process")
		}
		if visit(ben).PID == first.PID {
			t.Error("two visitors share a process")
		}
		if id := strings.Trim(ann.Get(t, s.URL+"/id").Want(t, 200, "").Body, `"`); id != first.Key {
			t.Errorf("a webtask sees the session %s, the backend %s", id, first.Key)
		}
		// An old cookie leads nowhere.
		old := ann.Cookies(t, s.URL)[0]
		ann.Get(t, s.URL+"/login").Want(t, 200, "")
		if visit(ann).PID == first.PID {
			t.Error("after the login the visitor has the same process")
		}
		var thief who
		harness.NewClient(t).Get(t, s.URL+"/doc/who", "Cookie: "+old.Name+"="+old.Value).Want(t, 200, "").JSON(t, &thief)
		if thief.PID == first.PID {
			t.Error("the cookie of before the login leads to the process")
		}
		// A tunnel begins a session as well.
		tunnel, resp := upgrade(t, s, "/doc/ws")
		defer tunnel.Conn.Close()
		if resp.StatusCode != 101 || len(resp.Cookies()) != 1 {
			t.Errorf("a tunnel got %s and the cookies %v", resp.Status, resp.Cookies())
		}
	})
}
