package edge

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

const hello = `module.exports = function (ctx, cb) { cb(null, "hello " + (ctx.secrets.NAME || ctx.params.name || "world")); };`

func TestServeRunsToken(t *testing.T) {
	st := newStage(t, fileStore(t), nil)
	token := st.tokenFor(hello, func(c *webtask.Claims) { c.Secrets = map[string]string{"NAME": "s3cret-name"} })
	for name, request := range map[string]struct {
		target string
		header http.Header
	}{
		"bearer": {"/run/x?y", bearerHeader(token)},
		"key":    {"/run/x?y&key=" + token, nil},
		"header": {"/run/x?y", http.Header{"X-Webtask-Token": {token}}},
	} {
		t.Run(name, func(t *testing.T) {
			resp, body := st.get(request.target, request.header)
			if resp.StatusCode != 200 || body != `"hello s3cret-name"` {
				t.Fatalf("answered %d %s", resp.StatusCode, body)
			}
			if got := resp.Header.Get("Cache-Control"); got != "private, no-store" {
				t.Errorf("Cache-Control: %s", got)
			}
			if got := resp.Header.Get("Referrer-Policy"); (got == "no-referrer") != (name == "key") {
				t.Errorf("Referrer-Policy: %s", got)
			}
			if got := resp.Header.Get("Content-Security-Policy"); got != sandbox {
				t.Errorf("Content-Security-Policy: %s", got)
			}
			if got := resp.Header.Get("X-Content-Type-Options"); got != "nosniff" {
				t.Errorf("X-Content-Type-Options: %s", got)
			}
		})
	}
	info := st.lastInfo()
	if info.Outcome != OutcomeOK || info.Status != 200 || info.Task == nil || info.Task.Container != "acme" || info.ID == "" {
		t.Errorf("info %+v", info)
	}
	st.noLeak(token, "s3cret-name")
}

func TestServeRunsRoute(t *testing.T) {
	st := newStage(t, fileStore(t), nil)
	st.inline(`export default { fetch(request, env) { return new Response(request.method + " " + request.url + " " + env.lang) } }`).Params = map[string]string{"lang": "en"}
	resp, body := st.get("/a%20b?c=d", http.Header{"Host": {"x.test"}})
	if resp.StatusCode != 200 || body != "GET http://x.test/a%20b?c=d en" {
		t.Fatalf("answered %d %s", resp.StatusCode, body)
	}
	for _, name := range []string{"Cache-Control", "Content-Security-Policy", "Referrer-Policy", "Set-Cookie", "X-Content-Type-Options"} {
		if got := resp.Header.Get(name); got != "" {
			t.Errorf("%s: %s on the site's own answer", name, got)
		}
	}
	if got := st.edge.opts.Programs.cache.EstimatedSize(); got != 1 {
		t.Errorf("%d programs were compiled", got)
	}
}

