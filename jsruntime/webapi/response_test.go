package webapi_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
)

func TestResponse(t *testing.T) {
	expectations{
		{`(({ status, ok, statusText, type, url, redirected, body, bodyUsed }) => [status, ok, statusText, type, url, redirected, body, bodyUsed])(new Response())`, `[200,true,"","default","",false,null,false]`},
		{`(r => [r.status, r.ok, r.statusText, r.headers.get("a"), r.headers.get("content-type")])(new Response("x", { status: 404, statusText: "Gone", headers: { a: "1" } }))`, `[404,false,"Gone","1","text/plain;charset=UTF-8"]`},
		{`new Response("x", { headers: { "content-type": "a/b" } }).headers.get("content-type")`, `"a/b"`},
		{`new Response(new URLSearchParams("a=1")).headers.get("content-type")`, `"application/x-www-form-urlencoded;charset=UTF-8"`},
		{`new Response(new Uint8Array(1)).headers.get("content-type")`, `null`},
		{`(async () => { const r = Response.json({ a: 1 }, { status: 201 }); return [r.status, r.headers.get("content-type"), await r.json()] })()`, `[201,"application/json",{"a":1}]`},
		{`Response.json(() => 1)`, `throws TypeError: *`},
		{`Response.json(1n)`, `throws TypeError: *`},
		{`(r => [r.status, r.headers.get("location")])(Response.redirect("/new"))`, `[302,"https://example.com/new"]`},
		{`Response.redirect("https://h/", 200)`, `throws RangeError: *`},
		{`(r => [r.type, r.status])(Response.error())`, `["error",0]`},
		{`new Response("", { status: 199 })`, `throws RangeError: *`},
		{`new Response("", { status: 600 })`, `throws RangeError: *`},
		{`new Response("x", { status: 204 })`, `throws TypeError: *`},
		{`new Response(null, { status: 204 }).status`, `204`},
		{`new Response("", { statusText: "a\nb" })`, `throws TypeError: *`},
		{`new Response("", 5)`, `throws TypeError: *`},
		{`(async () => { const r = new Response("é"); return [await r.text(), r.bodyUsed, await r.text().catch(e => e.name)] })()`, `["é",true,"TypeError"]`},
		{`(async () => { const r = new Response("abc"), c = r.clone(); return [await r.text(), await c.text()] })()`, `["abc","abc"]`},
		{`(async () => { const r = new Response("abc"); await r.text(); r.clone() })()`, `throws TypeError: *`},
		{`new Response("\ufeffa").text()`, `"a"`},
		{`new Response(new Uint8Array([97, 255])).text()`, `"a�"`},
		{`new Response("{").json()`, `throws SyntaxError: *`},
		{`new Response("[".repeat(2500)).json()`, `throws RangeError: *`},
		{`new Response("ab").arrayBuffer().then(b => [b instanceof ArrayBuffer, b.byteLength])`, `[true,2]`},
		{`new Response("ab").bytes().then(b => [b instanceof Uint8Array, ...b])`, `[true,97,98]`},
		{`new Response(new ReadableStream({ start(c) { c.enqueue(new TextEncoder().encode("a")); c.enqueue(new TextEncoder().encode("b")); c.close() } })).text()`, `"ab"`},
		{`new Response(new ReadableStream({ start(c) { c.enqueue("text"); c.close() } })).text()`, `throws TypeError: a chunk of a body must be a Uint8Array, not a string; encode text with TextEncoder`},
		{`new Response(new ReadableStream({ start(c) { c.error(new RangeError("s")) } })).text()`, `throws RangeError: s`},
		{`(async () => { const r = new Response("abc"), reader = r.body.getReader(); const c = await reader.read(); return [new TextDecoder().decode(c.value), (await reader.read()).done, r.bodyUsed, r.body === r.body] })()`, `["abc",true,true,true]`},
		{`(async () => { const r = new Response("abc"); r.body; return [r.bodyUsed, await r.text(), r.bodyUsed, r.body.locked] })()`, `[false,"abc",true,false]`},
		{`(async () => { const r = new Response("abc"); r.body.getReader(); return r.text() })()`, `throws TypeError: *`},
		{`(async () => { const a = new Uint8Array([1]), r = new Response(a); a[0] = 2; return [...await r.bytes()] })()`, `[1]`},
		{`(() => { const s = new ReadableStream(); s.getReader(); new Response(s) })()`, `throws TypeError: *`},
		{`(async () => { const first = new Response("x", { status: 201, headers: { a: "1" } }), r = new Response(first.body, first); r.headers.set("a", "2"); return [r.status, r.headers.get("a"), first.headers.get("a"), await r.text()] })()`, `[201,"2","1","x"]`},
	}.check(t)
}

