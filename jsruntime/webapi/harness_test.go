package webapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dop251/goja"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/jsruntime/webapi"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

// host is the test's jsruntime.Host: it fetches over real sockets.
type host struct {
	client *http.Client
	onLog  func() // nil: nothing; called before an entry is kept

	mu   sync.Mutex
	logs []jsruntime.LogEntry
}

func (h *host) Fetch(ctx context.Context, req *jsruntime.FetchRequest) (*jsruntime.FetchResponse, error) {
	out, err := http.NewRequestWithContext(ctx, req.Method, req.URL, req.Body)
	if err != nil {
		return nil, err
	}
	out.Header = req.Header
	if req.Body != nil {
		out.ContentLength = req.Length
	}
	client := *h.client
	redirected := false
	client.CheckRedirect = func(*http.Request, []*http.Request) error {
		switch req.Redirect {
		case "manual":
			return http.ErrUseLastResponse
		case "error":
			return errors.New("redirects are not wanted")
		}
		redirected = true
		return nil
	}
	resp, err := client.Do(out)
	if err != nil {
		return nil, err
	}
	return &jsruntime.FetchResponse{
		Status: resp.StatusCode, StatusText: strings.TrimPrefix(resp.Status, resp.Status[:4]), Header: resp.Header,
		URL: resp.Request.URL.String(), Redirected: redirected, Body: resp.Body,
	}, nil
}

var errNoSession = errors.New("the test has no sessions")

func (h *host) LoadSession(context.Context) (*jsruntime.Session, error) { return nil, errNoSession }

func (h *host) SaveSession(context.Context, *webtask.SessionChange) (*jsruntime.Session, error) {
	return nil, errNoSession
}

func (h *host) Log(entry jsruntime.LogEntry) {
	if h.onLog != nil {
		h.onLog()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.logs = append(h.logs, entry)
}

func (h *host) messages() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var messages []string
	for _, entry := range h.logs {
		messages = append(messages, entry.Message)
	}
	return messages
}

// noNode is the NodePlatform of tests that need none.
type noNode struct{}

func (noNode) Install(*jsruntime.Isolate) error { return nil }

func (noNode) NewExchange(*jsruntime.Isolate, *jsruntime.Request, jsruntime.ResponseWriter) (a, b goja.Value, err error) {
	return nil, nil, errors.New("the test has no Node platform")
}

// task is a webtask of the Web model on an engine of its own.
type task struct {
	t      testing.TB
	engine *jsruntime.Engine
	spec   *jsruntime.Spec
	host   *host
}

var testLimits = webtask.Limits{
	Timeout: 10 * time.Second, CPUTime: 5 * time.Second, WaitUntil: 5 * time.Second,
	RequestBody: 1 << 20, ResponseBody: 4 << 20, Subrequests: 20, Timers: 100,
}

func newTask(t testing.TB, code string) *task { return newLimitedTask(t, code, testLimits) }

func newLimitedTask(t testing.TB, code string, limits webtask.Limits) *task {
	t.Helper()
	engine := jsruntime.NewEngine(jsruntime.Options{Web: webapi.New(), Node: noNode{}})
	transport := &http.Transport{}
	t.Cleanup(func() {
		if err := engine.Close(context.Background()); err != nil && !errors.Is(err, jsruntime.ErrClosed) {
			t.Errorf("closing the engine: %v", err)
		}
		transport.CloseIdleConnections()
	})
	program, err := engine.Compile(context.Background(), jsruntime.Script{Name: "test.js", Code: code, ESM: true})
	if err != nil {
		t.Fatalf("compiling: %v", err)
	}
	spec := jsruntime.NewSpec("test", program, jsruntime.SpecOptions{Container: "test", Limits: limits})
	return &task{t: t, engine: engine, spec: spec, host: &host{client: &http.Client{Transport: transport}}}
}

// get is the request that most tests send.
func get(url string) *jsruntime.Request {
	return &jsruntime.Request{Method: "GET", URL: url, Header: http.Header{}, Proto: "HTTP/1.1"}
}

func post(url, body string) *jsruntime.Request {
	return &jsruntime.Request{
		Method: "POST", URL: url, Header: http.Header{}, Proto: "HTTP/1.1",
		Body: strings.NewReader(body), Length: int64(len(body)),
	}
}

// do sends a request and reads the whole answer.
func (tk *task) do(req *jsruntime.Request) (*jsruntime.Response, string, error) {
	tk.t.Helper()
	req.Host = tk.host
	resp, err := tk.engine.Do(context.Background(), tk.spec, req)
	if err != nil {
		return nil, "", err
	}
	if resp.Body == nil {
		return resp, string(resp.Bytes), nil
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}

// eval runs the body of an async function and returns the JSON of its result.
func eval(t testing.TB, body string) string {
	t.Helper()
	result, err := tryEval(t, body)
	if err != nil {
		t.Fatalf("%v\nin %s", err, body)
	}
	return result
}

func tryEval(t testing.TB, body string) (string, error) {
	t.Helper()
	_, result, err := newTask(t, wrap(body)).do(get("https://example.com/path?q=1"))
	return result, err
}

func wrap(body string) string {
	return `exports.default = async function (request, env, ctx) { const result = await (async () => {` + body +
		`})(); return new Response(JSON.stringify(result === undefined ? null : result)); };`
}

// expectations are pairs of an expression and the JSON of its value.
type expectations [][2]string

// check evaluates every expression in one isolate. An expression may await;
// one that throws yields "Name: message", with the message left out when the
// expected value ends in ": *".
func (list expectations) check(t *testing.T) {
	t.Helper()
	var code strings.Builder
	code.WriteString(`const results = []; const run = async f => { try { results.push(JSON.stringify(await f()) ?? "undefined"); } catch (e) { results.push("throws " + (e && e.name) + ": " + (e && e.message)); } };`)
	for _, e := range list {
		code.WriteString("await run(async () => (" + e[0] + "));\n")
	}
	code.WriteString("return results;")
	var results []string
	if err := json.Unmarshal([]byte(eval(t, code.String())), &results); err != nil {
		t.Fatal(err)
	}
	if len(results) != len(list) {
		t.Fatalf("%d results for %d expressions", len(results), len(list))
	}
	for i, e := range list {
		want, got := e[1], results[i]
		if prefix, ok := strings.CutSuffix(want, "*"); ok && strings.HasPrefix(want, "throws ") {
			if !strings.HasPrefix(got, prefix) {
				t.Errorf("%s\n\t is %s\n\tnot %s", e[0], got, want)
			}
			continue
		}
		if got != want {
			t.Errorf("%s\n\t is %s\n\tnot %s", e[0], got, want)
		}
	}
}

// assertError checks that err is a script's error with text in it.
func assertError(t testing.TB, err error, text string) {
	t.Helper()
	var failure *jsruntime.ScriptError
	if !errors.As(err, &failure) {
		t.Fatalf("the error is %v, not a ScriptError", err)
	}
	if !strings.Contains(failure.Message, text) {
		t.Errorf("the error's message is %q, without %q", failure.Message, text)
	}
}
