package nodeapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/jsruntime/nodeapi"
	"github.com/webtask-edge/caddy-webtask/jsruntime/webapi"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

// host is the test's jsruntime.Host: the tests here need its log only.
type host struct {
	mu   sync.Mutex
	logs []string
}

var errUnused = errors.New("not part of this test")

func (*host) Fetch(context.Context, *jsruntime.FetchRequest) (*jsruntime.FetchResponse, error) {
	return nil, errUnused
}
func (*host) LoadSession(context.Context) (*jsruntime.Session, error) { return nil, errUnused }
func (*host) SaveSession(context.Context, *webtask.SessionChange) (*jsruntime.Session, error) {
	return nil, errUnused
}
func (h *host) Log(entry jsruntime.LogEntry) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.logs = append(h.logs, entry.Message)
}

type task struct {
	t      testing.TB
	engine *jsruntime.Engine
	spec   *jsruntime.Spec
	host   *host
}

// newTask makes a webtask of which code is the handler's body.
func newTask(t testing.TB, code string) *task {
	t.Helper()
	engine := jsruntime.NewEngine(jsruntime.Options{Web: webapi.New(), Node: nodeapi.New()})
	t.Cleanup(func() {
		if err := engine.Close(context.Background()); err != nil && !errors.Is(err, jsruntime.ErrClosed) {
			t.Errorf("closing the engine: %v", err)
		}
	})
	program, err := engine.Compile(context.Background(), jsruntime.Script{Name: "test.js", Code: "const kept = {}; module.exports = function (ctx, req, res) {" + code + "\n}"})
	if err != nil {
		t.Fatal(err)
	}
	spec := jsruntime.NewSpec("key", program, jsruntime.SpecOptions{
		Container: "acme", Name: "hello", Secrets: map[string]string{"S": "1"}, Params: map[string]string{"P": "2"}, Meta: map[string]string{"M": "3"},
		Limits: webtask.Limits{Timeout: 10 * time.Second, CPUTime: 5 * time.Second, ResponseBody: 8 << 20, Timers: 100},
	})
	return &task{t: t, engine: engine, spec: spec, host: &host{}}
}

func request(method, url, body string) *jsruntime.Request {
	return &jsruntime.Request{
		ID: "r1", Method: method, URL: url, Header: http.Header{}, Proto: "HTTP/1.1", RemoteIP: "192.0.2.1",
		Body: strings.NewReader(body), Length: int64(len(body)),
	}
}

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

// answer runs a handler on a POST of body and returns what it answered.
func answer(t *testing.T, code, body string) (*jsruntime.Response, string) {
	t.Helper()
	resp, text, err := newTask(t, code).do(request("POST", "https://example.com/a/b?x=1&key=token&y=%20z&x=2", body))
	if err != nil {
		t.Fatalf("%v\nin %s", err, code)
	}
	return resp, text
}

func TestRequest(t *testing.T) {
	req := request("GET", "https://example.com:8443/a/b?x=1&key=token&y=%20z&x=2", "")
	req.Query = func(name string) bool { return name == "key" }
	req.Header["Cookie"] = []string{"a=1", "b=2"}
	req.Header["Content-Type"] = []string{"first/kept", "second/dropped"}
	req.Header["X-Many"] = []string{"1", "caf\xe9"}
	_, body, err := newTask(t, `res.end(JSON.stringify([req.method, req.url, req.httpVersion, req.httpVersionMajor, req.httpVersionMinor, req.headers, req.rawHeaders,
		req.query, req.socket.remoteAddress, req.connection.encrypted, req.x_wt, req.complete, req.originalUrl]))`).do(req)
	if err != nil {
		t.Fatal(err)
	}
	want := `["GET","/a/b?x=1&y=%20z&x=2","1.1",1,1,` +
		`{"content-type":"first/kept","cookie":"a=1; b=2","host":"example.com:8443","x-many":"1, café"},` +
		`["Content-Type","first/kept","Content-Type","second/dropped","Cookie","a=1","Cookie","b=2","Host","example.com:8443","X-Many","1","X-Many","café"],` +
		`{"x":["1","2"],"y":" z"},"192.0.2.1",true,{"container":"acme","jtn":"hello","url_format":3,"req_id":"r1","ectx":{"S":"1"},"pctx":{"P":"2"},"meta":{"M":"3"}},true,null]`
	var got, expected any
	if json.Unmarshal([]byte(body), &got) != nil || json.Unmarshal([]byte(want), &expected) != nil {
		t.Fatalf("answer is %s", body)
	}
	again, _ := json.Marshal(expected)
	if same, _ := json.Marshal(got); string(same) != string(again) {
		t.Errorf("answer is %s\n\tnot %s", same, again)
	}
}