func TestAnswers(t *testing.T) {
	for name, test := range map[string]struct {
		code, want string
	}{
		"no response":     {`return "text"`, "must return a Response"},
		"nothing":         {``, "must return a Response"},
		"network error":   {`return Response.error()`, "returned Response.error()"},
		"used body":       {`const r = new Response("x"); await r.text(); return r`, "read or sent already"},
		"locked body":     {`const r = new Response("x"); r.body.getReader(); return r`, "read or sent already"},
		"forged response": {`return Object.create(Response.prototype)`, "must return a Response"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := newTask(t, `exports.default = async () => {`+test.code+`}`).do(get("https://example.com/"))
			assertError(t, err, test.want)
		})
	}
}

// TestSharedResponse returns one Response object twice.
func TestSharedResponse(t *testing.T) {
	tk := newTask(t, `const kept = new Response("kept", { headers: { "x-a": "1" } }); exports.default = () => kept.clone()`)
	for range 3 {
		resp, body, err := tk.do(get("https://example.com/"))
		if err != nil || body != "kept" {
			t.Fatalf("%q, %v", body, err)
		}
		resp.Header.Set("X-A", "changed by the edge")
		if got := resp.Header.Get("Content-Type"); got != "text/plain;charset=UTF-8" {
			t.Fatalf("Content-Type is %q", got)
		}
		resp.Header.Set("Content-Type", "changed by the edge")
	}
	resp, _, err := tk.do(get("https://example.com/"))
	if err != nil || resp.Header.Get("X-A") != "1" {
		t.Fatalf("the header was changed for later requests: %v, %v", resp.Header, err)
	}
}

