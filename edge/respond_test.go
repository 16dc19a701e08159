package edge

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/webtask-edge/caddy-webtask/webtask"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
)

func TestRespondFraming(t *testing.T) {
	st := newStage(t, fileStore(t), nil)
	for name, test := range map[string]struct {
		method, code string
		status       int
		length       int64 // -1: unknown
		body         string
	}{
		"short":            {"GET", `new Response("hi")`, 200, 2, "hi"},
		"long":             {"GET", `new Response("x".repeat(5000))`, 200, 5000, strings.Repeat("x", 5000)},
		"empty":            {"GET", `new Response("")`, 200, 0, ""},
		"no content":       {"GET", `new Response(null, { status: 204 })`, 204, 0, ""},
		"not modified":     {"GET", `new Response(null, { status: 304 })`, 304, 0, ""},
		"HEAD":             {"HEAD", `new Response("x".repeat(5000))`, 200, 5000, ""},
		"HEAD of a stream": {"HEAD", `new Response(new ReadableStream({ pull(c) { c.enqueue(new Uint8Array(10)) } }))`, 200, -1, ""},
		"stream": {"GET", `new Response(new ReadableStream({ start(c) { c.enqueue(new TextEncoder().encode("a")); c.enqueue(new TextEncoder().encode("b")); c.close() } }))`,
			200, -1, "ab"},
	} {
		t.Run(name, func(t *testing.T) {
			st.inline("export default { fetch() { return " + test.code + " } }")
			resp, body := st.do(test.method, "/", nil, "")
			if resp.StatusCode != test.status || resp.ContentLength != test.length || body != test.body {
				t.Errorf("answered %d, length %d, %d bytes %.20q", resp.StatusCode, resp.ContentLength, len(body), body)
			}
			if got := resp.Header["Trailer"]; got != nil || len(resp.Trailer) > 0 {
				t.Errorf("trailers %v %v", got, resp.Trailer)
			}
		})
	}
}

// Events reach the client when they happen: the second is made only after the
// first was read.
func TestRespondFlushesEvents(t *testing.T) {
	st := newStage(t, fileStore(t), nil)
	turn := make(chan struct{})
	st.origin.handle("/turn", func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-turn:
		case <-r.Context().Done():
		}
	})
	st.inline(`export default { fetch(request, env, ctx) {
		const text = new TextEncoder();
		return new Response(new ReadableStream({
			async start(c) {
				c.enqueue(text.encode("data: 1\n\n"));
				await fetch("` + st.origin.url + `/turn");
				await ctx.session.get("nothing");
				c.enqueue(text.encode("data: 2\n\n"));
				c.close();
			},
		}), { headers: { "Content-Type": "text/event-stream" } });
	} }`)
	r, err := http.NewRequestWithContext(testContext(t), "GET", st.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := st.client.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	if line, err := lines.ReadString('\n'); line != "data: 1\n" {
		t.Fatalf("first event %q, %v", line, err)
	}
	turn <- struct{}{}
	rest, err := io.ReadAll(lines)
	if string(rest) != "\ndata: 2\n\n" || err != nil {
		t.Errorf("the rest is %q, %v", rest, err)
	}
}

func TestRespondBrokenStream(t *testing.T) {
	st := newStage(t, fileStore(t), nil)
	st.inline(`export default { fetch() {
		let n = 0;
		return new Response(new ReadableStream({ pull(c) {
			if (n++ < 3) c.enqueue(new TextEncoder().encode("piece"));
			else throw new Error("broke in the middle");
		} }));
	} }`)
	_, body, err := st.try("GET", "/", nil, "")
	if err == nil {
		t.Errorf("a broken answer looks whole: %q", body)
	}
	st.await(st.served)
	entries := st.log.FilterMessageSnippet("after its answer began").All()
	if len(entries) != 1 || !strings.Contains(entries[0].ContextMap()["error"].(string), "the answer broke off") {
		t.Errorf("logged %v", st.log.All())
	}
}

func TestRespondLimitsStream(t *testing.T) {
	st := newStage(t, fileStore(t), nil)
	st.inline(`export default { fetch() { return new Response(new ReadableStream({ pull(c) { c.enqueue(new Uint8Array(1000)) } })) } }`).Limits =
		webtask.Limits{ResponseBody: 10_000}
	if _, body, err := st.try("GET", "/", nil, ""); err == nil {
		t.Errorf("an endless answer ended well after %d bytes", len(body))
	}
	st.await(st.served)
	if got := st.log.FilterMessageSnippet("after its answer began").Len(); got != 1 {
		t.Errorf("logged %d times", got)
	}
}

