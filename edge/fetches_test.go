package edge

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

// TestOpenFetches has a container open as many fetches as it may, in each way in
// which one ends.
func TestOpenFetches(t *testing.T) {
	server := upstream(t)
	c := caller(t, nil, webtask.Limits{}, address(server))
	other := caller(t, nil, webtask.Limits{}, address(server))
	other.edge, other.plan.task.Container = c.edge, "other"
	open := func() int {
		c.edge.fetches.mu.Lock()
		defer c.edge.fetches.mu.Unlock()
		return c.edge.fetches.open["acme"]
	}
	get := func(ctx context.Context, c *call, url string) (*jsruntime.FetchResponse, error) {
		return c.Fetch(ctx, &jsruntime.FetchRequest{Method: "GET", URL: url})
	}
	c.edge.fetches.open = map[string]int{"acme": maxFetches - 1}
	last, err := get(t.Context(), c, server.URL)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := get(t.Context(), c, server.URL); err == nil || !strings.Contains(err.Error(), "1024 fetches") {
		t.Errorf("one more gives %v", err)
	}
	if resp, err := get(t.Context(), other, server.URL); err != nil {
		t.Errorf("another container's gives %v", err)
	} else {
		resp.Body.Close()
	}
	if _, err := io.ReadAll(last.Body); err != nil {
		t.Error(err)
	}
	last.Body.Close()
	last.Body.Close() // counts once
	if n := open(); n != maxFetches-1 {
		t.Errorf("after one was closed, %d are open", n)
	}
	if _, err := get(t.Context(), c, "http://127.0.0.1:1/"); err == nil {
		t.Error("what is not allowed was reached")
	}
	if n := open(); n != maxFetches-1 {
		t.Errorf("after one failed, %d are open", n)
	}
}

// TestOpenFetchesEndWithTheirRequest has a task that never closes a body.
func TestOpenFetchesEndWithTheirRequest(t *testing.T) {
	server := upstream(t)
	c := caller(t, nil, webtask.Limits{}, address(server))
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := c.Fetch(ctx, &jsruntime.FetchRequest{Method: "GET", URL: server.URL}); err != nil {
		t.Fatal(err)
	}
	cancel()
	deadline := time.After(10 * time.Second)
	for {
		c.edge.fetches.mu.Lock()
		open := len(c.edge.fetches.open)
		c.edge.fetches.mu.Unlock()
		if open == 0 {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("%d are open", open)
		case <-time.After(time.Millisecond):
		}
	}
}

// TestZstdIsKept has a task take every place for zstd while another waits for
// the answer that it asked for.
func TestZstdIsKept(t *testing.T) {
	server := encodedServer(t, "text")
	c := caller(t, nil, webtask.Limits{}, address(server))
	h := &hop{method: http.MethodGet, header: http.Header{}}
	c.edge.wantDecoded(h)
	if !h.zstd {
		t.Fatal("the first is not asked for as zstd")
	}
	var taken []*hop
	for range 2 * maxZstd {
		other := &hop{method: http.MethodGet, header: http.Header{}}
		c.edge.wantDecoded(other)
		taken = append(taken, other)
	}
	var err error
	if h.url, err = url.Parse(server.URL + "/zstd?as=zstd"); err != nil {
		t.Fatal(err)
	}
	resp, err := c.send(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	c.edge.decode(resp, h)
	if body, err := io.ReadAll(resp.Body); string(body) != "text" || err != nil {
		t.Errorf("it gives %q, %v", body, err)
	}
	resp.Body.Close()
	for _, other := range taken {
		c.edge.leaveZstd(other)
	}
	if n := c.edge.zstd.Load(); n != 0 {
		t.Errorf("afterwards %d are counted", n)
	}
}
