package webapi_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
)

// upstream serves what the fetch tests ask for.
func upstream(t testing.TB) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("reading the request: %v", err)
		}
		w.Header().Set("X-Method", r.Method)
		w.Header().Set("X-A", r.Header.Get("A"))
		w.Header().Set("X-Length", fmt.Sprint(r.ContentLength))
		w.Header().Set("X-Type", r.Header.Get("Content-Type"))
		w.Header().Add("Set-Cookie", "a=1")
		w.Header().Add("Set-Cookie", "b=2")
		w.WriteHeader(http.StatusTeapot)
		_, _ = w.Write(body)
	})
	mux.HandleFunc("/redirect", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/echo", http.StatusFound) })
	mux.HandleFunc("/empty", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("/json", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"a":[1,2]}`) })
	mux.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) {
		for range 300 {
			_, _ = io.WriteString(w, strings.Repeat("x", 10_000))
		}
	})
	mux.HandleFunc("/hang", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/half", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "first part")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	mux.HandleFunc("/cut", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "only this")
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server
}

// fetchEval is eval with base, the URL of the upstream.
func fetchEval(t *testing.T, body string) string {
	t.Helper()
	return eval(t, fmt.Sprintf("const base = %q;", upstream(t).URL)+body)
}

func TestFetch(t *testing.T) {
	for name, test := range map[string][2]string{
		"answer": {`const r = await fetch(base + "/echo", { method: "POST", body: "hello", headers: { a: "1" } });
			return [r.status, r.statusText, r.ok, r.redirected, r.type, r.url === base + "/echo", r.headers.get("x-method"), r.headers.get("x-a"), r.headers.get("x-length"), r.headers.get("x-type"), r.headers.getSetCookie(), await r.text(), r.bodyUsed]`,
			`[418,"I'm a teapot",false,false,"basic",true,"POST","1","5","text/plain;charset=UTF-8",["a=1","b=2"],"hello",true]`},
		"Request":           {`return (await fetch(new Request(base + "/echo", { method: "PUT", body: "x" }), { headers: { a: "2" } })).headers.get("x-a")`, `"2"`},
		"URL object":        {`return (await fetch(new URL("/json", base))).json()`, `{"a":[1,2]}`},
		"no body":           {`const r = await fetch(base + "/empty"); return [r.status, r.body, await r.text()]`, `[204,null,""]`},
		"HEAD":              {`const r = await fetch(base + "/json", { method: "HEAD" }); return [r.status, r.headers.get("content-length"), r.body, await r.text()]`, `[200,"11",null,""]`},
		"redirect followed": {`const r = await fetch(base + "/redirect"); return [r.status, r.redirected, r.url === base + "/echo"]`, `[418,true,true]`},
		"redirect manual":   {`const r = await fetch(base + "/redirect", { redirect: "manual" }); return [r.status, r.headers.get("location")]`, `[302,"/echo"]`},
		"redirect error":    {`return fetch(base + "/redirect", { redirect: "error" }).catch(e => e.name)`, `"TypeError"`},
		"streamed request": {`let n = 0; const s = new ReadableStream({ async pull(c) { await new Promise(r => setTimeout(r, 1)); c.enqueue(new TextEncoder().encode("part" + n)); if (++n == 3) c.close() } });
			const r = await fetch(base + "/echo", { method: "POST", body: s, duplex: "half" }); return [r.headers.get("x-length"), await r.text()]`, `["-1","part0part1part2"]`},
		"streamed answer":   {`let n = 0; for (let r = (await fetch(base + "/large")).body.getReader(), s; !(s = await r.read()).done;) n += s.value.length; return n`, `3000000`},
		"clone":             {`const r = await fetch(base + "/json"), c = r.clone(); return [await r.text(), await c.json()]`, `["{\"a\":[1,2]}",{"a":[1,2]}]`},
		"headers immutable": {`const r = await fetch(base + "/json"); try { r.headers.set("a", "b") } catch (e) { const copy = new Response(r.body, r); copy.headers.set("a", "b"); return [e.name, copy.headers.get("a"), await copy.text()] }`, `["TypeError","b","{\"a\":[1,2]}"]`},
		"many at once":      {`return (await Promise.all([1, 2, 3, 4].map(n => fetch(base + "/echo", { method: "POST", body: "n" + n }).then(r => r.text())))).join()`, `"n1,n2,n3,n4"`},
		"cut":               {`const r = await fetch(base + "/cut"); return r.text().catch(e => [e.name, e.message.startsWith("reading the body failed: "), e.cause instanceof Error])`, `["TypeError",true,true]`},
		"unreachable":       {`return fetch("http://127.0.0.1:1/").catch(e => [e.name, e.message.startsWith("fetch failed: "), e instanceof TypeError])`, `["TypeError",true,true]`},
		"invalid URL":       {`return fetch("http://[").catch(e => e.name)`, `"TypeError"`},
		"no argument":       {`return fetch().catch(e => e.name)`, `"TypeError"`},
		"used body":         {`const r = new Request(base, { method: "POST", body: "x" }); await r.text(); return fetch(r).catch(e => e.name)`, `"TypeError"`},
		"aborted before":    {`return fetch(base + "/json", { signal: AbortSignal.abort("why") }).catch(e => e)`, `"why"`},
		"aborted":           {`const c = new AbortController(), p = fetch(base + "/hang", { signal: c.signal }); setTimeout(() => c.abort(), 2); return p.catch(e => e.name)`, `"AbortError"`},
		"timed out":         {`return fetch(base + "/hang", { signal: AbortSignal.timeout(5) }).catch(e => e.name)`, `"TimeoutError"`},
		"aborted answer":    {`const c = new AbortController(), r = await fetch(base + "/half", { signal: c.signal }); setTimeout(() => c.abort(new RangeError("stop")), 2); return r.text().catch(e => e.message)`, `"stop"`},
		"aborted stream": {`const c = new AbortController(), r = await fetch(base + "/half", { signal: c.signal }), reader = r.body.getReader(); await reader.read(); setTimeout(() => c.abort(new RangeError("stop")), 2);
			return reader.read().catch(e => e.message)`, `"stop"`},
		"cancelled stream": {`const r = await fetch(base + "/half"), reader = r.body.getReader(); await reader.read(); await reader.cancel(); return (await reader.read()).done`, `true`},
		"subclass":         {`class R extends Request {} return (await fetch(new R(base + "/json"))).status`, `200`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := fetchEval(t, test[0]); got != test[1] {
				t.Errorf("result is %s\n\tnot %s", got, test[1])
			}
		})
	}
}

// TestFetchPassesThrough hands an upstream's answer to the client untouched.
func TestFetchPassesThrough(t *testing.T) {
	base := upstream(t).URL
	for name, code := range map[string]string{
		"response": `return fetch(base + "/large")`,
		"body":     `const r = await fetch(base + "/large"); return new Response(r.body, { headers: { a: "1" } })`,
		"clone":    `const r = await fetch(base + "/large"); const c = r.clone(); r.body.cancel(); return c`,
		"init":     `const r = await fetch(base + "/large"); return new Response(r.body, r)`,
	} {
		t.Run(name, func(t *testing.T) {
			resp, body, err := newTask(t, fmt.Sprintf("const base = %q; exports.default = async () => {%s}", base, code)).do(get("https://example.com/"))
			if err != nil {
				t.Fatal(err)
			}
			if len(body) != 3_000_000 || !resp.PassThrough {
				t.Errorf("%d bytes, pass-through %v", len(body), resp.PassThrough)
			}
		})
	}
}

// TestFetchEndsWithItsRequest leaves a fetch behind: the upstream sees it go.
func TestFetchEndsWithItsRequest(t *testing.T) {
	arrived, gone := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "begun")
		w.(http.Flusher).Flush()
		close(arrived)
		<-r.Context().Done()
		close(gone)
	}))
	defer server.Close()
	_, body, err := newTask(t, fmt.Sprintf(`exports.default = async () => { await fetch(%q); return new Response("done") }`, server.URL)).do(get("https://example.com/"))
	if err != nil || body != "done" {
		t.Fatalf("%q, %v", body, err)
	}
	<-arrived
	<-gone
}

// TestUpload passes the client's body to an upstream and its answer back.
func TestUpload(t *testing.T) {
	code := fmt.Sprintf(`exports.default = request => fetch(%q, { method: "POST", body: request.body, headers: { "content-type": "a/b" } })`, upstream(t).URL+"/echo")
	sent := strings.Repeat("bytes ", 50_000)
	resp, body, err := newTask(t, code).do(post("https://example.com/", sent))
	if err != nil || body != sent || resp.Status != http.StatusTeapot || resp.Header.Get("X-Type") != "a/b" {
		t.Errorf("%d bytes, %v, %v", len(body), resp, err)
	}
}

func TestFetchLimits(t *testing.T) {
	base := upstream(t).URL
	limits := testLimits
	limits.Subrequests, limits.RequestBody = 2, 100
	tk := newLimitedTask(t, fmt.Sprintf("const base = %q;", base)+wrap(`
		await fetch(base + "/json"); await fetch(base + "/json");
		return fetch(base + "/json").catch(e => e.message)`), limits)
	for range 2 { // the count begins anew with each request
		_, body, err := tk.do(get("https://example.com/"))
		if want := `"fetch: more than 2 fetches for one request; the option subrequests raises the limit"`; err != nil || body != want {
			t.Errorf("%s, %v", body, err)
		}
	}
	_, _, err := newLimitedTask(t, wrap(fmt.Sprintf(`return (await fetch(%q)).text()`, base+"/large")), limits).do(get("https://example.com/"))
	var limit *jsruntime.LimitError
	if !errors.As(err, &limit) || limit.Limit != "request_body" {
		t.Errorf("error is %v", err)
	}
}

func TestFetchWhileLoading(t *testing.T) {
	_, _, err := newTask(t, `fetch("https://example.com/").catch(e => { exports.seen = e.message }); exports.default = () => new Response(exports.seen)`).do(get("https://example.com/"))
	if err != nil {
		t.Fatal(err)
	}
}

// TestFetchError reaches the caller of Do as what the Host said.
func TestFetchError(t *testing.T) {
	denied := errors.New("address 10.0.0.1 is not allowed; the option egress allow opens it")
	tk := newTask(t, `exports.default = () => fetch("http://10.0.0.1/")`)
	req := get("https://example.com/")
	req.Host = failingHost{tk.host, denied}
	_, err := tk.engine.Do(context.Background(), tk.spec, req)
	assertError(t, err, "fetch failed: address 10.0.0.1 is not allowed; the option egress allow opens it")
	if !errors.Is(err, denied) {
		t.Errorf("%v does not wrap the Host's error", err)
	}
}

type failingHost struct {
	*host
	err error
}

func (h failingHost) Fetch(context.Context, *jsruntime.FetchRequest) (*jsruntime.FetchResponse, error) {
	return nil, h.err
}
