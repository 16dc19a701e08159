package caddymodule

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
)

const (
	helloJS = `module.exports = (ctx, cb) => cb(null, {hello: ctx.secrets.WHO || ctx.params.who || 'world', container: ctx.webtask.container, ip: ctx.ip})`
	countJS = `export default { async fetch(request, env, ctx) { return new Response(String(await ctx.session.update('n', n => (n || 0) + 1))) } }`
)

func TestRouteBound(t *testing.T) {
	t.Setenv("WHO_SECRET", "from the environment")
	s := newServer(t, map[string]string{"hello.js": helloJS, "count.js": countJS})
	s.mustLoad("", `
	webtask /hello {
		code hello.js
		secret WHO {env.WHO_SECRET}
	}
	webtask /named {
		code hello.js
		param who {env.WHO_SECRET}
		container shop
		name greet
	}
	webtask /inline {
		code "cb => cb(null, 'one line')"
	}
	webtask /count {
		code count.js
	}
	respond "next" 404
	`)
	s.want("/hello", 200, `"hello":"from the environment","container":"@127.0.0.1","ip":"127.0.0.1"`)
	s.want("/named", 200, `"hello":"from the environment","container":"shop"`)
	s.want("/inline", 200, `"one line"`)
	s.want("/other", 404, "next")

	header := s.want("/count", 200, "1")
	cookie, _, _ := strings.Cut(header.Get("Set-Cookie"), ";")
	s.want("/count", 200, "2", "Cookie: "+cookie)

	status, dump := s.adminDo(http.MethodGet, "/config/", "")
	if status != 200 || strings.Contains(dump, "from the environment") || !strings.Contains(dump, "{env.WHO_SECRET}") {
		t.Errorf("the config dump is %d %s", status, dump)
	}
}

// TestFileIsPickedUp changes a file and wants the new version without a
// reload, and the old one for as long as the new one does not compile.
func TestFileIsPickedUp(t *testing.T) {
	s := newServer(t, map[string]string{"a.js": `module.exports = cb => cb(null, 'first')`})
	s.mustLoad("", "webtask {\n code a.js\n}")
	s.want("/", 200, "first")
	s.write("a.js", `module.exports = cb => cb(null, 'second version')`)
	await(t, func() bool { _, body, _ := s.get("/"); return strings.Contains(body, "second version") })
	s.write("a.js", `module.exports = cb => cb(null, 'third version'`)
	await(t, func() bool {
		s.want("/", 200, "second version")
		return strings.Contains(s.log(), "a.js:1")
	})
	s.want("/", 200, "second version")
}

// TestHalfSavedFile wants the last good version of a file in use while what is
// there cannot have a handler, or nothing is there.
func TestHalfSavedFile(t *testing.T) {
	s := newServer(t, map[string]string{"a.js": `module.exports = cb => cb(null, 'good')`, "m.js": `export default () => new Response('good')`})
	s.mustLoad("", "webtask /a {\n code a.js\n}\nwebtask /m {\n code m.js\n}")
	s.want("/a", 200, "good")
	s.want("/m", 200, "good")
	for path, halves := range map[string][]string{
		"/a": {"", "const half = 1"},
		"/m": {"", "export const half = 1"},
	} {
		for _, half := range halves {
			before := len(s.logged("changed code is not usable"))
			s.write(path[1:]+".js", half)
			await(t, func() bool {
				s.want(path, 200, "good")
				return len(s.logged("changed code is not usable")) > before
			})
		}
	}
	if err := os.Remove(filepath.Join(s.folder, "a.js")); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool {
		s.want("/a", 200, "good")
		return len(s.logged("code file is gone, serving its last good version")) == 1
	})
	s.write("a.js", `module.exports = cb => cb(null, 'better')`)
	await(t, func() bool { _, body, _ := s.get("/a"); return strings.Contains(body, "better") })
}

// TestLimitsThatDoNotCount wants to hear of a route's limit that is larger than
// the server's, when it starts and when it is exceeded.
func TestLimitsThatDoNotCount(t *testing.T) {
	s := newServer(t, map[string]string{"a.js": `module.exports = (ctx, cb) => cb(null, ctx.body)`})
	s.mustLoad("request_body 8B\n timers 10", `
	webtask /wide/* {
		code a.js
		request_body 1MiB
		timers 5
	}
	webtask /narrow {
		code a.js
		request_body 4B
	}
	respond none
	`)
	entries := s.logged("is larger than the server's")
	if len(entries) != 1 || entries[0]["route"] != "127.0.0.1 /wide/*" || entries[0]["limit"] != "request_body" || entries[0]["directive"] != "1MiB" || entries[0]["global"] != "8" {
		t.Errorf("warnings are %v, want one of request_body", entries)
	}
	for path, want := range map[string]string{
		"/wide/x": "limit request_body of 8 B; the option request_body of the global option webtask raises it",
		"/narrow": "limit request_body of 4 B; the option request_body of the route's directive webtask raises it",
	} {
		status, body, _, err := s.try("http://127.0.0.1:"+s.port+path, http.MethodPost, `{"a": "more than eight bytes"}`, "Content-Type: application/json")
		if err != nil || status != 413 || !strings.Contains(body, want) {
			t.Errorf("%s answered %d %s (%v), want %q", path, status, body, err, want)
		}
	}
}

