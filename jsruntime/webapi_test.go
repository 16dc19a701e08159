package jsruntime_test

import (
	"context"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/jsruntime/nodeapi"
	"github.com/webtask-edge/caddy-webtask/jsruntime/webapi"
)

// newRealBench is newBench with the platforms that scripts really see.
func newRealBench(t testing.TB, options jsruntime.Options) *bench {
	t.Helper()
	b := newBench(t, jsruntime.Options{})
	options.Web, options.Node = webapi.New(), nodeapi.New()
	fake := b.engine
	b.engine = jsruntime.NewEngine(options)
	if err := fake.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	return b
}

const (
	helloWeb  = `exports.default = { fetch() { return new Response("hi") } }`
	helloCtx  = `module.exports = (ctx, cb) => cb(null, "hi")`
	helloNode = `module.exports = (ctx, req, res) => res.end("hi")`
)

func benchmarkDo(t *testing.B, code string) {
	b := newRealBench(t, jsruntime.Options{})
	defer b.engine.Close(context.Background())
	spec := b.spec(code, jsruntime.SpecOptions{Secrets: map[string]string{"KEY": "v"}})
	req, ctx := request(newHost()), context.Background()
	t.ReportAllocs()
	for t.Loop() {
		resp, err := b.engine.Do(ctx, spec, req)
		if err != nil {
			t.Fatal(err)
		}
		if resp.Body != nil {
			resp.Body.Close()
		}
	}
}

func BenchmarkHelloCallback(b *testing.B) { benchmarkDo(b, `module.exports = cb => cb(null, "hi")`) }
func BenchmarkHelloContext(b *testing.B)  { benchmarkDo(b, helloCtx) }
func BenchmarkHelloNode(b *testing.B)     { benchmarkDo(b, helloNode) }
func BenchmarkHelloWeb(b *testing.B)      { benchmarkDo(b, helloWeb) }
func BenchmarkHelloAsync(b *testing.B) {
	benchmarkDo(b, `exports.default = { async fetch() { return new Response("hi") } }`)
}
func BenchmarkSession(b *testing.B) {
	benchmarkDo(b, `module.exports = async (ctx, cb) => { await ctx.session.get("a"); await ctx.session.set("a", 1); return 1 }`)
}

// BenchmarkHelloParallel is the same from many goroutines at once.
func BenchmarkHelloParallel(t *testing.B) {
	b := newRealBench(t, jsruntime.Options{})
	defer b.engine.Close(context.Background())
	spec := b.spec(helloWeb, jsruntime.SpecOptions{})
	t.ReportAllocs()
	t.SetParallelism(16)
	t.RunParallel(func(loop *testing.PB) {
		req, ctx := request(newHost()), context.Background()
		for loop.Next() {
			if _, err := b.engine.Do(ctx, spec, req); err != nil {
				t.Error(err)
				return
			}
		}
	})
	t.ReportMetric(float64(b.engine.Stats()[0].Idle), "isolates")
}

// BenchmarkColdStart is the first answer of a program never seen before:
// compilation, a new isolate, loading, the request.
func BenchmarkColdStart(t *testing.B) {
	b := newRealBench(t, jsruntime.Options{})
	defer b.engine.Close(context.Background())
	t.ReportAllocs()
	for t.Loop() {
		spec := b.spec(helloWeb, jsruntime.SpecOptions{})
		b.engine.Flush("", "")
		if _, err := b.engine.Do(context.Background(), spec, request(newHost())); err != nil {
			t.Fatal(err)
		}
	}
}

// heapPerIsolate is the live heap that one idle isolate adds.
func heapPerIsolate(t testing.TB, code string) int64 {
	const isolates = 64
	b := newRealBench(t, jsruntime.Options{})
	spec := b.spec(code, jsruntime.SpecOptions{Secrets: map[string]string{"KEY": "v"}})
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return int64(stats.HeapAlloc)
	}
	b.do(spec, request(newHost()))
	b.engine.Flush("", "")
	before := heap()
	for i := range isolates {
		// Keys differ, so that each request makes an isolate that stays.
		own := jsruntime.NewSpec(string(rune('a'+i)), spec.Program, spec.SpecOptions)
		b.do(own, request(newHost()))
	}
	after := heap()
	if stats := b.engine.Stats(); len(stats) < isolates {
		t.Fatalf("%d pools", len(stats))
	}
	return (after - before) / isolates
}

func BenchmarkHeapPerIdleIsolate(b *testing.B) {
	for b.Loop() {
		b.ReportMetric(float64(heapPerIsolate(b, helloWeb)), "B/isolate")
	}
}

func TestHeapPerIdleIsolate(t *testing.T) {
	if got := heapPerIsolate(t, helloWeb); got > 250<<10 {
		t.Errorf("an idle isolate takes %d bytes, more than 250 KiB", got)
	}
}

// TestStreamsThatNothingCanEnd breaks a Web stream whose source went silent,
// instead of holding its isolate until the client leaves.
func TestStreamsThatNothingCanEnd(t *testing.T) {
	b := newRealBench(t, jsruntime.Options{})
	defer b.engine.Close(context.Background())
	for name, source := range map[string]string{
		"at once":            `start(c) { c.enqueue(new TextEncoder().encode("head")) }`,
		"after a timer":      `start(c) { setTimeout(() => c.enqueue(new TextEncoder().encode("head")), 1) }`,
		"pull never settles": `pull(c) { c.enqueue(new TextEncoder().encode("head")); return new Promise(() => {}) }`,
	} {
		t.Run(name, func(t *testing.T) {
			spec := b.spec(`exports.default = { fetch() { return new Response(new ReadableStream({ `+source+` })) } }`, jsruntime.SpecOptions{})
			resp, err := b.engine.Do(context.Background(), spec, request(newHost()))
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			if string(body) != "head" || err == nil || !strings.Contains(err.Error(), "never ended") {
				t.Errorf("body %q, then %v", body, err)
			}
			if err := resp.Body.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