func TestStreamedResponse(t *testing.T) {
	tk := newTask(t, `exports.default = () => {
		let n = 0;
		const stream = new ReadableStream({ async pull(c) {
			await new Promise(r => setTimeout(r, 1));
			c.enqueue(new TextEncoder().encode("data: " + n + "\n\n"));
			if (++n == 5) c.close();
		} });
		return new Response(stream, { headers: { "content-type": "text/event-stream" } });
	}`)
	resp, body, err := tk.do(get("https://example.com/"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "data: 0\n\ndata: 1\n\ndata: 2\n\ndata: 3\n\ndata: 4\n\n"; body != want {
		t.Errorf("body is %q", body)
	}
	if resp.BodyLength != -1 || resp.PassThrough {
		t.Errorf("length %d, pass-through %v", resp.BodyLength, resp.PassThrough)
	}
}

// TestLargeStream is more than a pipe holds: the script must wait for the
// reader, and goes on without growing the stack.
func TestLargeStream(t *testing.T) {
	const chunks, size = 300, 10_000
	tk := newTask(t, `exports.default = () => new Response(new ReadableStream({ start(c) {
		for (let i = 0; i < 300; i++) c.enqueue(new Uint8Array(10000).fill(i)); c.close();
	} }))`)
	_, body, err := tk.do(get("https://example.com/"))
	if err != nil {
		t.Fatal(err)
	}
	if len(body) != chunks*size {
		t.Fatalf("the body has %d bytes", len(body))
	}
	for i := range chunks {
		if part := body[i*size : (i+1)*size]; part != strings.Repeat(string([]byte{byte(i)}), size) {
			t.Fatalf("chunk %d is wrong", i)
		}
	}
}

func TestStreamThatFailsBreaksTheBody(t *testing.T) {
	tk := newTask(t, `exports.default = () => new Response(new ReadableStream({ pull(c) {
		if (this.sent) throw new RangeError("halfway"); this.sent = true; c.enqueue(new Uint8Array(3));
	} }))`)
	_, body, err := tk.do(get("https://example.com/"))
	if err == nil || len(body) != 3 {
		t.Errorf("body of %d bytes, error %v", len(body), err)
	}
	if logs := tk.host.messages(); len(logs) != 1 || !strings.Contains(logs[0], "RangeError: halfway") {
		t.Errorf("logs are %q", logs)
	}
}

// TestReaderThatLeaves closes the body early: the source is told.
func TestReaderThatLeaves(t *testing.T) {
	tk := newTask(t, `let gone; const told = new Promise(r => gone = r);
		exports.default = (request, env, ctx) => {
			ctx.waitUntil(told.then(reason => console.log("told " + reason.name)));
			return new Response(new ReadableStream({ pull(c) { c.enqueue(new Uint8Array(1000)) }, cancel: gone }));
		}`)
	req := get("https://example.com/")
	req.Host = tk.host
	resp, err := tk.engine.Do(context.Background(), tk.spec, req)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(resp.Body, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	if err := tk.engine.Close(context.Background()); err != nil { // waits for waitUntil
		t.Fatal(err)
	}
	if logs := tk.host.messages(); len(logs) != 1 || logs[0] != "told AbortError" {
		t.Errorf("logs are %q", logs)
	}
}

// TestReaderThatLeavesAnEndlessStream closes the body while the script is in the
// middle of a stream that always has more: it is told all the same.
func TestReaderThatLeavesAnEndlessStream(t *testing.T) {
	const size = 64 << 10 // one chunk fills the pipe, a second one waits in the queue
	tk := newTask(t, fmt.Sprintf(`let chunks = 0;
		exports.default = () => new Response(new ReadableStream({
			pull(c) { if (++chunks === 3) console.log("pulls"); c.enqueue(new Uint8Array(%d)) },
			cancel: reason => console.log("told " + reason.name),
		}))`, size))
	pulls, left := make(chan struct{}), make(chan struct{})
	tk.host.onLog = sync.OnceFunc(func() { close(pulls); <-left })
	req := get("https://example.com/")
	req.Host = tk.host
	resp, err := tk.engine.Do(context.Background(), tk.spec, req)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(resp.Body, make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	<-pulls
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	close(left)
	if err := tk.engine.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if logs := tk.host.messages(); !slices.Equal(logs, []string{"pulls", "told AbortError"}) {
		t.Errorf("logs are %q", logs)
	}
}

// TestFastReaderLeavesOthersTheirTurn reads a stream as fast as it is written:
// a timer of the script fires nevertheless.
func TestFastReaderLeavesOthersTheirTurn(t *testing.T) {
	const size, full = 8 << 10, 8 // so many chunks fill the pipe
	tk := newTask(t, fmt.Sprintf(`exports.default = () => {
		let due = false, chunks = 0;
		return new Response(new ReadableStream({
			pull(c) {
				if (due) return c.close();
				if (++chunks === %d) setTimeout(() => { due = true });
				console.log("pulls"); // waits for the reader
				c.enqueue(new Uint8Array(%d));
			},
		}));
	}`, 2*full, size))
	const queued = 1
	taken := make(chan struct{}, full+queued)
	for range full + queued {
		taken <- struct{}{}
	}
	tk.host.onLog = func() { <-taken }
	req := get("https://example.com/")
	req.Host = tk.host
	resp, err := tk.engine.Do(context.Background(), tk.spec, req)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(resp.Body, make([]byte, full*size)); err != nil {
		t.Fatal(err)
	}
	for buffer := make([]byte, size); err == nil; {
		taken <- struct{}{}
		_, err = io.ReadFull(resp.Body, buffer)
	}
	if err != io.EOF {
		t.Errorf("the stream ends with %v", err)
	}
}

func TestIncomingRequest(t *testing.T) {
	req := post("https://example.com/p?key=token&a=1&b=%32", `{"n":1}`)
	req.Query = func(name string) bool { return name == "key" }
	req.Header.Set("Content-Type", "application/json")
	_, body, err := newTask(t, wrap(`return [request.method, request.url, request.bodyUsed, await request.json(), request.bodyUsed, request instanceof Request, request.signal.aborted, request.redirect]`)).do(req)
	if err != nil {
		t.Fatal(err)
	}
	if want := `["POST","https://example.com/p?a=1&b=%32",false,{"n":1},true,true,false,"follow"]`; body != want {
		t.Errorf("answer is %s", body)
	}
}

func TestRequestBodyLimit(t *testing.T) {
	limits := testLimits
	limits.RequestBody = 10
	for name, length := range map[string]int64{"length known": 11, "length unknown": -1} {
		t.Run(name, func(t *testing.T) {
			req := post("https://example.com/", "12345678901")
			req.Length = length
			_, _, err := newLimitedTask(t, wrap(`return request.text()`), limits).do(req)
			var limit *jsruntime.LimitError
			if !errors.As(err, &limit) || limit.Limit != "request_body" || limit.Status != http.StatusRequestEntityTooLarge {
				t.Errorf("error is %v", err)
			}
		})
	}
	_, body, err := newLimitedTask(t, wrap(`return request.text()`), limits).do(post("https://example.com/", "1234567890"))
	if err != nil || body != `"1234567890"` {
		t.Errorf("%s, %v", body, err)
	}
}

func TestEcho(t *testing.T) {
	for name, code := range map[string]string{
		"body passed through": `return new Response(request.body)`,
		"clone read first":    `const text = await request.clone().text(); return new Response(request.body, { headers: { "x-length": String(text.length) } })`,
		"stream read":         `const parts = []; for (let r = request.body.getReader(), s; !(s = await r.read()).done;) parts.push(...s.value); return new Response(new Uint8Array(parts))`,
		"tee":                 `const [a, b] = request.body.tee(); await new Response(b).text(); return new Response(a)`,
		"through a Request":   `return new Response(new Request("https://other/", request).body)`,
	} {
		t.Run(name, func(t *testing.T) {
			sent := strings.Repeat("some bytes ", 2000)
			_, body, err := newTask(t, `exports.default = async request => {`+code+`}`).do(post("https://example.com/", sent))
			if err != nil {
				t.Fatal(err)
			}
			if body != sent {
				t.Errorf("%d bytes came back of %d", len(body), len(sent))
			}
		})
	}
}

func TestRequest(t *testing.T) {
	expectations{
		{`(r => [r.method, r.url, r.body, r.redirect, r.cache, r.duplex])(new Request("https://h/a?b#c"))`, `["GET","https://h/a?b#c",null,"follow","default","half"]`},
		{`new Request("/relative").url`, `"https://example.com/relative"`},
		{`(r => [r.method, r.headers.get("content-type")])(new Request("https://h", { method: "post", body: "x" }))`, `["POST","text/plain;charset=UTF-8"]`},
		{`new Request("https://h", { method: "patch" }).method`, `"patch"`},
		{`new Request("https://h", { body: "x" })`, `throws TypeError: *`},
		{`new Request("https://h", { method: "CONNECT" })`, `throws TypeError: *`},
		{`new Request("https://h", { method: "a b" })`, `throws TypeError: *`},
		{`new Request("https://u:p@h")`, `throws TypeError: *`},
		{`new Request("http://")`, `throws TypeError: *`},
		{`new Request("https://h", { redirect: "x" })`, `throws TypeError: *`},
		{`["mode", "credentials", "cache", "referrerPolicy", "duplex"].map(name => { try { new Request("https://h", { [name]: "nonsense" }) } catch (e) { return e.name } }).join()`, `"TypeError,TypeError,TypeError,TypeError,TypeError"`},
		{`new Request("https://h", { mode: "same-origin", cache: "no-store" }).mode`, `"same-origin"`},
		{`new Request()`, `throws TypeError: *`},
		{`(async () => { const a = new Request("https://h", { method: "POST", body: "x", headers: { a: "1" } }), b = new Request(a, { headers: { b: "2" } }); return [a.bodyUsed, await b.text(), [...b.headers], a.headers.get("a")] })()`, `[true,"x",[["b","2"]],"1"]`},
		{`(async () => { const a = new Request("https://h", { method: "POST", body: "x" }), b = a.clone(); return [await a.text(), await b.text()] })()`, `["x","x"]`},
		{`(() => { const c = new AbortController(), r = new Request("https://h", { signal: c.signal }); c.abort(1); return [r.signal !== c.signal, r.signal.aborted, r.signal.reason, new Request(r).signal.aborted] })()`, `[true,true,1,true]`},
		{`new Request("https://h", { signal: {} })`, `throws TypeError: *`},
	}.check(t)
}