func TestReadingTheBody(t *testing.T) {
	large := strings.Repeat("0123456789", 30_000)
	for name, test := range map[string]struct{ code, sent, want string }{
		"data and end":   {`const parts = []; req.on('data', c => parts.push(c)).on('end', () => res.end(Buffer.isBuffer(parts[0]) + ' ' + Buffer.concat(parts).toString()))`, "héllo", "true héllo"},
		"setEncoding":    {`let s = ''; req.setEncoding('utf8'); req.on('data', c => s += typeof c + c).on('end', () => res.end(s))`, "héllo", "stringhéllo"},
		"empty":          {`let n = 0; req.on('data', () => n++).on('end', () => res.end('n' + n))`, "", "n0"},
		"pipe":           {`req.pipe(res)`, large, large},
		"async iterator": {`(async () => { let n = 0; const it = req[Symbol.asyncIterator](); for (let s; !(s = await it.next()).done;) n += s.value.length; res.end(String(n)) })()`, large, "300000"},
		"readable":       {`let n = 0; req.on('readable', () => { let c; while ((c = req.read()) !== null) n += c.length }).on('end', () => res.end(String(n)))`, large, "300000"},
		"pause, resume":  {`let n = 0; req.on('data', c => { n += c.length; req.pause(); setTimeout(() => req.resume(), 1) }).on('end', () => res.end(String(n)))`, large, "300000"},
		"late listeners": {`setTimeout(() => { let s = ''; req.on('data', c => s += c); req.on('end', () => res.end(s)) }, 2)`, "late", "late"},
		"close event":    {`const seen = []; req.on('end', () => seen.push('end', req.complete)).on('close', () => res.end(seen.join())).resume()`, "x", "end,true"},
		"unpipe":         {`req.pipe(res); req.unpipe(res); res.end(String(req.listenerCount('data')))`, "x", "0"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, got := answer(t, test.code, test.sent); got != test.want {
				t.Errorf("answer is %.100q (%d bytes), not %.100q", got, len(got), test.want)
			}
		})
	}
}

// TestSplitCharacter cuts a character between two parts of the body.
func TestSplitCharacter(t *testing.T) {
	req := request("POST", "https://example.com/", "")
	req.Body, req.Length = io.MultiReader(strings.NewReader("a\xe2\x82"), strings.NewReader("\xacb")), -1
	_, body, err := newTask(t, `const parts = []; req.setEncoding('utf8').on('data', c => parts.push(c)).on('end', () => res.end(parts.join('|')))`).do(req)
	if err != nil || body != "a|€b" {
		t.Errorf("%q, %v", body, err)
	}
}

type brokenReader struct{}

var errBroken = errors.New("the client went away")

func (brokenReader) Read([]byte) (int, error) { return 0, errBroken }

func TestBodyThatBreaks(t *testing.T) {
	req := request("POST", "https://example.com/", "")
	req.Body, req.Length = brokenReader{}, 10
	_, body, err := newTask(t, `req.on('error', e => res.end('error: ' + e.message)).resume()`).do(req)
	if err != nil || body != "error: reading the request's body failed: the client went away" {
		t.Errorf("%q, %v", body, err)
	}
	req = request("POST", "https://example.com/", "")
	req.Body, req.Length = brokenReader{}, 10
	if _, _, err := newTask(t, `req.resume()`).do(req); !errors.Is(err, errBroken) {
		t.Errorf("nobody listens for the error, and Do returns %v", err)
	}
}