func TestTokenMode(t *testing.T) {
	s := newServer(t, map[string]string{"hello.js": helloJS})
	origin := "http://127.0.0.1:" + s.port
	s.mustLoad("isolation none\n code_allow http://127.0.0.1:"+s.port+"/*\n egress allow 127.0.0.1:"+s.port, `
	webtask /run
	webtask /acme {
		container acme
	}
	@token {
		path /matched
		webtask_token acme
	}
	respond @token "matched"
	@expression expression `+"`path('/expression') && webtask_token('other')`"+`
	respond @expression "matched"
	@any expression `+"`path('/any') && webtask_token()`"+`
	respond @any "matched"
	handle /hello.js {
		header Content-Type text/javascript
		respond `+"`"+helloJS+"`"+`
	}
	respond "next {http.webtask.container}" 404
	`)
	token := s.issue(t, "--container", "acme", "--url", origin+"/hello.js", "--secret", "WHO=a secret", "--name", "greet")
	bearer := "Authorization: Bearer " + token

	s.want("/run", 404, "next")
	s.want("/run", 200, `"hello":"a secret","container":"acme"`, bearer)
	s.want("/run?key="+token, 200, `"hello":"a secret"`)
	s.want("/run", 200, `"hello":"a secret"`, "X-Webtask-Token: "+token)
	s.want("/run?key="+token, 400, "more than one", bearer)
	s.want("/run", 401, "", "X-Webtask-Token: nonsense")
	s.want("/run", 404, "next", "Authorization: Bearer "+strings.Repeat("x", 40))
	s.want("/acme", 200, `"hello":"a secret"`, bearer)
	s.want("/matched", 200, "matched", bearer)
	s.want("/matched", 404, "next")
	s.want("/expression", 404, "next", bearer)

	other := s.issue(t, "--container", "other", "--url", origin+"/hello.js")
	s.want("/acme", 403, "", "Authorization: Bearer "+other)
	s.want("/matched", 404, "next", "Authorization: Bearer "+other)
	s.want("/expression", 200, "matched", "Authorization: Bearer "+other)

	s.want("/any", 200, "matched", "Authorization: Bearer "+other)
	s.want("/any", 404, "next")

	t.Run("revoke", func(t *testing.T) {
		if status, body := s.adminDo(http.MethodPost, "/webtask/revoke", `{"id": "x"}`); status != 400 || !strings.Contains(body, "neither a token nor a token's id") {
			t.Fatalf("revoking what is no id answered %d %s", status, body)
		}
		if status, body := s.adminDo(http.MethodPost, "/webtask/revoke", `{"token": "`+token+`"}`); status != 200 || !strings.Contains(body, `"until"`) {
			t.Fatalf("revoking answered %d %s", status, body)
		}
		s.want("/run", 401, "revoked", bearer)
		s.want("/matched", 404, "next", bearer)
	})
	t.Run("logs", func(t *testing.T) {
		for _, secret := range []string{token, other, "a secret"} {
			if strings.Contains(s.log(), secret) {
				t.Errorf("the log shows %q", secret)
			}
		}
		if len(s.logged("isolates run in the server's own process")) == 0 {
			t.Error("nothing warned of token mode without isolation")
		}
	})
}

func TestPlaceholders(t *testing.T) {
	s := newServer(t, map[string]string{"hello.js": helloJS, "count.js": countJS})
	s.mustLoad("", `
	header >X-Container {http.webtask.container}
	header >X-Name {http.webtask.name}
	header >X-Id {http.webtask.id}
	header >X-Session "{http.session.id}"
	webtask /hello {
		code hello.js
		name greet
	}
	webtask /count {
		code count.js
	}
	respond "none"
	`)
	header := s.want("/hello", 200, "world")
	if header.Get("X-Container") != "@127.0.0.1" || header.Get("X-Name") != "greet" || !strings.HasPrefix(header.Get("X-Id"), "route:") || header.Get("X-Session") != "" {
		t.Errorf("placeholders are %v", header)
	}
	header = s.want("/count", 200, "1")
	if id := header.Get("X-Session"); id == "" || strings.Contains(header.Get("Set-Cookie"), id) {
		t.Errorf("the session's public id is %q beside the cookie %q", id, header.Get("Set-Cookie"))
	}
	header = s.want("/none", 200, "none")
	if header.Get("X-Container") != "{http.webtask.container}" {
		t.Errorf("placeholders without a task are %v", header)
	}
}