func TestServePassesOn(t *testing.T) {
	st := newStage(t, fileStore(t), nil)
	for name, request := range map[string]struct {
		target string
		header http.Header
	}{
		"no token":         {"/", nil},
		"another bearer":   {"/", bearerHeader("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.AAAA")},
		"opaque bearer":    {"/", bearerHeader("abc")},
		"another key":      {"/?key=1234", nil},
		"basic":            {"/", http.Header{"Authorization": {"Basic dTpw"}}},
		"plain OPTIONS":    {"/", http.Header{"Origin": {"https://page.test"}}},
		"empty key":        {"/?key=", nil},
		"key in the path":  {"/key=abc", nil},
		"JWT of our alg":   {"/", bearerHeader("eyJhbGciOiJIUzI1NiIsImtpZCI6Im90aGVyIn0.e30.AAAA")},
		"service worker":   {"/", http.Header{"Service-Worker": {"script"}}},
		"a session cookie": {"/", http.Header{"Cookie": {"webtask_session=" + cookieA}}},
	} {
		t.Run(name, func(t *testing.T) {
			var got *http.Request
			st.next = func(w http.ResponseWriter, r *http.Request) error {
				got = r
				w.WriteHeader(299)
				return nil
			}
			resp, _ := st.get(request.target, request.header)
			if resp.StatusCode != 299 {
				t.Fatalf("answered %d", resp.StatusCode)
			}
			if got.RequestURI != request.target {
				t.Errorf("passed on as %s", got.RequestURI)
			}
			for header, values := range request.header {
				if strings.Join(got.Header[header], "|") != strings.Join(values, "|") {
					t.Errorf("%s was changed", header)
				}
			}
			if info := st.lastInfo(); info.Outcome != OutcomePassed || info.Task != nil {
				t.Errorf("info %+v", info)
			}
		})
	}
	preflight := http.Header{"Origin": {"https://page.test"}, "Access-Control-Request-Method": {"POST"}, "Access-Control-Request-Headers": {"content-type"}}
	if resp, _ := st.do("OPTIONS", "/", preflight, ""); resp.StatusCode != 299 {
		t.Errorf("a preflight of the site's own answered %d", resp.StatusCode)
	}
	preflight["Access-Control-Request-Headers"] = []string{"authorization"}
	resp, _ := st.do("OPTIONS", "/", preflight, "")
	if resp.StatusCode != 204 || resp.Header.Get("Access-Control-Allow-Origin") != "*" || resp.Header.Get("Access-Control-Allow-Credentials") != "" {
		t.Errorf("a preflight answered %d %v", resp.StatusCode, resp.Header)
	}
}

