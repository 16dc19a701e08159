package edge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/webtask-edge/caddy-webtask/egress"
	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

// caller returns a call that may reach addresses, of a task with net.
func caller(t *testing.T, net []string, limits webtask.Limits, addresses ...string) *call {
	t.Helper()
	policy, err := egress.ParsePolicy(addresses)
	if err != nil {
		t.Fatal(err)
	}
	transport := egress.NewTransport(policy, egress.TransportOptions{})
	t.Cleanup(transport.Close)
	e := &Edge{opts: Options{Transport: transport, Egress: policy, Now: time.Now, Observer: nullObserver{}, Limits: DefaultLimits, Traffic: NewTraffic()}}
	p, err := e.newPlan(&webtask.Task{Container: "acme", Net: net, Limits: limits}, &Route{})
	if err != nil {
		t.Fatal(err)
	}
	return &call{edge: e, plan: p}
}

func address(server *httptest.Server) string { return strings.TrimPrefix(server.URL, "http://") }

// upstream echoes what it was sent, but for its special paths.
func upstream(t *testing.T) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Got-Host", r.Host)
		fmt.Fprintf(w, "%s %s\n", r.Method, r.URL)
		for _, name := range slices.Sorted(maps.Keys(r.Header)) {
			fmt.Fprintf(w, "%s: %s\n", name, strings.Join(r.Header[name], ", "))
		}
		fmt.Fprintf(w, "\n%s", body)
	})
	mux.HandleFunc("/to/{status}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", r.URL.Query().Get("url"))
		var status int
		fmt.Sscan(r.PathValue("status"), &status)
		w.WriteHeader(status)
	})
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop", http.StatusFound) })
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server
}

