package jsruntime_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

func TestLoopOrder(t *testing.T) {
	b := newBench(t, jsruntime.Options{})
	code := `module.exports = cb => {
		const seen = [];
		setTimeout(() => { seen.push("t1"); Promise.resolve().then(() => seen.push("m")) }, 1);
		setTimeout(() => seen.push("t2"), 1);
		const cleared = setTimeout(() => seen.push("no"), 1); clearTimeout(cleared); clearTimeout(999);
		let n = 0; const every = setInterval(() => { seen.push("i"); if (++n == 2) { clearTimeout(every); cb(null, seen) } }, 2);
		Promise.resolve().then(() => seen.push("first"));
	}`
	if got, _ := b.do(b.spec(code, jsruntime.SpecOptions{}), request(newHost())); got != `["first","t1","m","t2","i","i"]` {
		t.Errorf("got %s", got)
	}
}

func TestTimersAreBounded(t *testing.T) {
	b := newBench(t, jsruntime.Options{})
	spec := b.spec(`module.exports = cb => { for (;;) setTimeout(() => {}, 1000) }`, jsruntime.SpecOptions{Limits: webtask.Limits{Timers: 10}})
	failure := fails[*jsruntime.ScriptError](b, spec, request(newHost()))
	if failure.Name != "RangeError" || !strings.Contains(failure.Message, "more than 10 timers") {
		t.Errorf("got %v", failure)
	}
}

// Everything a request started ends with it.
func TestNothingOutlivesItsRequest(t *testing.T) {
	b := newBench(t, jsruntime.Options{})
	spec := b.spec(`let n = 0; module.exports = cb => {
		setInterval(() => n++, 1); gate("never"); cb(null, n) }`, jsruntime.SpecOptions{})
	for range 20 {
		if got, _ := b.do(spec, request(newHost())); got != "{}" {
			t.Fatalf("a timer of an earlier request ran: %s", got)
		}
	}
	// What was pending could still be reached from globals, so none of the
	// isolates was used twice.
	if stats := b.engine.Stats(); stats[0].Created != 20 || stats[0].Idle != 0 {
		t.Errorf("stats: %+v", stats)
	}
}

func TestWaitUntil(t *testing.T) {
	b := newBench(t, jsruntime.Options{})
	host := newHost()
	code := `exports.default = (request, env, ctx) => {
		ctx.waitUntil(gate("later").then(() => log("done")));
		ctx.waitUntil(Promise.reject(new Error("logged")));
		ctx.waitUntil(7);
		return "at once" }`
	if got, _ := b.do(b.spec(code, jsruntime.SpecOptions{}), request(host)); got != "at once" {
		t.Fatalf("got %s", got)
	}
	b.gates.await("later", 1)
	b.gates.release("later")
	<-host.logged
	<-host.logged
	if got := host.messages(); !strings.Contains(got[0], "waitUntil: ") || !strings.Contains(got[0], "logged") || got[1] != "done" {
		t.Errorf("logged %q", got)
	}
}

// The caller's context ends when net/http's handler returns: that is the
// usual state while waitUntil is at work.
func TestWaitUntilOutlivesTheCaller(t *testing.T) {
	b := newBench(t, jsruntime.Options{})
	host := newHost()
	ctx, cancel := context.WithCancel(context.Background())
	_, err := b.engine.Do(ctx, b.spec(`exports.default = (request, env, ctx) => {
		ctx.waitUntil(gate("later").then(() => log("done"))); return "" }`, jsruntime.SpecOptions{}), request(host))
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	b.gates.release("later")
	<-host.logged
	if got := host.messages(); got[0] != "done" {
		t.Errorf("logged %q", got)
	}
}

func TestWaitUntilIsBounded(t *testing.T) {
	b := newBench(t, jsruntime.Options{})
	host := newHost()
	b.do(b.spec(`exports.default = (request, env, ctx) => { ctx.waitUntil(gate("never")); return "" }`,
		jsruntime.SpecOptions{Limits: webtask.Limits{WaitUntil: time.Millisecond}}), request(host))
	<-host.logged
	if got := host.messages(); !strings.Contains(got[0], "wait_until of 1ms") {
		t.Errorf("logged %q", got)
	}
}

func TestCallerGoesAway(t *testing.T) {
	b := newBench(t, jsruntime.Options{})
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		b.gates.await("never", 1)
		cancel()
	}()
	_, err := b.engine.Do(ctx, b.spec(`module.exports = cb => gate("never").then(cb)`, jsruntime.SpecOptions{}), request(newHost()))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// A defect of the platform costs the request and its isolate, nothing else.
func TestPanicsAreContained(t *testing.T) {
	b := newBench(t, jsruntime.Options{})
	for _, code := range []string{`module.exports = cb => crash()`, `module.exports = cb => crashNow()`, `crashNow()`} {
		spec := b.spec(code, jsruntime.SpecOptions{})
		for range 2 {
			_, err := b.engine.Do(context.Background(), spec, request(newHost()))
			if err == nil || !strings.Contains(err.Error(), "engine failed: a defect") {
				t.Errorf("%s: got %v", code, err)
			}
		}
	}
	for _, stats := range b.engine.Stats() {
		if stats.Idle+stats.Busy != 0 {
			t.Errorf("an isolate of unknown state is kept: %+v", stats)
		}
	}
}

