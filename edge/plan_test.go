package edge

import (
	"net/http"
	"runtime"
	"testing"
	"time"
	"weak"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// TestForget serves a token by two edges, as before and after a reload, which
// remember verified tokens together: the one that has ended is not kept alive by
// what it hung on the token, and the other's is still there.
func TestForget(t *testing.T) {
	st := newStage(t, fileStore(t), nil)
	token := st.tokenFor(`module.exports = (cb) => cb(null, "hello")`, nil)
	serve := func() {
		t.Helper()
		if resp, text := st.get("/", bearerHeader(token)); resp.StatusCode != http.StatusOK {
			t.Fatalf("%s %s", resp.Status, text)
		}
	}
	serve()
	old := weak.Make(st.edge)
	next, err := New(st.edge.opts)
	if err != nil {
		t.Fatal(err)
	}
	st.edge.Forget()
	st.edge = next
	serve()
	old.Value().Forget() // what it hung on before is gone, and a second time does no harm

	verified, err := st.edge.opts.Verifier.Open(token, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if plans := verified.Attached().(attached); len(plans) != 1 || plans[0].edge != next {
		t.Errorf("%d plans are attached", len(plans))
	}
	seen := 0
	next.opts.Verifier.Each(func(*webtask.Verified) { seen++ })
	if seen != 1 {
		t.Errorf("%d tokens are remembered", seen)
	}
	// What a connection's goroutine and an idle isolate still hold goes with them.
	st.client.CloseIdleConnections()
	if flushed := st.engine.Flush("", ""); flushed != 1 {
		t.Errorf("%d isolates were flushed", flushed)
	}
	for range 1000 {
		if runtime.GC(); old.Value() == nil {
			return
		}
	}
	t.Error("the edge that was forgotten is still alive")
}
