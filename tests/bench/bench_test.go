package bench

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/webtask-edge/caddy-webtask/tests/harness"
)

const site = `
{
	webtask {
		isolation none
		{$STORE}
		code_allow {$ORIGIN}/*
		egress allow {$ORIGIN_HOST}
	}
}

http://localhost:{$PORT} {
	webtask /run
	webtask /route {
		code hello.js
	}
	webtask /node {
		code "module.exports = (ctx, req, res) => res.end('hello')"
	}
	webtask /session {
		code session.js
	}
	webtask /wait {
		code "module.exports = async (cb) => { await new Promise((done) => setTimeout(done, 1000)); return 'waited'; }"
	}
	respond /respond hello
	route /respond-same {
		header {
			Cache-Control "private, no-store"
			Content-Security-Policy "sandbox allow-scripts allow-forms allow-popups"
			X-Content-Type-Options nosniff
		}
		respond hello
	}
	root static
	file_server
}
`

// plain is the same site without anything of ours.
const plain = `
http://localhost:{$PORT} {
	respond /respond hello
	root static
	file_server
}
`

const (
	hello = `export default { fetch() { return new Response("hello"); } }`

	// helloCallback is the same in the model of one parameter.
	helloCallback = `module.exports = (cb) => cb(null, "hello");`

	// kibibyte reads and writes 1 KiB of session state.
	kibibyte = `export default { async fetch(request, env, ctx) {
		const old = (await ctx.session.get("state")) ?? { n: 0, text: "x".repeat(1000) };
		await ctx.session.set("state", { n: old.n + 1, text: old.text });
		return new Response("hello");
	} }`
)

// start starts a server of the site on a store, with an origin for code.
func start(b *testing.B, caddyfile string, store harness.Store, origin *httptest.Server) *harness.Server {
	b.Helper()
	return harness.Start(b, harness.Config{
		Caddyfile: caddyfile, Store: store,
		Files: map[string]string{
			"hello.js": hello, "session.js": kibibyte, "static/page.html": strings.Repeat("<p>static</p>\n", 300),
		},
		Env: []string{"ORIGIN=" + origin.URL, "ORIGIN_HOST=" + origin.Listener.Addr().String()},
	})
}

// startOrigin serves a hello that differs by path, so that each URL is a
// script never seen before. Under /callback it is helloCallback.
func startOrigin(b *testing.B) *httptest.Server {
	b.Helper()
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		code := hello
		if strings.HasPrefix(r.URL.Path, "/callback/") {
			code = helloCallback
		}
		fmt.Fprintf(w, "// %s\n%s\n", r.URL.Path, code)
	}))
	b.Cleanup(origin.Close)
	return origin
}

// number is a setting of the environment.
func number(b *testing.B, name string, otherwise int) int {
	b.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		b.Fatalf("%s is %q, want a number", name, text)
	}
	return n
}

// ratio measures two targets in turn and prints rates and their quotient.
func ratio(b *testing.B, of, to target) {
	b.Helper()
	length := time.Duration(number(b, "BENCH_SECONDS", 2)) * time.Second
	measure := func(t target, length time.Duration) float64 {
		rate, err := load(t, length)
		if err != nil {
			b.Fatalf("%s: %v", t.name, err)
		}
		return rate
	}
	measure(of, time.Second)
	measure(to, time.Second)
	var ofs, tos, ratios []float64
	for round := range number(b, "BENCH_ROUNDS", 7) {
		// Who goes first alternates, so that a drift of the machine favours
		// neither.
		var o, t float64
		if round%2 == 0 {
			o = measure(of, length)
			t = measure(to, length)
		} else {
			t = measure(to, length)
			o = measure(of, length)
		}
		ofs, tos, ratios = append(ofs, o), append(tos, t), append(ratios, o/t)
	}
	fmt.Printf("%-44s %9.0f /s   %-28s %9.0f /s   ratio %.2f\n", of.name, median(ofs), to.name, median(tos), median(ratios))
	b.ReportMetric(median(ratios), "ratio")
	b.ReportMetric(0, "ns/op")
}