func TestTimeLimits(t *testing.T) {
	short := webtask.Limits{CPUTime: 20 * time.Millisecond}
	for name, test := range map[string]struct {
		code   string
		limits webtask.Limits
		limit  string
	}{
		"busy loop":       {`module.exports = cb => { for (;;); }`, short, "cpu_time"},
		"busy load":       {`for (;;);`, short, "cpu_time"},
		"busy timer":      {`module.exports = cb => setTimeout(() => { for (;;); }, 1)`, short, "cpu_time"},
		"busy finally":    {`module.exports = cb => { for (;;) try { for (;;); } finally { continue } }`, short, "cpu_time"},
		"promise jobs":    {`module.exports = cb => { (async () => { for (;;) await null })() }`, short, "cpu_time"},
		"busy toJSON":     {`module.exports = cb => cb(null, {toJSON() { for (;;); }})`, short, "cpu_time"},
		"busy getter":     {`module.exports = cb => { throw {get message() { for (;;); }} }`, short, "cpu_time"},
		"busy Web answer": {`exports.default = () => ({get upstream() { for (;;); }})`, short, "cpu_time"},
		"busy wall":       {`module.exports = cb => { for (;;); }`, webtask.Limits{Timeout: 20 * time.Millisecond, CPUTime: time.Hour}, "timeout"},
		"waits":           {`module.exports = cb => gate("never").then(cb)`, webtask.Limits{Timeout: 20 * time.Millisecond}, "timeout"},
		"waits for timer": {`module.exports = cb => setTimeout(cb, 3600000)`, webtask.Limits{Timeout: 20 * time.Millisecond}, "timeout"},
		"endless timers":  {`module.exports = cb => { (function next() { setTimeout(next, 0) })() }`, webtask.Limits{Timeout: 20 * time.Millisecond}, "timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, jsruntime.Options{})
			spec := b.spec(test.code, jsruntime.SpecOptions{Limits: test.limits})
			for range 2 {
				failure := fails[*jsruntime.LimitError](b, spec, request(newHost()))
				if failure.Limit != test.limit || failure.Status != 504 {
					t.Errorf("got %+v", failure)
				}
			}
			if stats := b.engine.Stats(); stats[0].Idle != 0 && (test.limit == "cpu_time" || strings.HasPrefix(name, "busy")) {
				t.Errorf("an interrupted isolate is kept: %+v", stats)
			}
		})
	}
}

// A process that does not get the CPU is not the fault of its scripts: their
// turns are only bounded by the request's whole time then.
func TestTurnsThatDoNotGetTheCPU(t *testing.T) {
	b := newBench(t, jsruntime.Options{CPUTime: func() time.Duration { return time.Minute }})
	spec := b.spec(`module.exports = cb => { for (;;); }`, jsruntime.SpecOptions{
		Limits: webtask.Limits{CPUTime: time.Nanosecond, Timeout: 50 * time.Millisecond},
	})
	if failure := fails[*jsruntime.LimitError](b, spec, request(newHost())); failure.Limit != "timeout" {
		t.Errorf("got %+v", failure)
	}
}

// An interrupt that came late must not hit the next request: many handlers
// end just about when the watchdog fires.
func TestInterruptsHitOnlyTheirTurn(t *testing.T) {
	b := newBench(t, jsruntime.Options{})
	limits := webtask.Limits{CPUTime: 5 * time.Millisecond}
	spin := b.spec(`module.exports = (ctx, cb) => { const end = Date.now() + Number(ctx.query.ms); while (Date.now() < end); cb(null, 1) }`,
		jsruntime.SpecOptions{Limits: limits})
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for i := range 40 {
				req := request(newHost())
				req.URL = fmt.Sprintf("https://example.com/?ms=%d", i%12)
				_, err := b.engine.Do(context.Background(), spin, req)
				var limit *jsruntime.LimitError
				if err != nil && !errors.As(err, &limit) {
					t.Errorf("got %v", err)
				}
			}
		})
	}
	group.Wait()
}

