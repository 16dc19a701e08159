package bench

import (
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/webtask-edge/caddy-webtask/tests/harness"
)

// BenchmarkWorker measures what isolates in worker processes cost.
func BenchmarkWorker(b *testing.B) {
	origin := startOrigin(b)
	inside := start(b, site, harness.FileStore(), origin)
	outside := start(b, strings.Replace(site, "isolation none", "isolation process", 1), harness.FileStore(), origin)
	respond := target{name: "respond", url: outside.URL + "/respond"}
	byToken := func(srv *harness.Server, name, path string) target {
		token := srv.Token(b, harness.Claims{URL: origin.URL + path, Secrets: map[string]string{"K": "V"}})
		return target{name: name, url: srv.URL + "/run", headers: []string{harness.Bearer(token)}}
	}
	b.Run("token", func(b *testing.B) {
		ratio(b, byToken(outside, "hello by token in a worker, Web model", "/hello.js"), respond)
	})
	b.Run("token-callback", func(b *testing.B) {
		ratio(b, byToken(outside, "hello by token in a worker, callback", "/callback/hello.js"), respond)
	})
	b.Run("route", func(b *testing.B) {
		ratio(b, target{name: "hello on a route in a worker, Web model", url: outside.URL + "/route"}, respond)
	})
	b.Run("alone", func(b *testing.B) {
		alone(b, byToken(outside, "in a worker", "/callback/hello.js"), byToken(inside, "in the edge", "/callback/hello.js"))
	})
	b.Run("cold", func(b *testing.B) { coldContainers(b, outside, origin) })
	b.Run("memory", func(b *testing.B) {
		memory(b, start(b, strings.Replace(site, "isolation none", "isolation process", 1), harness.FileStore(), origin), origin)
	})
}

// alone compares what one client, who sends one request after the other, waits
// for two targets.
func alone(b *testing.B, of, to target) {
	const requests, rounds = 2000, 7
	measure := func(t target) float64 {
		c := harness.NewClient(b)
		times := make([]float64, requests)
		for i := range times {
			start := time.Now()
			c.Get(b, t.url, t.headers...).Want(b, 200, "hello")
			times[i] = float64(time.Since(start).Nanoseconds()) / 1000
		}
		return median(times)
	}
	measure(of)
	measure(to)
	var ofs, tos, more []float64
	for range rounds {
		o, t := measure(of), measure(to)
		ofs, tos, more = append(ofs, o), append(tos, t), append(more, o-t)
	}
	fmt.Printf("one connection, p50: %s %.0f µs, %s %.0f µs, more by %.0f µs\n", of.name, median(ofs), to.name, median(tos), median(more))
	b.ReportMetric(median(more), "µs/more")
	b.ReportMetric(0, "ns/op")
}

// coldContainers times the first request of containers never seen before:
// code fetched and bundled, a worker taken, an isolate made. Between two, the
// next spare processes are waited for.
func coldContainers(b *testing.B, srv *harness.Server, origin *httptest.Server) {
	const containers = 40
	c := harness.NewClient(b)
	times := make([]float64, containers)
	before, _, _ := workerMemory(b, srv.PID())
	for i := range times {
		harness.Until(b, "a spare worker", func() bool {
			workers, _, _ := workerMemory(b, srv.PID())
			return workers >= before+i
		})
		token := srv.Token(b, harness.Claims{Container: fmt.Sprintf("cold%d", i), URL: fmt.Sprintf("%s/container%d.js", origin.URL, i)})
		start := time.Now()
		c.Get(b, srv.URL+"/run", harness.Bearer(token)).Want(b, 200, "hello")
		times[i] = float64(time.Since(start).Microseconds()) / 1000
	}
	fmt.Printf("%-44s p50 %.1f ms of %d containers\n", "cold container by token, with a spare worker", median(times), containers)
	b.ReportMetric(median(times), "ms/cold-container")
	b.ReportMetric(0, "ns/op")
}

// memory fills a server with containers and adds up what their workers take.
func memory(b *testing.B, srv *harness.Server, origin *httptest.Server) {
	const containers = 90 // an edge keeps 100 workers
	c := harness.NewClient(b)
	for i := range containers {
		token := srv.Token(b, harness.Claims{Container: fmt.Sprintf("many%d", i), URL: origin.URL + "/hello.js"})
		c.Get(b, srv.URL+"/run", harness.Bearer(token)).Want(b, 200, "hello")
	}
	workers, private, pss := workerMemory(b, srv.PID())
	if workers < containers {
		b.Fatalf("%d workers for %d containers", workers, containers)
	}
	fmt.Printf("%-44s %.1f MiB private, %.0f MiB of %d workers together (PSS)\n", "memory of an idle worker",
		float64(private)/float64(workers)/1024, float64(pss)/1024, workers)
	b.ReportMetric(float64(private)/float64(workers)/1024, "MiB/worker")
	b.ReportMetric(0, "ns/op")
}

// workerMemory adds up, in KiB, what the children of a process take.
func workerMemory(b *testing.B, parent int) (workers, private, pss int) {
	b.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		b.Fatal(err)
	}
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		if fields := strings.Fields(rest); len(fields) < 2 || fields[1] != strconv.Itoa(parent) {
			continue
		}
		rollup, err := os.ReadFile(filepath.Join(filepath.Dir(path), "smaps_rollup"))
		if err != nil {
			continue
		}
		workers++
		for line := range strings.Lines(string(rollup)) {
			fields := strings.Fields(line)
			if len(fields) != 3 {
				continue
			}
			kib, _ := strconv.Atoi(fields[1]) // the first line has none
			switch fields[0] {
			case "Private_Clean:", "Private_Dirty:":
				private += kib
			case "Pss:":
				pss += kib
			}
		}
	}
	return workers, private, pss
}