// What a script sees of its request, and what of its answer reaches the
// caller, as the site's own task and as a foreign one.
func TestServeTrust(t *testing.T) {
	const echo = `export default { fetch(request) {
		const h = new Headers({
			"Set-Cookie": "evil=1", "Service-Worker-Allowed": "/", "Clear-Site-Data": "*", "Strict-Transport-Security": "max-age=0",
			"Alt-Svc": "h3", "NEL": "{}", "Report-To": "{}", "Reporting-Endpoints": "a", "Refresh": "0;url=/", "X-Accel-Redirect": "/x",
			"X-Sendfile": "/x", "Content-Security-Policy": "default-src *", "Connection": "close", "Transfer-Encoding": "x", "Upgrade": "x",
			"Trailer": "x", "Content-Length": "3", "Keep-Alive": "x", "X-Ok": "1", "Cache-Control": "public, max-age=60", "Accept-CH": "x",
			"Secure-Session-Registration": "(ES256)", "Attribution-Reporting-Register-Source": "{}", "X-Reproxy-URL": "/x" });
		return new Response(JSON.stringify([request.url, Object.fromEntries(request.headers)]), { headers: h });
	} }`
	sent := func(extra http.Header) http.Header {
		h := http.Header{
			"Cookie": {"sid=1"}, "Remote-User": {"ann"}, "X-Forwarded-User": {"ann"}, "Proxy-Authorization": {"Basic dTpw"},
			"X-App": {"1"}, "Host": {"x.test"},
		}
		for name, values := range extra {
			h[name] = values
		}
		return h
	}
	setOfSite := []string{"Set-Cookie", "Service-Worker-Allowed", "Clear-Site-Data", "Strict-Transport-Security", "Alt-Svc", "Nel", "Report-To", "Reporting-Endpoints", "Refresh", "X-Accel-Redirect", "X-Sendfile",
		"Accept-Ch", "Secure-Session-Registration", "Attribution-Reporting-Register-Source", "X-Reproxy-Url"}

	check := func(t *testing.T, st *stage, target string, header http.Header, foreign bool, token string) {
		t.Helper()
		resp, body := st.get(target, header)
		if resp.StatusCode != 200 {
			t.Fatalf("answered %d %s", resp.StatusCode, body)
		}
		for _, credential := range []string{`"cookie"`, `"remote-user"`, `"x-forwarded-user"`, `"proxy-authorization"`} {
			if strings.Contains(body, credential) == foreign {
				t.Errorf("%s in %s", credential, body)
			}
		}
		if !strings.Contains(body, `"x-app":"1"`) || strings.Contains(body, "key=") {
			t.Errorf("the script saw %s", body)
		}
		for _, name := range setOfSite {
			if got := resp.Header.Get(name); (got == "") != foreign {
				t.Errorf("%s: %q", name, got)
			}
		}
		for _, name := range []string{"Connection", "Upgrade", "Trailer", "Keep-Alive"} {
			if got := resp.Header.Get(name); got != "" {
				t.Errorf("%s: %q", name, got)
			}
		}
		if len(resp.TransferEncoding) > 0 || resp.ContentLength != int64(len(body)) {
			t.Errorf("framed by the script: %v, %d bytes", resp.TransferEncoding, resp.ContentLength)
		}
		policies := resp.Header["Content-Security-Policy"]
		if got := strings.Join(policies, "|"); got != "default-src *|"+sandbox && foreign || got != "default-src *" && !foreign {
			t.Errorf("Content-Security-Policy: %v", policies)
		}
		want := "public, max-age=60"
		if foreign && (header.Get(headerToken) != "" || header.Get(headerAuthorization) != "") {
			want = "private, no-store"
		}
		if got := resp.Header.Get("Cache-Control"); got != want {
			t.Errorf("Cache-Control: %s, want %s", got, want)
		}
		if resp.Header.Get("X-Ok") != "1" {
			t.Error("X-Ok went missing")
		}
		if token != "" && strings.Contains(body, token) {
			t.Error("the script saw the caller's token")
		}
	}

	st := newStage(t, fileStore(t), func(o *Options) { o.RunDomain = "*.run.test" })
	token := st.tokenFor(echo, nil)
	t.Run("foreign", func(t *testing.T) {
		check(t, st, "/?key="+token, sent(nil), true, token)
		resp, body := st.get("/?key="+token, http.Header{"Service-Worker": {"script"}})
		if resp.StatusCode != 403 {
			t.Errorf("a service worker's script answered %d %s", resp.StatusCode, body)
		}
	})
	t.Run("foreign, other containers' home", func(t *testing.T) {
		resp, _ := st.get("/?key="+token, http.Header{"Host": {"beta.run.test"}})
		if resp.StatusCode != 403 {
			t.Errorf("answered %d", resp.StatusCode)
		}
	})
	t.Run("at home", func(t *testing.T) {
		check(t, st, "/?key="+token, sent(http.Header{"Host": {"acme.run.test:8080"}}), false, token)
	})
	t.Run("trusted", func(t *testing.T) {
		st.route = &Route{Trusted: true}
		check(t, st, "/?key="+token, sent(nil), false, token)
	})
	t.Run("route-bound", func(t *testing.T) {
		st.inline(echo)
		check(t, st, "/", sent(nil), false, "")
		check(t, st, "/?key="+token, sent(nil), false, token)
		check(t, st, "/", sent(http.Header{"X-Webtask-Token": {token}}), false, token)
		check(t, st, "/", sent(bearerHeader(token)), false, token)
	})
}