// A log may go to a terminal, and errors come from scripts too.
func TestLogCommandsNoTerminal(t *testing.T) {
	logged := make(chan struct{}, 2)
	st := newStage(t, fileStore(t), func(o *Options) {
		o.Console = o.Console.WithOptions(zap.Hooks(func(zapcore.Entry) error {
			logged <- struct{}{}
			return nil
		}))
	})
	st.inline(`export default { fetch(request, env, ctx) {
		const text = "é\u001b]0;title\u0007 a\rb \u009b2J \n\tend";
		console.log(text);
		ctx.waitUntil(Promise.reject(new Error(text)));
		return new Response();
	} }`)
	st.get("/", nil)
	st.await(logged)
	st.await(logged)
	for _, line := range st.console.All() {
		if strings.ContainsAny(line.Message, "\x1b\x07\r\u009b") || !strings.Contains(line.Message, `\x1b]0;title`) {
			t.Errorf("logged %q", line.Message)
		}
	}
}

// A script that changes its headers once they are on their way changes nothing
// that the edge reads meanwhile; the race detector watches.
func TestHeadersChangedTooLate(t *testing.T) {
	st := newStage(t, fileStore(t), nil)
	for name, code := range map[string]string{
		"web": `export default { fetch(request, env, ctx) {
			const response = new Response(new ReadableStream({ pull(c) { c.enqueue(new Uint8Array(10)); c.close(); } }));
			ctx.waitUntil((async () => {
				for (let i = 0; i < 20; i++) {
					await new Promise(done => setTimeout(done));
					response.headers.set("x-late-" + i, "1");
				}
			})());
			return response;
		} }`,
		"node": `module.exports = async (ctx, req, res) => {
			res.setHeader("x-first", "1");
			res.write("first ");
			for (let i = 0; i < 20; i++) {
				if (i > 10) await new Promise(done => setTimeout(done));
				try { res.setHeader("x-late-" + i, "1") } catch {}
				res.write("more ");
			}
			res.end();
		}`,
	} {
		t.Run(name, func(t *testing.T) {
			st.inline(code)
			for range 20 {
				resp, _ := st.get("/", nil)
				if resp.StatusCode != 200 {
					t.Fatalf("answered %d", resp.StatusCode)
				}
				for header := range resp.Header {
					if strings.HasPrefix(header, "X-Late-") {
						t.Errorf("%s came along", header)
					}
				}
			}
		})
	}
}

func TestRespondPassesThrough(t *testing.T) {
	st := newStage(t, fileStore(t), nil)
	size := 3 << 20
	st.origin.handle("/big", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Upstream", "1")
		io.Copy(w, io.LimitReader(spaces{}, int64(size)))
	})
	st.inline(`export default { fetch() { return fetch("` + st.origin.url + `/big") } }`).Limits = webtask.Limits{ResponseBody: 1 << 20}
	resp, body := st.get("/", nil)
	if resp.StatusCode != 200 || len(body) != size || resp.Header.Get("X-Upstream") != "1" {
		t.Errorf("answered %d with %d bytes, %v", resp.StatusCode, len(body), resp.Header)
	}
}

func TestServeEchoesWhileReading(t *testing.T) {
	st := newStage(t, fileStore(t), nil)
	st.inline(`export default { fetch(request) { return new Response(request.body) } }`)
	body := strings.Repeat("0123456789", 100_000)
	if _, got := st.do("POST", "/", nil, body); got != body {
		t.Errorf("%d bytes came back of %d", len(got), len(body))
	}
}

func TestServeWaitUntil(t *testing.T) {
	done := make(chan struct{}, 1)
	s := fileStore(t)
	st := newStage(t, s, func(o *Options) {
		o.Console = o.Console.WithOptions(zap.Hooks(func(zapcore.Entry) error {
			done <- struct{}{}
			return nil
		}))
	})
	turn := make(chan struct{})
	st.origin.handle("/turn", func(http.ResponseWriter, *http.Request) { <-turn })
	st.inline(`export default { async fetch(request, env, ctx) {
		await ctx.session.set("n", 1);
		ctx.waitUntil((async () => {
			await fetch("` + st.origin.url + `/turn");
			await ctx.session.set("n", 2);
			console.log("later: " + await ctx.session.get("n"));
		})());
		return new Response("at once");
	} }`)
	resp, body := st.get("/", nil)
	if body != "at once" {
		t.Fatalf("answered %d %s", resp.StatusCode, body)
	}
	close(turn)
	st.await(done)
	if got := st.console.All()[0].Message; got != "later: 2" {
		t.Errorf("logged %q", got)
	}
	st.inline(`export default { async fetch(request, env, ctx) { return new Response(await ctx.session.get("n")) } }`)
	cookie := resp.Cookies()[0]
	if _, body := st.get("/", http.Header{"Cookie": {cookie.Name + "=" + cookie.Value}}); body != "2" {
		t.Errorf("the session holds %s", body)
	}
}

