package faults

import (
	"net/http"
	"sync"
	"testing"

	"github.com/webtask-edge/caddy-webtask/tests/harness"
)

// TestThousandWaiters has 1,000 clients at once call a task that awaits a
// second: each waits its turn, none is refused.
func TestThousandWaiters(t *testing.T) {
	const clients = 1000
	srv := harness.Start(t, harness.Config{Caddyfile: `
{
	webtask {
		isolation none
	}
}

http://localhost:{$PORT} {
	webtask /wait {
		code "module.exports = async (cb) => { await new Promise((done) => setTimeout(done, 1000)); return 'waited'; }"
	}
}
`})
	visitor := harness.NewClient(t)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			<-start
			answer, err := visitor.Try(http.MethodGet, srv.URL+"/wait", "")
			if err != nil || answer.Status != http.StatusOK || answer.Body != `"waited"` {
				t.Errorf("%v: %d %s", err, answer.Status, answer.Body)
			}
		})
	}
	close(start)
	wg.Wait()
	t.Logf("resident memory at its peak: %s", srv.PeakMemory(t))
}