func BenchmarkEdge(b *testing.B) {
	fmt.Printf("%s, %d CPUs, %s; GOGC=%q GOMEMLIMIT=%q (the edge paces itself where both are empty); %d thread, %d connections, %d rounds of %d s each\n",
		cpu(), runtime.NumCPU(), runtime.Version(), os.Getenv("GOGC"), os.Getenv("GOMEMLIMIT"),
		threads, connections, number(b, "BENCH_ROUNDS", 7), number(b, "BENCH_SECONDS", 2))
	origin := startOrigin(b)
	edge := start(b, site, harness.FileStore(), origin)
	bare := start(b, plain, harness.FileStore(), origin)
	respond := target{name: "respond", url: edge.URL + "/respond"}
	byToken := func(name, path string) target {
		token := edge.Token(b, harness.Claims{URL: origin.URL + path, Secrets: map[string]string{"K": "V"}})
		return target{name: name, url: edge.URL + "/run", headers: []string{harness.Bearer(token)}}
	}
	tokenHello := byToken("hello by token, Web model", "/hello.js")

	b.Run("token", func(b *testing.B) { ratio(b, tokenHello, respond) })
	b.Run("token-callback", func(b *testing.B) {
		ratio(b, byToken("hello by token, callback", "/callback/hello.js"), respond)
	})
	// What the headers of a token's request and answer cost by themselves.
	same := target{name: "respond, with a token's headers both ways", url: edge.URL + "/respond-same", headers: tokenHello.headers}
	b.Run("same-headers", func(b *testing.B) { ratio(b, same, respond) })
	b.Run("token-alike", func(b *testing.B) { ratio(b, tokenHello, same) })
	b.Run("token-callback-alike", func(b *testing.B) {
		ratio(b, byToken("hello by token, callback", "/callback/hello.js"), same)
	})
	b.Run("route", func(b *testing.B) {
		ratio(b, target{name: "hello on a route, Web model", url: edge.URL + "/route"}, respond)
	})
	b.Run("node", func(b *testing.B) {
		ratio(b, target{name: "hello on a route, (ctx, req, res)", url: edge.URL + "/node"}, respond)
	})
	b.Run("respond", func(b *testing.B) {
		ratio(b, respond, target{name: "respond of Caddy alone", url: bare.URL + "/respond"})
	})
	b.Run("static", func(b *testing.B) {
		ratio(b, target{name: "static file beside webtasks", url: edge.URL + "/page.html"},
			target{name: "static file of Caddy alone", url: bare.URL + "/page.html"})
	})
	b.Run("session-file", func(b *testing.B) { ratio(b, session(b, "file", edge), respond) })
	b.Run("session-redis", func(b *testing.B) {
		redis := start(b, site, harness.RedisStore(b), origin)
		ratio(b, session(b, "Redis", redis), target{name: "respond", url: redis.URL + "/respond"})
	})
	b.Run("cold", func(b *testing.B) { cold(b, edge, origin) })
	b.Run("heap", func(b *testing.B) { heap(b, start(b, site, harness.FileStore(), origin)) })
	b.Run("waiters", func(b *testing.B) { waiters(b, start(b, site, harness.FileStore(), origin)) })
	b.Run("profile", func(b *testing.B) { profile(b, edge, tokenHello) })
}

// session is the target that reads and writes 1 KiB of a session that exists.
func session(b *testing.B, store string, srv *harness.Server) target {
	b.Helper()
	c := harness.NewClient(b)
	c.Get(b, srv.URL+"/session").Want(b, 200, "hello")
	cookie := c.Cookies(b, srv.URL)[0]
	return target{
		name: "1 KiB of session read and written, " + store, url: srv.URL + "/session",
		headers: []string{"Cookie: " + cookie.Name + "=" + cookie.Value},
	}
}

// cold times the first request of scripts never seen before: fetched from
// loopback, bundled, compiled, run in a new isolate.
func cold(b *testing.B, edge *harness.Server, origin *httptest.Server) {
	const scripts = 60
	c := harness.NewClient(b)
	times := make([]float64, scripts)
	for i := range times {
		token := edge.Token(b, harness.Claims{URL: fmt.Sprintf("%s/cold%d.js", origin.URL, i)})
		start := time.Now()
		c.Get(b, edge.URL+"/run", harness.Bearer(token)).Want(b, 200, "hello")
		times[i] = float64(time.Since(start).Microseconds()) / 1000
	}
	fmt.Printf("%-44s p50 %.2f ms of %d scripts\n", "cold start by token, fetch included", median(times), scripts)
	b.ReportMetric(median(times), "ms/cold-start")
	b.ReportMetric(0, "ns/op")
}

// atOnce has a number of clients wait for the slow task at the same time.
func atOnce(b *testing.B, srv *harness.Server, clients int) {
	b.Helper()
	c := harness.NewClient(b)
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			if answer, err := c.Try(http.MethodGet, srv.URL+"/wait", ""); err != nil || answer.Status != http.StatusOK {
				b.Errorf("%v %d %s", err, answer.Status, answer.Body)
			}
		})
	}
	wg.Wait()
}

// heap divides what the heap holds after many isolates of one program were
// used at once by their number.
func heap(b *testing.B, srv *harness.Server) {
	const isolates = 300
	atOnce(b, srv, 1)
	before := srv.HeapInUse(b)
	atOnce(b, srv, isolates)
	each := float64(srv.HeapInUse(b)-before) / (isolates - 1) / 1024
	fmt.Printf("%-44s %.0f KiB (of %d)\n", "heap of an idle isolate", each, isolates)
	b.ReportMetric(each, "KiB/isolate")
	b.ReportMetric(0, "ns/op")
}

func waiters(b *testing.B, srv *harness.Server) {
	start := time.Now()
	atOnce(b, srv, 1000)
	fmt.Printf("%-44s all answered in %.1f s, peak resident memory %s\n", "1,000 clients of a task that awaits 1 s",
		time.Since(start).Seconds(), srv.PeakMemory(b))
	b.ReportMetric(0, "ns/op")
}

// profile prints where the time goes while a target is under load.
func profile(b *testing.B, srv *harness.Server, t target) {
	done := make(chan error, 1)
	go func() {
		_, err := load(t, 8*time.Second)
		done <- err
	}()
	path := filepath.Join(b.TempDir(), "cpu.pprof")
	if err := os.WriteFile(path, []byte(srv.AdminGet(b, "/debug/pprof/profile?seconds=6")), 0o644); err != nil {
		b.Fatal(err)
	}
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	for _, order := range []string{"-flat", "-cum"} {
		out, err := exec.Command("go", "tool", "pprof", "-top", order, "-nodecount=25", harness.Binary(b), path).Output()
		if err != nil {
			b.Fatal(err)
		}
		fmt.Printf("\n%s, top of the CPU profile (%s):\n%s", t.name, order, out)
	}
	b.ReportMetric(0, "ns/op")
}

// cpu names the processor, as far as the system says.
func cpu() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	_, rest, _ := strings.Cut(string(info), "model name")
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), ":"))
}