func TestConsole(t *testing.T) {
	st := newStage(t, fileStore(t), nil)
	task := st.inline(`export default { fetch() { console.debug("d", 1); console.warn("w"); console.error(new Error("e")); return new Response() } }`)
	task.Name = "named"
	st.get("/", nil)
	id := st.lastInfo().ID
	lines := st.console.All()
	if len(lines) != 3 || lines[0].Level != zap.DebugLevel || lines[0].Message != "d 1" || lines[1].Level != zap.WarnLevel || lines[2].Level != zap.ErrorLevel {
		t.Fatalf("logged %+v", lines)
	}
	for _, line := range lines {
		fields := line.ContextMap()
		if fields["container"] != "@site" || fields["task"] != "named" || fields["id"] != "route:test" || fields["request_id"] != id {
			t.Errorf("fields %v", fields)
		}
	}
	st.console.TakeAll()
	st.inline(`export default { fetch() { for (let i = 0; i < 100; i++) console.log("0123456789"); return new Response() } }`).Limits = webtask.Limits{LogBytes: 5*(lineCost+10) + 5}
	st.get("/", nil)
	lines = st.console.All()
	if len(lines) != 6 || !strings.Contains(lines[5].Message, "log_bytes") {
		t.Errorf("%d lines, the last is %q", len(lines), lines[len(lines)-1].Message)
	}
}

// What nobody reads of a body is no request of its own, also when a handler in
// front has put another body in its place.
func TestUnreadBodyIsNoRequest(t *testing.T) {
	st := newStage(t, fileStore(t), nil)
	st.inline(`export default { fetch() { return new Response(new ReadableStream({ start(c) { c.enqueue(new TextEncoder().encode("part")); setTimeout(() => c.close(), 20); } })) } }`)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = struct{ io.ReadCloser }{r.Body}
		st.ServeHTTP(w, r)
	}))
	defer server.Close()
	const inner = "GET /inner HTTP/1.1\r\nHost: x\r\n\r\n"
	filler := strings.Repeat("x", 400_000)
	for name, request := range map[string]string{
		"length":  fmt.Sprintf("Content-Length: %d\r\n\r\n%s", 1<<20, inner),
		"short":   fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(inner), inner),
		"chunked": fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s%s\r\n0\r\n\r\n", len(inner)+len(filler), inner, filler),
		"expect":  fmt.Sprintf("Expect: 100-continue\r\nContent-Length: %d\r\n\r\n%s", 1<<20, inner),
	} {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.SetDeadline(time.Now().Add(500 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = io.WriteString(conn, "POST /outer HTTP/1.1\r\nHost: x\r\n"+request) }()
		answer, _ := io.ReadAll(conn) // ends with the connection, or the deadline
		conn.Close()
		if n := strings.Count(string(answer), "HTTP/1.1"); n != 1 || !strings.Contains(string(answer), "part") {
			t.Errorf("%s: %d answers: %.300q", name, n, answer)
		}
	}
}

// Lines without a text take room as well.
func TestEmptyLinesCount(t *testing.T) {
	st := newStage(t, fileStore(t), nil)
	st.inline(`export default { fetch() { for (let i = 0; i < 1000; i++) console.log(""); return new Response() } }`).Limits = webtask.Limits{LogBytes: 10 * lineCost}
	st.get("/", nil)
	if n := len(st.console.All()); n != 11 {
		t.Errorf("%d lines", n)
	}
}