func TestStreams(t *testing.T) {
	b := newBench(t, jsruntime.Options{})
	t.Run("backpressure", func(t *testing.T) {
		spec := b.spec(`module.exports = (ctx, req, res) => {
			res.writeHead(200);
			const chunk = "x".repeat(50000); let n = 0, waits = 0;
			(function next() {
				while (n < 40) { n++; if (!res.write(chunk, next)) { waits++; return } }
				res.write("|" + waits); res.end();
			})() }`, jsruntime.SpecOptions{})
		got, _ := b.do(spec, request(newHost()))
		// How often it was told to wait depends on when it is read, but a
		// buffer of 64 KiB cannot take 2 MB at once.
		body, waits, _ := strings.Cut(got, "|")
		if n, err := strconv.Atoi(waits); err != nil || n < 1 || n > 20 || len(body) != 2_000_000 {
			t.Errorf("%d bytes, %s waits", len(body), waits)
		}
	})
	t.Run("too large", func(t *testing.T) {
		spec := b.spec(`module.exports = (ctx, req, res) => { res.writeHead(200); res.write("x".repeat(11)); res.end() }`,
			jsruntime.SpecOptions{Limits: webtask.Limits{ResponseBody: 10}})
		if failure := fails[*jsruntime.LimitError](b, spec, request(newHost())); failure.Limit != "response_body" {
			t.Errorf("got %+v", failure)
		}
	})
	for name, test := range map[string]struct {
		code   string
		limits webtask.Limits
		want   string
	}{
		"breaks by limit":   {`await gate("go"); res.write("y".repeat(10)); res.end()`, webtask.Limits{ResponseBody: 10}, "response_body of 10 B"},
		"breaks by loop":    {`await gate("go"); for (;;);`, webtask.Limits{CPUTime: 20 * time.Millisecond}, "cpu_time of 20ms"},
		"breaks by time":    {`await gate("never")`, webtask.Limits{StreamTimeout: 5 * time.Millisecond}, "stream_timeout of 5ms"},
		"breaks by silence": {`await gate("go")`, webtask.Limits{}, "never ended"},
		"breaks by stack":   {`await gate("go"); (function f() { f() })()`, webtask.Limits{}, "Maximum call stack"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, jsruntime.Options{})
			host := newHost()
			spec := b.spec(`module.exports = async (ctx, req, res) => { res.writeHead(200); res.write("head"); `+test.code+` }`, jsruntime.SpecOptions{Limits: test.limits})
			resp, err := b.engine.Do(context.Background(), spec, request(host))
			if err != nil {
				t.Fatal(err)
			}
			b.gates.release("go")
			buffer, failure := make([]byte, 100), error(nil)
			for failure == nil {
				_, failure = resp.Body.Read(buffer)
			}
			if !strings.Contains(failure.Error(), test.want) {
				t.Errorf("the body broke with %v", failure)
			}
			if err := resp.Body.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("given up", func(t *testing.T) {
		b := newBench(t, jsruntime.Options{})
		resp, err := b.engine.Do(context.Background(), b.spec(`module.exports = async (ctx, req, res) => {
			res.writeHead(200); res.write("head"); await gate("never") }`, jsruntime.SpecOptions{}), request(newHost()))
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Error(err)
		}
		// The bench's Close waits until the request has ended.
	})
	t.Run("rejection while streaming", func(t *testing.T) {
		b := newBench(t, jsruntime.Options{})
		host := newHost()
		resp, err := b.engine.Do(context.Background(), b.spec(`module.exports = async (ctx, req, res) => {
			res.writeHead(200); res.write("head"); await gate("go"); Promise.reject(new Error("lost")); setTimeout(() => res.end(), 1) }`, jsruntime.SpecOptions{}), request(host))
		if err != nil {
			t.Fatal(err)
		}
		b.gates.release("go")
		if got := b.text(resp); got != "head" {
			t.Errorf("got %q", got)
		}
		if got := host.messages(); len(got) != 1 || !strings.Contains(got[0], "lost") {
			t.Errorf("logged %q", got)
		}
	})
}

// A body that passes through holds no isolate, and its upstream lives until
// it is closed.
func TestPassThrough(t *testing.T) {
	b := newBench(t, jsruntime.Options{})
	spec := b.spec(`exports.default = () => ({upstream: "from afar"})`, jsruntime.SpecOptions{Limits: webtask.Limits{ResponseBody: 1}})
	resp, err := b.engine.Do(context.Background(), spec, request(newHost()))
	if err != nil {
		t.Fatal(err)
	}
	if stats := b.engine.Stats(); stats[0].Idle != 1 {
		t.Errorf("the isolate is not free: %+v", stats)
	}
	if got := b.text(resp); got != "from afar" {
		t.Errorf("got %q", got)
	}
}

func TestAbandonedPromisesReachNoOtherRequest(t *testing.T) {
	b := newBench(t, jsruntime.Options{})
	spec := b.spec(`let token;
		module.exports = async (ctx, cb) => {
			token ??= new Promise(resolve => setTimeout(() => resolve("token"), ctx.query.slow ? 60000 : 1));
			log("waiting");
			cb(null, await token);
		}`, jsruntime.SpecOptions{})
	ctx, cancel := context.WithCancel(context.Background())
	host := newHost()
	req := request(host)
	req.URL += "&slow=1"
	go func() { <-host.logged; cancel() }()
	if _, err := b.engine.Do(ctx, spec, req); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if got, _ := b.do(spec, request(newHost())); got != `"token"` {
		t.Errorf("got %s", got)
	}
}

func TestMicrotasksReachNoOtherRequest(t *testing.T) {
	b := newBench(t, jsruntime.Options{})
	spec := b.spec(`let n = 0;
		module.exports = async cb => { const was = n; return { toJSON() { Promise.resolve().then(() => n++); return was } } }`, jsruntime.SpecOptions{})
	for _, want := range []string{"0", "1", "2"} {
		if got, _ := b.do(spec, request(newHost())); got != want {
			t.Errorf("after %s requests: %s", want, got)
		}
	}
}