func TestServeSession(t *testing.T) {
	const counter = `module.exports = async function (ctx, cb) {
		if (ctx.query.do === "peek") return cb(null, [ctx.session.id, await ctx.session.get("n") ?? null]);
		if (ctx.query.do === "login") await ctx.session.regenerate();
		if (ctx.query.do === "logout") { await ctx.session.destroy(); return cb(null, "bye"); }
		if (ctx.query.do === "fail") { await ctx.session.set("n", -1); throw new Error("after a write"); }
		cb(null, await ctx.session.update("n", (n) => (n || 0) + 1));
	};`
	onBothStores(t, func(t *testing.T, s store) {
		st := newStage(t, s, nil)
		st.inline(counter)
		cookie := ""
		visit := func(query string) (*http.Response, string) {
			t.Helper()
			header := http.Header{}
			if cookie != "" {
				header.Set("Cookie", cookie)
			}
			resp, body := st.get("/?do="+query, header)
			for _, c := range resp.Cookies() {
				cookie = c.Name + "=" + c.Value
			}
			return resp, body
		}
		if resp, body := visit("peek"); body != "[null,null]" || len(resp.Cookies()) > 0 {
			t.Fatalf("before the first write: %s, %v", body, resp.Cookies())
		}
		resp, body := visit("")
		if body != "1" || len(resp.Cookies()) != 1 || resp.Header.Get("Cache-Control") != "private, no-store" {
			t.Fatalf("first write: %s, %v", body, resp.Header)
		}
		first := cookie
		if resp, body := visit(""); body != "2" || len(resp.Cookies()) != 0 {
			t.Fatalf("second write: %s, %v", body, resp.Cookies())
		}
		if resp, body := visit("fail"); resp.StatusCode != 500 {
			t.Fatalf("failing: %d %s", resp.StatusCode, body)
		}
		if _, body := visit("login"); body != "3" || cookie == first {
			t.Fatalf("login: %s", body)
		}
		_, peek := visit("peek")
		if id := st.lastInfo().SessionID; id == "" || !strings.HasPrefix(peek, `["`+id+`",3`) {
			t.Errorf("the session %q is %s", id, peek)
		}
		stolen, _ := st.get("/?do=peek", http.Header{"Cookie": {first}})
		if st.lastInfo().SessionID != "" {
			t.Errorf("the old cookie still works: %d", stolen.StatusCode)
		}
		if resp, _ := visit("logout"); !strings.Contains(resp.Header.Get("Set-Cookie"), "Max-Age=0") {
			t.Errorf("logout: %v", resp.Header)
		}
		secret := strings.TrimPrefix(first, "webtask_session=")
		st.noLeak(secret)
	})
}

func TestServeAcrossOrigins(t *testing.T) {
	st := newStage(t, fileStore(t), nil)
	page := http.Header{"Origin": {"https://page.test"}}
	plain := "/?key=" + st.tokenFor(hello, nil)
	for name, test := range map[string]struct {
		target string
		header http.Header
		want   string
	}{
		"token":                {plain, page, "*"},
		"token, same origin":   {plain, nil, ""},
		"refused token":        {plain[:150], page, "*"},
		"the task's own words": {"/own?key=" + testToken(t, webtask.Claims{Container: "acme", URL: st.origin.url + "/own.js"}), page, "https://page.test"},
	} {
		st.origin.put("/own.js", `export default { fetch(r) { return new Response("", { headers: { "Access-Control-Allow-Origin": r.headers.get("Origin") } }) } }`)
		resp, body := st.get(test.target, test.header)
		if got := resp.Header.Get("Access-Control-Allow-Origin"); got != test.want {
			t.Errorf("%s: %d %s allows %q", name, resp.StatusCode, body, got)
		}
		if got := resp.Header.Get("Access-Control-Allow-Credentials"); got != "" {
			t.Errorf("%s: credentials %q", name, got)
		}
	}
	st.inline(hello)
	if resp, _ := st.get("/", page); resp.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("a route-bound task does not own its CORS")
	}
}

func TestServeForcesBody(t *testing.T) {
	st := newStage(t, fileStore(t), nil)
	st.inline(`module.exports = (ctx, cb) => cb(null, [ctx.body ?? null, ctx.data.a ?? null])`).ParseBody = webtask.ParseBodyNever
	json := http.Header{"Content-Type": {"application/json"}}
	for target, want := range map[string]string{
		"/":                           `[null,null]`,
		"/?webtask_pb=1":              `[{"a":1},null]`,
		"/?webtask_pb=1&webtask_mb=1": `[{"a":1},1]`,
		"/?webtask_pb=2":              `[null,null]`,
		"/?x=webtask_pb":              `[null,null]`,
	} {
		if resp, body := st.do("POST", target, json, `{"a":1}`); body != want {
			t.Errorf("%s answered %d %s, want %s", target, resp.StatusCode, body, want)
		}
	}
}