// A URL of the site does not name what a token in a header made of it.
func TestWriteHeaderAndCaches(t *testing.T) {
	for _, test := range []struct {
		foreign   bool
		carrier   string
		cookie    string
		task      http.Header
		cache     string
		vary      string
		surrogate bool
	}{
		{true, "", "", http.Header{"Cache-Control": {"public"}}, "public", "", true},
		{true, headerToken, "", http.Header{"Cache-Control": {"public"}}, "private, no-store", "", false},
		{true, headerAuthorization, "", nil, "private, no-store", "", false},
		{true, headerToken, "", http.Header{"Cache-Control": {`public, private="x"`}}, "private, no-store", "", false},
		{true, headerToken, "", http.Header{"Cache-Control": {`public, x="a, no-store, b"`}}, "private, no-store", "", false},
		{true, headerToken, "", http.Header{"Cache-Control": {"public, x-private, no-store=1"}}, "private, no-store", "", false},
		{true, headerToken, "", http.Header{"Cache-Control": {"max-age=1, Private"}}, "max-age=1, Private", "", false},
		{false, headerToken, "", http.Header{"Cache-Control": {"public"}, "Vary": {"Origin"}}, "public", "Origin|X-Webtask-Token", true},
		{false, headerAuthorization, "", nil, "private, no-store", "", true},
		{false, "", "a=b", http.Header{"Cache-Control": {"public"}}, "private, no-store", "", false},
	} {
		task := test.task.Clone()
		if task == nil {
			task = http.Header{}
		}
		task.Set("Cdn-Cache-Control", "max-age=60")
		task.Set("Surrogate-Control", "max-age=60")
		h := http.Header{}
		c := &call{foreign: test.foreign}
		c.writeHeader(h, &jsruntime.Response{Header: task}, answerExtra{private: true, carrier: test.carrier, setCookie: test.cookie})
		if got := h.Get("Cache-Control"); got != test.cache {
			t.Errorf("%+v: Cache-Control: %s", test, got)
		}
		if got := strings.Join(h["Vary"], "|"); got != test.vary {
			t.Errorf("%+v: Vary: %s", test, got)
		}
		if got := h.Get("Surrogate-Control") != "" || h.Get("Cdn-Cache-Control") != ""; got != test.surrogate {
			t.Errorf("%+v: %v", test, h)
		}
	}
}

// What is no value of a header is not sent as the type, either.
func TestWriteHeaderRefusesTypes(t *testing.T) {
	h := http.Header{}
	(&call{}).writeHeader(h, &jsruntime.Response{ContentType: "text/html\r\nSet-Cookie: a=b"}, answerExtra{})
	if len(h) != 0 {
		t.Errorf("%q", h)
	}
}

// A handler in front of the task may change values in place, as Caddy's header
// directive does to replace within them: that stays with its own answer.
func TestWriteHeaderSharesNoValue(t *testing.T) {
	task := http.Header{"A": {"1"}, "Cache-Control": {"no-store"}, "B": {"2", "3", "4", "5", "6"}}
	extra := answerExtra{private: true, anyOrigin: true, noReferrer: true}
	var want http.Header
	for range 2 {
		h := make(http.Header)
		c := &call{foreign: true}
		c.writeHeader(h, &jsruntime.Response{ContentType: "text/plain", Header: task}, extra)
		if want == nil {
			want = h.Clone()
		} else if !reflect.DeepEqual(h, want) {
			t.Errorf("got %v, want %v", h, want)
		}
		for name, values := range h {
			for i := range values {
				values[i] = "changed"
			}
			h[name] = append(values, "added")
			if name != "Content-Type" && h.Get("Content-Type") == "added" {
				t.Errorf("appending to %s changed another header", name)
			}
		}
	}
}

// Headers that handlers in front of the task have set stay, but for those that
// the task sets itself.
func TestWriteHeaderMerges(t *testing.T) {
	w := httptest.NewRecorder()
	w.Header().Set("Vary", "Accept-Encoding")
	w.Header().Set("X-Frame-Options", "DENY")
	w.Header().Set("Server", "Caddy")
	shared := []string{"a=1"}
	c := &call{}
	c.writeHeader(w.Header(), &jsruntime.Response{Header: http.Header{"vary": {"Origin"}, "X-Frame-Options": {"SAMEORIGIN"}, "Set-Cookie": shared[:1:1]}}, answerExtra{setCookie: "webtask_session=x", private: true})
	h := w.Header()
	if got := strings.Join(h["Vary"], "|"); got != "Accept-Encoding|Origin" {
		t.Errorf("Vary: %s", got)
	}
	if got := strings.Join(h["X-Frame-Options"], "|"); got != "SAMEORIGIN" {
		t.Errorf("X-Frame-Options: %s", got)
	}
	if got := strings.Join(h["Set-Cookie"], "|"); got != "a=1|webtask_session=x" || len(shared) != 1 {
		t.Errorf("Set-Cookie: %s", got)
	}
	if h.Get("Server") != "Caddy" || h.Get("Cache-Control") != "private, no-store" {
		t.Errorf("headers %v", h)
	}
	// A new session's cookie is in no shared cache, whatever the task says.
	public := http.Header{}
	c.writeHeader(public, &jsruntime.Response{Header: http.Header{"Cache-Control": {"public, max-age=60"}}}, answerExtra{setCookie: "webtask_session=x", private: true})
	if got := public.Get("Cache-Control"); got != "private, no-store" {
		t.Errorf("Cache-Control: %s", got)
	}
}
