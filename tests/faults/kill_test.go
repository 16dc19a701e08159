// Package faults breaks things while they are in use: it kills servers,
// reloads them, overruns them, and looks what is left.
package faults

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/webtask-edge/caddy-webtask/tests/harness"
)

const counterSite = `
{
	webtask {
		isolation none
		{$STORE}
	}
}

http://localhost:{$PORT} {
	webtask /add {
		code "module.exports = async (ctx, cb) => ({ n: await ctx.session.update('n', (n = 0) => n + 1) })"
	}
	webtask /get {
		code "module.exports = async (ctx, cb) => ({ n: (await ctx.session.get('n')) ?? 0 })"
	}
}
`

// count asks a server for the counter; 0 with an error means unanswered.
func count(c *harness.Client, url string) (int, error) {
	answer, err := c.Try(http.MethodGet, url, "")
	if err != nil {
		return 0, err
	}
	if answer.Status != http.StatusOK {
		return 0, fmt.Errorf("%d %s", answer.Status, answer.Body)
	}
	var body struct{ N int }
	return body.N, json.Unmarshal([]byte(answer.Body), &body)
}

// TestKillLosesNoAcknowledgedWrite kills the server with SIGKILL, again and
// again, while sessions are written.
func TestKillLosesNoAcknowledgedWrite(t *testing.T) {
	harness.EachStore(t, func(t *testing.T, store harness.Store) {
		const rounds, visitors, writesPerRound = 6, 4, 60
		srv := harness.Start(t, harness.Config{Caddyfile: counterSite, Store: store})

		clients := make([]*harness.Client, visitors)
		acknowledged := make([]int, visitors)
		for i := range clients {
			clients[i] = harness.NewClient(t)
			n, err := count(clients[i], srv.URL+"/add")
			if err != nil {
				t.Fatal(err)
			}
			acknowledged[i] = n
		}

		for round := range rounds {
			var writes atomic.Int64
			enough := make(chan struct{})
			var wg sync.WaitGroup
			for i := range clients {
				wg.Go(func() {
					for {
						n, err := count(clients[i], srv.URL+"/add")
						if err != nil {
							return // the server is gone
						}
						acknowledged[i] = n
						if writes.Add(1) == writesPerRound {
							close(enough)
						}
					}
				})
			}
			<-enough
			srv.Kill(t)
			wg.Wait()
			srv.Run(t)
			for i := range clients {
				n, err := count(clients[i], srv.URL+"/get")
				// The write in flight at the kill may have been stored.
				if err != nil || n < acknowledged[i] || n > acknowledged[i]+1 {
					t.Errorf("round %d: %d writes of visitor %d were acknowledged, %d are there (%v)", round, acknowledged[i], i, n, err)
				}
				acknowledged[i] = n
			}
		}
	})
}

// TestTwoEdgesCountExactly has two edges on one Redis update one counter of
// one session at once.
func TestTwoEdgesCountExactly(t *testing.T) {
	const writers, each = 6, 25
	store, dir := harness.RedisStore(t), t.TempDir()
	edges := []*harness.Server{
		harness.Start(t, harness.Config{Caddyfile: counterSite, Store: store, Dir: dir}),
		harness.Start(t, harness.Config{Caddyfile: counterSite, Store: store, Dir: dir}),
	}
	visitor := harness.NewClient(t)
	if _, err := count(visitor, edges[0].URL+"/add"); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for range each {
				if _, err := count(visitor, edges[i%2].URL+"/add"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, edge := range edges {
		if n, err := count(visitor, edge.URL+"/get"); err != nil || n != 1+writers*each {
			t.Errorf("%v counts %d (%v), want %d", edge, n, err, 1+writers*each)
		}
	}
}