func fetch(t *testing.T, c *call, req *jsruntime.FetchRequest) (*jsruntime.FetchResponse, string) {
	t.Helper()
	resp, err := c.Fetch(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func TestFetchHeaders(t *testing.T) {
	server := upstream(t)
	c := caller(t, nil, webtask.Limits{}, address(server))
	resp, body := fetch(t, c, &jsruntime.FetchRequest{
		Method: "POST", URL: server.URL + "/a?b#c", Body: strings.NewReader("hello"), Length: 5,
		Header: http.Header{
			"Authorization": {"Bearer app"}, "X-A": {"1", "2"}, "host": {"evil.test"}, "Connection": {"close, x-a"},
			"Transfer-Encoding": {"chunked"}, "Content-Length": {"99"}, "Upgrade": {"websocket"}, "Te": {"trailers"},
			"Proxy-Authorization": {"x"}, "Expect": {"100-continue"}, "Accept-Encoding": {"br"},
		},
	})
	want := "POST /a?b\nAccept-Encoding: gzip, deflate, zstd\nAuthorization: Bearer app\nCdn-Loop: webtask-edge\nContent-Length: 5\nUser-Agent: webtask-edge\nX-A: 1, 2\n\nhello"
	if body != want {
		t.Errorf("the upstream got\n%s\nwant\n%s", body, want)
	}
	if got := resp.Header.Get("X-Got-Host"); got != address(server) {
		t.Errorf("Host was %s", got)
	}
	if resp.Status != 200 || resp.StatusText != "OK" || resp.Redirected || resp.URL != server.URL+"/a?b" {
		t.Errorf("answer %+v", resp)
	}
	if _, body := fetch(t, c, &jsruntime.FetchRequest{Method: "GET", URL: server.URL + "/", Header: http.Header{"User-Agent": {"mine"}}}); !strings.Contains(body, "User-Agent: mine\n") {
		t.Errorf("the script's User-Agent was not sent:\n%s", body)
	}
}

func TestFetchRedirects(t *testing.T) {
	server, other := upstream(t), upstream(t)
	addresses := []string{address(server), address(other)}
	to := func(status int, target string) string {
		return fmt.Sprintf("%s/to/%d?url=%s", server.URL, status, target)
	}
	for name, test := range map[string]struct {
		method string
		status int
		target string
		want   string // first line that the target got
		body   bool
		auth   bool
	}{
		"301 POST becomes GET": {"POST", 301, "/x", "GET /x", false, true},
		"302 PUT stays":        {"PUT", 302, "/x", "PUT /x", true, true},
		"303 PUT becomes GET":  {"PUT", 303, "/x", "GET /x", false, true},
		"307 keeps the body":   {"POST", 307, "/x", "POST /x", true, true},
		"308 to another host":  {"POST", 308, other.URL + "/x", "POST /x", true, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := caller(t, nil, webtask.Limits{}, addresses...)
			resp, body := fetch(t, c, &jsruntime.FetchRequest{
				Method: test.method, URL: to(test.status, test.target), Body: strings.NewReader("data"), Length: 4,
				Header: http.Header{"Authorization": {"Bearer app"}, "Content-Type": {"text/plain"}},
			})
			if first, _, _ := strings.Cut(body, "\n"); first != test.want {
				t.Errorf("the target got %q, want %q", first, test.want)
			}
			if got := strings.HasSuffix(body, "\n\ndata"); got != test.body {
				t.Errorf("body sent: %v", got)
			}
			if got := strings.Contains(body, "Content-Type: "); got != test.body {
				t.Errorf("Content-Type sent: %v", got)
			}
			if got := strings.Contains(body, "Authorization: "); got != test.auth {
				t.Errorf("Authorization sent: %v", got)
			}
			if !resp.Redirected || !strings.HasSuffix(resp.URL, "/x") {
				t.Errorf("answer from %s, redirected %v", resp.URL, resp.Redirected)
			}
		})
	}
	t.Run("manual", func(t *testing.T) {
		resp, _ := fetch(t, caller(t, nil, webtask.Limits{}, addresses...), &jsruntime.FetchRequest{Method: "GET", URL: to(302, "/x"), Redirect: "manual"})
		if resp.Status != 302 || resp.Header.Get("Location") != "/x" || resp.Redirected {
			t.Errorf("got %+v", resp)
		}
	})
	for name, req := range map[string]*jsruntime.FetchRequest{
		"error mode":       {Method: "GET", URL: to(302, "/x"), Redirect: "error"},
		"loop":             {Method: "GET", URL: server.URL + "/loop"},
		"to another kind":  {Method: "GET", URL: to(302, "file:///etc/passwd")},
		"with credentials": {Method: "GET", URL: to(302, "http://u:p@"+address(server)+"/")},
		"stream is gone":   {Method: "POST", URL: to(307, "/x"), Body: io.MultiReader(strings.NewReader("data")), Length: -1},
	} {
		t.Run(name, func(t *testing.T) {
			if resp, err := caller(t, nil, webtask.Limits{}, addresses...).Fetch(t.Context(), req); err == nil {
				t.Errorf("answered %d", resp.Status)
			}
		})
	}
}

func TestFetchIsDenied(t *testing.T) {
	server, other := upstream(t), upstream(t)
	var denied *egress.DeniedError
	open := caller(t, nil, webtask.Limits{}, address(server))
	narrowed := caller(t, []string{"api.example.com"}, webtask.Limits{}, address(server))
	for name, test := range map[string]struct {
		c   *call
		url string
	}{
		"not opened":            {open, other.URL},
		"not opened, by rename": {open, strings.Replace(server.URL, "127.0.0.1", "2130706433", 1)},
		"redirect elsewhere":    {open, server.URL + "/to/302?url=" + other.URL},
		"net of the token":      {narrowed, server.URL},
	} {
		if resp, err := test.c.Fetch(t.Context(), &jsruntime.FetchRequest{Method: "GET", URL: test.url}); !errors.As(err, &denied) {
			t.Errorf("%s: %v, %v", name, resp, err)
		}
	}
	shut := &call{edge: open.edge, plan: &plan{task: &webtask.Task{}}}
	if _, err := shut.Fetch(t.Context(), &jsruntime.FetchRequest{Method: "GET", URL: server.URL}); err == nil {
		t.Error("an edge without a transport fetched")
	}
	for _, url := range []string{"", "/x", "ftp://a.test/", "http://", "http://u:p@a.test/", "http://a.test:x/", "javascript:0"} {
		if _, err := open.Fetch(t.Context(), &jsruntime.FetchRequest{Method: "GET", URL: url}); err == nil || strings.Contains(err.Error(), "u:p") {
			t.Errorf("%q: %v", url, err)
		}
	}
	if _, err := open.Fetch(t.Context(), &jsruntime.FetchRequest{Method: "B AD", URL: server.URL}); err == nil {
		t.Error("a method with a space was sent")
	}
}

func TestFetchLimit(t *testing.T) {
	server := upstream(t)
	c := caller(t, nil, webtask.Limits{Subrequests: 3}, address(server))
	fetch(t, c, &jsruntime.FetchRequest{Method: "GET", URL: server.URL + "/"})
	var limit *jsruntime.LimitError
	if _, err := c.Fetch(t.Context(), &jsruntime.FetchRequest{Method: "GET", URL: server.URL + "/loop"}); !errors.As(err, &limit) || limit.Limit != "subrequests" || limit.Value != "3" {
		t.Errorf("got %v", err)
	}
}

func TestFetchBodyEndsWithTheRequest(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write(bytes.Repeat([]byte("x"), 4<<10))
		w.(http.Flusher).Flush()
		select {
		case <-r.Context().Done():
		case <-release:
		}
	}))
	defer server.Close()
	defer close(release)
	c := caller(t, nil, webtask.Limits{}, address(server))
	ctx, cancel := context.WithCancel(t.Context())
	resp, err := c.Fetch(ctx, &jsruntime.FetchRequest{Method: "GET", URL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	cancel()
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("the body went on after the request")
	}
}

func TestFetchPropagatesTrace(t *testing.T) {
	server := upstream(t)
	c := caller(t, nil, webtask.Limits{}, address(server))
	spans := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	defer provider.Shutdown(t.Context())
	ctx, span := provider.Tracer("test").Start(t.Context(), "request")
	resp, err := c.Fetch(ctx, &jsruntime.FetchRequest{Method: "GET", URL: server.URL + "/", Header: http.Header{"Traceparent": {"forged"}}})
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	exported := spans.GetSpans()
	if len(exported) != 1 || exported[0].Parent.SpanID() != span.SpanContext().SpanID() {
		t.Fatalf("spans %+v", exported)
	}
	want := fmt.Sprintf("Traceparent: 00-%s-%s-01\n", span.SpanContext().TraceID(), exported[0].SpanContext.SpanID())
	if !strings.Contains(string(body), want) {
		t.Errorf("the upstream got\n%s\nwant %s", body, want)
	}
	if _, body := fetch(t, c, &jsruntime.FetchRequest{Method: "GET", URL: server.URL + "/", Header: http.Header{"Traceparent": {"own"}}}); !strings.Contains(body, "Traceparent: own\n") {
		t.Errorf("without a span the script's own went missing:\n%s", body)
	}
}
