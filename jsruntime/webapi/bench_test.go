package webapi_test

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/jsruntime/webapi"
)

const helloCode = `exports.default = { fetch() { return new Response("hi") } }`

// benchmark sends one request after the other.
func benchmark(b *testing.B, tk *task, request func() *jsruntime.Request) {
	b.Helper()
	b.ReportAllocs()
	for b.Loop() {
		req := request()
		req.Host = tk.host
		resp, err := tk.engine.Do(context.Background(), tk.spec, req)
		if err != nil {
			b.Fatal(err)
		}
		if resp.Body != nil {
			resp.Body.Close()
		}
	}
}

func BenchmarkHello(b *testing.B) {
	req := get("https://example.com/")
	benchmark(b, newTask(b, helloCode), func() *jsruntime.Request { return req })
}

func BenchmarkHeaders(b *testing.B) {
	req := get("https://example.com/")
	for i := range 20 {
		req.Header.Set(fmt.Sprintf("X-Header-%d", i), "a value of some length")
	}
	tk := newTask(b, `exports.default = { fetch(request) {
		const h = request.headers;
		return new Response(h.get("x-header-1") + h.get("X-Header-2") + h.get("x-missing"), { headers: { "x-answer": "yes" } });
	} }`)
	benchmark(b, tk, func() *jsruntime.Request { return req })
}

func BenchmarkURL(b *testing.B) {
	req := get("https://example.com/path/to/it?a=1&b=2")
	tk := newTask(b, `exports.default = { fetch(request) { const u = new URL(request.url); return new Response(u.pathname + u.searchParams.get("b")) } }`)
	benchmark(b, tk, func() *jsruntime.Request { return req })
}

func BenchmarkJSONBody(b *testing.B) {
	body := `{"items":[` + strings.Repeat(`{"id":1,"name":"a name"},`, 20) + `{}]}`
	tk := newTask(b, `exports.default = { async fetch(request) { const v = await request.json(); return Response.json({ n: v.items.length }) } }`)
	benchmark(b, tk, func() *jsruntime.Request { return post("https://example.com/", body) })
}

func BenchmarkFetch(b *testing.B) {
	url := upstream(b).URL + "/json"
	tk := newTask(b, fmt.Sprintf(`exports.default = { async fetch() { const r = await fetch(%q); return Response.json(await r.json()) } }`, url))
	req := get("https://example.com/")
	benchmark(b, tk, func() *jsruntime.Request { return req })
}

// BenchmarkFreshIsolate makes an isolate for every request.
func BenchmarkFreshIsolate(b *testing.B) {
	tk := newTask(b, helloCode)
	tk.engine = jsruntime.NewEngine(jsruntime.Options{Web: webapi.New(), Node: noNode{}, RecycleAfter: 1})
	req := get("https://example.com/")
	benchmark(b, tk, func() *jsruntime.Request { return req })
}

// TestHeapOfAnIsolate bounds what an idle isolate holds when its script has
// used most of the platform.
func TestHeapOfAnIsolate(t *testing.T) {
	const isolates, bound = 40, 250 << 10
	for name, code := range map[string]string{
		"hello": helloCode,
		"most of the platform": `exports.default = { async fetch(request) {
			const u = new URL(request.url); u.searchParams.get("a"); request.headers.get("a"); new AbortController().abort();
			new TextDecoder().decode(new TextEncoder().encode("a")); crypto.randomUUID(); structuredClone(new Map([[1, new Set([2])]]));
			btoa("a"); new EventTarget().dispatchEvent(new Event("a")); console.log({ a: 1 }); setTimeout(() => {}, 1);
			const r = new Response("a").body.getReader(); await r.read(); new RegExp("\\p{L}", "u"); Promise.withResolvers(); Object.groupBy([], x => x);
			return new Response(await new Request("https://x", { method: "POST", body: "a" }).text());
		} }`,
	} {
		t.Run(name, func(t *testing.T) {
			tk := newTask(t, code)
			before := liveHeap()
			for i := range isolates {
				spec := jsruntime.NewSpec(fmt.Sprint("key", i), tk.spec.Program, tk.spec.SpecOptions)
				req := &jsruntime.Request{Method: "GET", URL: "https://example.com/", Header: http.Header{}, Host: tk.host}
				if _, err := tk.engine.Do(context.Background(), spec, req); err != nil {
					t.Fatal(err)
				}
			}
			each := (liveHeap() - before) / isolates
			t.Logf("%d bytes of heap for each isolate", each)
			if each > bound {
				t.Errorf("an idle isolate holds %d bytes, more than %d", each, bound)
			}
			runtime.KeepAlive(tk)
		})
	}
}

func liveHeap() int64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