func TestResponse(t *testing.T) {
	for name, test := range map[string]struct {
		code   string
		status int
		header map[string][]string
		body   string
	}{
		"end":                 {`res.end('hi')`, 200, nil, "hi"},
		"writeHead":           {`res.writeHead(201, { 'content-type': 'text/plain', 'X-N': 5 }); res.end()`, 201, map[string][]string{"Content-Type": {"text/plain"}, "X-N": {"5"}}, ""},
		"with a reason":       {`res.writeHead(404, 'Gone fishing', { a: 'b' }); res.end(res.statusMessage)`, 404, map[string][]string{"A": {"b"}}, "Gone fishing"},
		"flat headers":        {`res.writeHead(200, ['Set-Cookie', 'a=1', 'Set-Cookie', 'b=2']); res.end()`, 200, map[string][]string{"Set-Cookie": {"a=1", "b=2"}}, ""},
		"setHeader":           {`res.setHeader('Set-Cookie', ['a=1', 'b=2']).setHeader('X', 'é'); res.statusCode = 500; res.end()`, 500, map[string][]string{"Set-Cookie": {"a=1", "b=2"}, "X": {"\xe9"}}, ""},
		"header accessors":    {`res.setHeader('A-B', 1); res.appendHeader('a-b', '2'); res.setHeader('c', 'x'); res.removeHeader('C'); res.end(JSON.stringify([res.getHeader('a-B'), res.hasHeader('c'), res.getHeaders(), res.getHeaderNames(), res.headersSent]))`, 200, map[string][]string{"A-B": {"1", "2"}}, `[["1","2"],false,{"a-b":["1","2"]},["a-b"],false]`},
		"writes":              {`res.write('a'); res.write(Buffer.from('62', 'hex')); res.write('Yw==', 'base64'); res.write(new Uint8Array([100])); res.end('e')`, 200, nil, "abcde"},
		"async writes":        {`let n = 0; const t = setInterval(() => { res.write(String(n)); if (++n == 5) { clearInterval(t); res.end('.') } }, 1)`, 200, nil, "01234."},
		"callbacks":           {`const seen = []; kept.res = res; res.on('finish', () => seen.push('finish')); res.write('a', () => seen.push('write')); setTimeout(() => res.end(seen.join()), 2)`, 200, nil, "awrite"},
		"204 has no body":     {`res.statusCode = 204; res.write('x'); res.end('y')`, 204, nil, ""},
		"states":              {`const before = [res.writableEnded, res.finished, res.headersSent]; res.flushHeaders(); res.end(JSON.stringify([before, res.headersSent, res.writable]))`, 200, nil, `[[false,false,false],true,true]`},
		"req.res and res.req": {`res.end(String(req.res === res && res.req === req && res.socket === req.socket))`, 200, nil, "true"},
		"end twice":           {`res.end('once'); res.end('twice')`, 200, nil, "once"},
		"promise":             {`return (async () => { await new Promise(r => setTimeout(r, 1)); res.end('later') })()`, 200, nil, "later"},
		"large with drain":    {`let n = 0; const chunk = 'x'.repeat(100000); (function more() { while (n < 30) { n++; if (!res.write(chunk)) return res.once('drain', more) } res.end() })()`, 200, nil, strings.Repeat("x", 3_000_000)},
		"prototype swapped":   {`Object.setPrototypeOf(res, Object.create(Object.getPrototypeOf(res), { send: { value(s) { this.end('sent ' + s) } } })); res.send('x')`, 200, nil, "sent x"},
	} {
		t.Run(name, func(t *testing.T) {
			resp, body := answer(t, test.code, "")
			if resp.Status != test.status || body != test.body {
				t.Errorf("answer is %d %.200q, not %d %.200q", resp.Status, body, test.status, test.body)
			}
			for name, values := range test.header {
				if got := resp.Header[name]; !slices.Equal(got, values) {
					t.Errorf("header %s is %q, not %q", name, got, values)
				}
			}
		})
	}
}