func TestAccessLogField(t *testing.T) {
	s := newServer(t, map[string]string{"hello.js": helloJS})
	s.mustLoad("", "log\nwebtask /hello {\n code hello.js\n name greet\n}\nrespond none")
	s.want("/hello", 200, "world")
	s.want("/none", 200, "none")
	var entries []map[string]any
	await(t, func() bool { entries = s.logged("handled request"); return len(entries) == 2 })
	field, _ := entries[0]["webtask"].(map[string]any)
	if field["container"] != "@127.0.0.1" || field["name"] != "greet" || field["outcome"] != "ok" || field["duration"] == nil || field["queue_wait"] != 0.0 {
		t.Errorf("the access log's field is %v", field)
	}
	if entries[1]["webtask"] != nil {
		t.Errorf("a request that no task answered has the field %v", entries[1]["webtask"])
	}
}

func TestErrorsPass(t *testing.T) {
	s := newServer(t, map[string]string{"throws.js": `module.exports = cb => { throw new Error('from the script') }`})
	s.mustLoad("", `
	webtask /passed {
		code throws.js
		errors pass
	}
	webtask /answered {
		code throws.js
	}
	handle_errors {
		respond "handled {err.status_code}"
	}
	`)
	s.want("/passed", 500, "handled 500")
	s.want("/answered", 500, `"code"`)
}

// TestReload wants isolates and sessions to outlive a reload that does not
// concern them, and a changed secret to get isolates of its own.
func TestReload(t *testing.T) {
	s := newServer(t, map[string]string{"hello.js": helloJS})
	site := "webtask /hello {\n code hello.js\n container reloaded\n param who %s\n}\nrespond %s"
	load := func(who, reply string) {
		s.mustLoad("", strings.Replace(strings.Replace(site, "%s", who, 1), "%s", reply, 1))
	}
	load("a", "one")
	s.want("/hello", 200, `"hello":"a"`)
	load("a", "two")
	s.want("/", 200, "two")
	s.want("/hello", 200, `"hello":"a"`)
	pools := s.pools(t, "reloaded")
	if len(pools) != 1 || pools[0].Requests != 2 || pools[0].Created != 1 {
		t.Errorf("after a reload the pools are %+v, want one isolate that served both requests", pools)
	}
	load("b", "three")
	s.want("/hello", 200, `"hello":"b"`)
	if pools := s.pools(t, "reloaded"); len(pools) != 2 {
		t.Errorf("after another parameter the pools are %+v, want one for each", pools)
	}
	if status, body := s.adminDo(http.MethodDelete, "/webtask/pools?container=reloaded", ""); status != 200 || !strings.Contains(body, `"flushed":2`) {
		t.Errorf("flushing answered %d %s", status, body)
	}
}

// pools returns those of a container; what earlier tests left may still be
// there.
func (s *server) pools(t *testing.T, container string) []jsruntime.PoolStats {
	t.Helper()
	_, body := s.adminDo(http.MethodGet, "/webtask/pools", "")
	var pools []jsruntime.PoolStats
	if err := json.Unmarshal([]byte(body), &pools); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return slices.DeleteFunc(pools, func(p jsruntime.PoolStats) bool { return p.Container != container })
}

// TestOldRequestsEndOnWhatTheyBeganWith reloads with another store and queue
// while a request waits, so that everything shared is replaced under it.
func TestOldRequestsEndOnWhatTheyBeganWith(t *testing.T) {
	s := newServer(t, map[string]string{"slow.js": `export default { async fetch(request, env, ctx) {
		await fetch(env.GATE);
		await ctx.session.set('k', 1);
		return new Response('done ' + await ctx.session.get('k'));
	} }`})
	arrived, open := make(chan struct{}), make(chan struct{})
	gate := newGate(t, arrived, open)
	site := "webtask /slow {\n code slow.js\n param GATE " + gate + "\n}\nrespond ok"
	options := "egress allow " + strings.TrimPrefix(gate, "http://")
	s.mustLoad(options, site)

	answered := make(chan string, 1)
	go func() {
		response, err := s.client.Get("http://127.0.0.1:" + s.port + "/slow")
		if err != nil {
			answered <- err.Error()
			return
		}
		defer response.Body.Close()
		var body [64]byte
		n, _ := response.Body.Read(body[:])
		answered <- string(body[:n])
	}()
	<-arrived
	s.mustLoad(options+"\nqueue 7", site)
	if got := countOf(engines); got != 2 {
		t.Errorf("%d engines during the old request, want 2", got)
	}
	close(open)
	if got := <-answered; got != "done 1" {
		t.Errorf("the old request was answered %q", got)
	}
	await(t, func() bool { return countOf(engines) == 1 })
}
