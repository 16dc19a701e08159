package faults

import (
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/webtask-edge/caddy-webtask/tests/harness"
)

// usualLength is how long the faults go on in `make test`: enough for each of the
// checks to have failed in every run of a build that was broken on purpose.
const usualLength = 10 * time.Second

const webtaskSite = `
{
	webtask {
		isolation none
		code_allow {$ORIGIN}/*
		egress allow {$ORIGIN_HOST}
		fetch_rate 1000000
	}
}

http://localhost:{$PORT} {
	header X-Reload %d
	webtask /hello {
		code "module.exports = (cb) => cb(null, 'hello');"
	}
	webtask /born {
		code "const born = Math.random(); module.exports = (cb) => cb(null, born);"
	}
	webtask /hit {
		code "module.exports = async (ctx, cb) => (await fetch(ctx.params.ORIGIN + '/hit?id=' + ctx.query.id)).text()"
		param ORIGIN {$ORIGIN}
	}
}
`

// plainSite is the measure: what a reload costs where no module of ours runs.
const plainSite = `
http://localhost:{$PORT} {
	header X-Reload %d
	respond hello
}
`

// load is what a set of clients saw of one server.
type load struct {
	answered, unconnected atomic.Int64
}

// run sends requests with a number of clients until stop is closed. An answer
// that is not 200 is an error; a request that got none is counted.
func (l *load) run(t *testing.T, wg *sync.WaitGroup, stop <-chan struct{}, clients int, url func() string, answered func(url, body string)) {
	for range clients {
		visitor := harness.NewClient(t)
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				asked := url()
				answer, err := visitor.Try(http.MethodGet, asked, "")
				switch {
				case err != nil:
					l.unconnected.Add(1)
				case answer.Status != http.StatusOK:
					t.Errorf("GET %s: %d %s", asked, answer.Status, answer.Body)
				default:
					l.answered.Add(1)
					answered(asked, answer.Body)
				}
			}
		})
	}
}

// TestReloadUnderLoad reloads two servers every 200 ms under the same load: an
// edge, and one that only has Caddy's respond, as the measure of what a reload
// of Caddy itself costs.
func TestReloadUnderLoad(t *testing.T) {
	const every = 200 * time.Millisecond
	var reached, answered sync.Map // ids of /hit: at the origin, at the client
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reached.Store(r.URL.Query().Get("id"), true)
		fmt.Fprint(w, "hit")
	}))
	t.Cleanup(origin.Close)

	edge := harness.Start(t, harness.Config{
		Caddyfile: fmt.Sprintf(webtaskSite, 0),
		Env:       []string{"ORIGIN=" + origin.URL, "ORIGIN_HOST=" + origin.Listener.Addr().String()},
	})
	plain := harness.Start(t, harness.Config{Caddyfile: fmt.Sprintf(plainSite, 0)})

	// Reload once before measuring: what is made once per process is there.
	edge.Reload(t, fmt.Sprintf(webtaskSite, 1))
	goroutines, heap := edge.Goroutines(t), edge.HeapInUse(t)

	var edgeLoad, hitLoad, plainLoad load
	var ids atomic.Int64
	var wg sync.WaitGroup
	stop := make(chan struct{})
	edgeLoad.run(t, &wg, stop, 3, func() string { return edge.URL + "/hello" }, func(string, string) {})
	hitLoad.run(t, &wg, stop, 1,
		func() string { return edge.URL + "/hit?id=" + strconv.FormatInt(ids.Add(1), 10) },
		func(url, _ string) { answered.Store(url[len(edge.URL+"/hit?id="):], true) })
	plainLoad.run(t, &wg, stop, 4, func() string { return plain.URL }, func(string, string) {})

	// Called once per configuration and never twice at once, this task has one
	// isolate, whose variables tell whether it is still the same one.
	visitor := harness.NewClient(t)
	born := visitor.Get(t, edge.URL+"/born").Want(t, http.StatusOK, "")
	reloads := 0
	tick := time.NewTicker(every)
	defer tick.Stop()
	for end := time.After(harness.Length(t, "FAULTS", usualLength)); ; reloads++ {
		select {
		case <-end:
		case <-tick.C:
			var both sync.WaitGroup
			both.Go(func() { edge.AdminLoad(t, fmt.Sprintf(webtaskSite, reloads+2)) })
			both.Go(func() { plain.AdminLoad(t, fmt.Sprintf(plainSite, reloads+2)) })
			both.Wait()
			now, err := visitor.Try(http.MethodGet, edge.URL+"/born", "")
			if err != nil {
				edgeLoad.unconnected.Add(1) // it counts as any other
			} else if now.Body != born.Body {
				t.Errorf("after reload %d the isolate is not the one from before: %d %s, not %s", reloads+1, now.Status, now.Body, born.Body)
				born = now
			}
			continue
		}
		break
	}
	close(stop)
	wg.Wait()

	t.Logf("%d reloads; edge: %d + %d answered, %d unconnected; respond: %d answered, %d unconnected", reloads,
		edgeLoad.answered.Load(), hitLoad.answered.Load(), edgeLoad.unconnected.Load()+hitLoad.unconnected.Load(),
		plainLoad.answered.Load(), plainLoad.unconnected.Load())
	reached.Range(func(id, _ any) bool {
		if _, ok := answered.Load(id); !ok {
			t.Errorf("request %v reached its handler and was never answered", id)
		}
		return true
	})
	// Both counts are small and vary by chance: more than three standard
	// deviations apart is no chance.
	failed, measure := edgeLoad.unconnected.Load()+hitLoad.unconnected.Load(), plainLoad.unconnected.Load()
	if float64(failed) > float64(measure)+3*math.Sqrt(float64(failed+measure)) {
		t.Errorf("%d requests to the edge found no connection, %d to Caddy's respond", failed, measure)
	}
	harness.Until(t, "no goroutine of an old configuration is left", func() bool {
		return edge.Goroutines(t) <= goroutines+10
	})
	const slack = 24 << 20
	if now := edge.HeapInUse(t); now > heap+slack {
		t.Errorf("the heap grew from %d to %d MiB", heap>>20, now>>20)
	}
}