func TestHeadHasNoBody(t *testing.T) {
	resp, body, err := newTask(t, `res.setHeader('a', 'b'); res.end('body')`).do(request("HEAD", "https://example.com/", ""))
	if err != nil || body != "" || resp.Header.Get("A") != "b" {
		t.Errorf("%v, %q, %v", resp, body, err)
	}
}

func TestMisuse(t *testing.T) {
	for code, want := range map[string]string{
		`res.setHeader('a b', '1')`:                   "ERR_INVALID_HTTP_TOKEN",
		`res.setHeader('a', 'x\ny')`:                  "ERR_INVALID_CHAR",
		`res.setHeader('a', '€')`:                     "ERR_INVALID_CHAR",
		`res.setHeader('a')`:                          "ERR_HTTP_INVALID_HEADER_VALUE",
		`res.writeHead(200); res.setHeader('a', '1')`: "ERR_HTTP_HEADERS_SENT",
		`res.writeHead(200); res.writeHead(201)`:      "ERR_HTTP_HEADERS_SENT",
		`res.flushHeaders(); res.removeHeader('a')`:   "ERR_HTTP_HEADERS_SENT",
		`res.writeHead(99)`:                           "ERR_HTTP_INVALID_STATUS_CODE",
		`res.writeHead(200, ['a'])`:                   "ERR_INVALID_ARG_VALUE",
		`res.write({})`:                               "ERR_INVALID_ARG_TYPE",
		`res.write(null)`:                             "ERR_STREAM_NULL_VALUES",
		`req.on('data', 5)`:                           "ERR_INVALID_ARG_TYPE",
		`req.emit('error', 5)`:                        "ERR_UNHANDLED_ERROR",
		`req.setEncoding('klingon')`:                  "ERR_UNKNOWN_ENCODING",
		`Buffer.from('a', 'klingon')`:                 "ERR_UNKNOWN_ENCODING",
		`Buffer.from(5)`:                              "ERR_INVALID_ARG_TYPE",
		`Buffer.concat('a')`:                          "ERR_INVALID_ARG_TYPE",
	} {
		t.Run(code, func(t *testing.T) {
			if _, got := answer(t, `try { `+code+` } catch (e) { var code = e.code } res.end(code)`, ""); got != want {
				t.Errorf("code is %q, not %q", got, want)
			}
		})
	}
}

func TestWriteAfterEnd(t *testing.T) {
	tk := newTask(t, `res.on('error', e => console.log(e.code)); res.end('done'); res.write('more', e => console.log('callback ' + e.code)); ctx.waitUntil(new Promise(r => setTimeout(r, 2)))`)
	_, body, err := tk.do(request("GET", "https://example.com/", ""))
	if err != nil || body != "done" {
		t.Fatalf("%q, %v", body, err)
	}
	if err := tk.engine.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if want := []string{"callback ERR_STREAM_WRITE_AFTER_END", "ERR_STREAM_WRITE_AFTER_END"}; !slices.Equal(tk.host.logs, want) {
		t.Errorf("logs are %q", tk.host.logs)
	}
}

// TestKeptResponse writes to a response whose request is over: the next one must
// not see it.
func TestKeptResponse(t *testing.T) {
	tk := newTask(t, `if (kept.res) { kept.res.write('stolen'); kept.res.setHeader; kept.req.resume() } else { kept.res = res; kept.req = req; res.on('error', () => {}) } res.end('own')`)
	for range 3 {
		if _, body, err := tk.do(request("GET", "https://example.com/", "")); err != nil || body != "own" {
			t.Fatalf("%q, %v", body, err)
		}
	}
}