// Concurrent requests of one session lose none of each other's writes.
func TestServeConcurrentUpdates(t *testing.T) {
	onBothStores(t, func(t *testing.T, s store) {
		st := newStage(t, s, nil)
		st.inline(`module.exports = async (ctx, cb) => {
			await ctx.session.set("k" + ctx.query.i, true);
			cb(null, await ctx.session.update("n", (n) => (n || 0) + 1));
		}`)
		resp, _ := st.get("/?i=first", nil)
		cookie := http.Header{"Cookie": {resp.Cookies()[0].Name + "=" + resp.Cookies()[0].Value}}
		const clients, each = 5, 8
		var wg sync.WaitGroup
		for client := range clients {
			wg.Go(func() {
				for i := range each {
					if resp, body, err := st.try("GET", fmt.Sprintf("/?i=%d-%d", client, i), cookie, ""); err != nil || resp.StatusCode != 200 {
						t.Errorf("answered %v, %s, %v", resp, body, err)
					}
				}
			})
		}
		wg.Wait()
		st.inline(`module.exports = async (ctx, cb) => cb(null, [await ctx.session.get("n"), (await ctx.session.entries()).length])`)
		want := fmt.Sprintf("[%d,%d]", clients*each+1, clients*each+2)
		if _, body := st.get("/", cookie); body != want {
			t.Errorf("the session holds %s, want %s", body, want)
		}
	})
}

// A new configuration over the same parts runs on the isolates of the one
// before.
func TestNewEdgeKeepsIsolates(t *testing.T) {
	st := newStage(t, fileStore(t), nil)
	token := bearerHeader(st.tokenFor(hello, nil))
	inlined := st.inline(hello)
	for range 10 {
		st.route = &Route{}
		if resp, body := st.get("/", token); resp.StatusCode != 200 {
			t.Fatalf("answered %d %s", resp.StatusCode, body)
		}
		task := *inlined
		st.route = &Route{Task: &task}
		if resp, body := st.get("/", nil); resp.StatusCode != 200 {
			t.Fatalf("answered %d %s", resp.StatusCode, body)
		}
		var err error
		if st.edge, err = New(st.edge.opts); err != nil {
			t.Fatal(err)
		}
	}
	stats := st.engine.Stats()
	if len(stats) != 2 {
		t.Fatalf("%d pools", len(stats))
	}
	for _, pool := range stats {
		if pool.Created != 1 || pool.Requests != 10 {
			t.Errorf("%s made %d isolates for %d requests", pool.Container, pool.Created, pool.Requests)
		}
	}
}

// What decides who shares an isolate is in the key; what one task keeps in a
// global is never seen by another.
func TestServeSharesNoIsolates(t *testing.T) {
	const code = `let n = 0; module.exports = (ctx, cb) => cb(null, [++n, ctx.secrets.S ?? null])`
	st := newStage(t, fileStore(t), nil)
	for i, change := range []func(*webtask.Claims){
		nil,
		func(c *webtask.Claims) { c.Container = "beta" },
		func(c *webtask.Claims) { c.Name = "named" },
		func(c *webtask.Claims) { c.Secrets = map[string]string{"S": "1"} },
		func(c *webtask.Claims) { c.Params = map[string]string{"p": "1"} },
		func(c *webtask.Claims) { c.Net = []string{"api.example.com"} },
		func(c *webtask.Claims) { c.Limits.Timers = 3 },
	} {
		token := bearerHeader(st.tokenFor(code, change))
		if _, body := st.get("/", token); !strings.HasPrefix(body, "[1,") {
			t.Errorf("task %d shares an isolate: %s", i, body)
		}
	}
	// The same task under another token does share.
	if _, body := st.get("/", bearerHeader(st.tokenFor(code, nil))); body != "[2,null]" {
		t.Errorf("the same task under another token: %s", body)
	}
}