func TestDestroyedResponse(t *testing.T) {
	if _, _, err := newTask(t, `res.destroy(new Error('on purpose')); res.on('error', () => {})`).do(request("GET", "https://example.com/", "")); err == nil || !strings.Contains(err.Error(), "on purpose") {
		t.Errorf("error is %v", err)
	}
}

// TestEndOfResponse looks at the events and states of a response's end, which
// are not made when nobody listens.
func TestEndOfResponse(t *testing.T) {
	for name, test := range map[string]struct {
		code string
		want []string
	}{
		"a listener before":       {`res.on('finish', () => console.log('finish')).on('close', () => console.log('close')); res.end(); console.log('returned')`, []string{"returned", "finish", "close"}},
		"a listener after":        {`res.end(); res.on('finish', () => console.log('finish')).once('close', () => console.log('close')); console.log('returned')`, []string{"returned", "finish", "close"}},
		"a listener too late":     {`res.end(); ctx.waitUntil(new Promise(r => setTimeout(() => { res.on('finish', () => console.log('finish')); console.log(res.listenerCount('finish')); r() }, 1)))`, []string{"1"}},
		"a callback":              {`res.end('x', () => console.log('callback')); console.log('returned')`, []string{"returned", "callback"}},
		"end again":               {`res.end(); res.end(e => console.log(e.code))`, []string{"ERR_STREAM_ALREADY_FINISHED"}},
		"emit replaced":           {`const emit = res.emit; res.emit = function (name, ...args) { console.log(name); return emit.call(this, name, ...args) }; res.end()`, []string{"finish", "close"}},
		"states":                  {`res.end(); console.log(res.writableEnded, res.closed); ctx.waitUntil(new Promise(r => setTimeout(() => { console.log(res.writableFinished, res.closed); r() }, 1)))`, []string{"true false", "true true"}},
		"states with a listener":  {`res.on('finish', () => console.log(res.writableFinished)); res.end(); console.log(res.writableFinished)`, []string{"false", "true"}},
		"write is not part of it": {`res.write = () => console.log('write'); res.end('x'); console.log('returned')`, []string{"returned"}},
		"an exception in it":      {`res.on('finish', () => { throw new Error('thrown') }); res.end(); ctx.waitUntil(new Promise(r => setTimeout(r, 1)))`, nil},
		"then is replaced":        {`Object.prototype.then = Promise.prototype.then = () => console.log('replaced'); res.on('finish', () => console.log('finish')).end()`, []string{"finish"}},
	} {
		t.Run(name, func(t *testing.T) {
			tk := newTask(t, test.code)
			_, _, err := tk.do(request("GET", "https://example.com/", ""))
			if want := name == "an exception in it"; (err != nil) != want {
				t.Fatal(err)
			}
			if err := tk.engine.Close(context.Background()); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(tk.host.logs, test.want) {
				t.Errorf("logs are %q, not %q", tk.host.logs, test.want)
			}
		})
	}
}

// TestKeptRequest reads a request that is over: of what it has not read before,
// nothing is the next request's.
func TestKeptRequest(t *testing.T) {
	tk := newTask(t, `kept.all ??= []; kept.all.push(req); res.end(JSON.stringify(kept.all.map(r => [r.url, r.headers?.host, r.res.req === r])))`)
	for _, test := range []struct{ url, want string }{
		{"https://a.example/1", `[["/1","a.example",true]]`},
		{"https://b.example/2", `[["/1","a.example",true],["/2","b.example",true]]`},
	} {
		if _, body, err := tk.do(request("GET", test.url, "")); err != nil || body != test.want {
			t.Errorf("%s, %v", body, err)
		}
	}
	tk = newTask(t, `kept.req ??= req; res.end(String(kept.seen ? kept.req.headers : kept.seen = true))`)
	for _, want := range []string{"true", "undefined"} {
		if _, body, err := tk.do(request("GET", "https://example.com/", "")); err != nil || body != want {
			t.Errorf("%s, %v", body, err)
		}
	}
}
