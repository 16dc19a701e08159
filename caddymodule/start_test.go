package caddymodule

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// await asks until done is true. Tests wait with it for what other goroutines
// of the server do and tell nobody; how long that takes is bounded by the
// deadline of the test run alone.
func await(t *testing.T, done func() bool) {
	t.Helper()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for !done() {
		<-again.C
	}
}

// newGate serves requests that report their arrival and wait.
func newGate(t *testing.T, arrived, open chan struct{}) string {
	t.Helper()
	gate := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(arrived)
		<-open
	}))
	t.Cleanup(gate.Close)
	return gate.URL
}

func countOf(pool *caddy.UsagePool) (n int) {
	pool.Range(func(any, any) bool {
		n++
		return true
	})
	return n
}

// TestRefused loads configurations that must not start.
func TestRefused(t *testing.T) {
	s := newServer(t, map[string]string{"a.js": helloJS, "open.json": "{}", "bad.json": "{}"})
	if err := os.Chmod(filepath.Join(s.folder, "open.json"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ options, site, want string }{
		"readable keys":        {"keys open.json", "webtask", "can be read by others (mode 0644), who could make tokens of this edge; run: chmod 600"},
		"absent keys":          {"keys absent.json", "webtask", "keys: the file cannot be read"},
		"bad keys":             {"keys bad.json", "webtask", "keys: "},
		"absent code":          {"", "webtask {\n code absent.js\n}", "code: the file cannot be read"},
		"folder as code":       {"", "webtask {\n code " + s.folder + "\n}", "is not a file; name the file that has the handler"},
		"unset secret":         {"", "webtask {\n code a.js\n secret A {env.WEBTASK_TEST_UNSET}\n}", "secret A: "},
		"request placeholder":  {"", "webtask {\n code a.js\n secret A {http.request.host}\n}", "secret A: unrecognized placeholder"},
		"bad egress":           {"egress allow http://x", "webtask", `egress rule "http://x"`},
		"bad code_allow":       {"code_allow example.com", "webtask", "example.com"},
		"bad run_domain":       {"run_domain run.example.com", "webtask", "run.example.com"},
		"under templates":      {"", "route {\n templates\n webtask\n}", "webtask in token mode stands under templates"},
		"under intercept":      {"", "route {\n intercept {\n  replace_status 200\n }\n webtask /run/*\n}", "stands under intercept"},
		"under both, deep":     {"", "route {\n templates\n route /a/* {\n  intercept {\n   replace_status 200\n  }\n  handle {\n   webtask\n  }\n }\n}", "stands under templates and intercept"},
		"memory of no worker":  {"isolation none\n memory 64MiB", "webtask", "memory: is a limit of worker processes"},
		"a route's memory":     {"isolation none", "webtask {\n code a.js\n memory 64MiB\n}", "memory: is a limit of worker processes"},
		"under a route before": {"", "route {\n route {\n  templates\n }\n webtask\n}", "stands under templates"},
	} {
		t.Run(name, func(t *testing.T) {
			err := s.load(c.options, c.site)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("loading gave %v, want an error with %q", err, c.want)
			}
		})
	}
	// What was refused has given back what it held.
	for _, pool := range []*caddy.UsagePool{stores, engines, loaders, verifiers} {
		await(t, func() bool { return countOf(pool) == 0 })
	}
}

// TestAllowed loads configurations that look like refused ones and are not.
func TestAllowed(t *testing.T) {
	s := newServer(t, map[string]string{"a.js": helloJS})
	for name, site := range map[string]string{
		"templates after it":   "webtask /run/*\n templates",
		"templates beside it":  "handle /pages/* {\n templates\n}\nhandle {\n webtask\n}",
		"trust_responses":      "route {\n templates\n webtask {\n  trust_responses\n }\n}",
		"route-bound under it": "route {\n templates\n webtask {\n  code a.js\n }\n}",
	} {
		t.Run(name, func(t *testing.T) {
			if err := s.load("", site); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestRedisNeedsSharedKeys refuses tokens that another edge of the same Redis
// could not read.
func TestRedisNeedsSharedKeys(t *testing.T) {
	s := newServer(t, map[string]string{"a.js": helloJS})
	config, err := s.config("", "webtask")
	if err != nil {
		t.Fatal(err)
	}
	redis := strings.Replace(string(config), `"engine":"file"`, `"engine":"redis"`, 1)
	err = caddy.Load([]byte(redis), true)
	if err == nil || !strings.Contains(err.Error(), "name a file with `keys <file>`") {
		t.Errorf("loading gave %v", err)
	}
	// Routes alone use no keys. The store is not there, and not asked.
	config, err = s.config("", "webtask {\n code a.js\n}")
	if err != nil {
		t.Fatal(err)
	}
	redis = strings.Replace(string(config), `"engine":"file"`, `"engine":"redis"`, 1)
	if err := caddy.Load([]byte(redis), true); err != nil {
		t.Fatal(err)
	}
	s.want("/", 200, "world")
}

// TestSandboxIsSaid wants the log to say once what locks workers up, however
// often the configuration is loaded.
func TestSandboxIsSaid(t *testing.T) {
	s := newServer(t, map[string]string{"a.js": helloJS})
	// A queue of its own gives it workers that no other test has announced.
	for _, reply := range []string{"one", "two"} {
		s.mustLoad("queue 77", "webtask /a {\n code a.js\n}\nrespond "+reply)
	}
	entries := s.logged("worker processes are sandboxed")
	if len(entries) != 1 {
		t.Fatalf("it was said %d times: %v", len(entries), entries)
	}
	if layers, _ := entries[0]["layers"].(string); !strings.Contains(layers, "holding: ") || !strings.Contains(layers, "memory") {
		t.Errorf("the layers are %v", entries[0]["layers"])
	}
}

func TestWarnings(t *testing.T) {
	s := newServer(t, map[string]string{"a.js": helloJS})
	s.mustLoad("", `
	log plain {
		output file `+s.folder+`/plain
		format json
	}
	log wrapped {
		output file `+s.folder+`/wrapped
		format filter {
			wrap webtask
			request>remote_ip delete
		}
	}
	webtask /run/*
	webtask /a {
		code a.js
		secret WHO literal-secret-value
	}
	`)
	entries := s.logged("does not redact them")
	if len(entries) != 1 || entries[0]["logger"] == nil || !strings.Contains(s.log(), "http.log.access.plain") {
		t.Errorf("warnings of access logs are %v, want one of plain", entries)
	}
	if len(s.logged("configuration itself holds secrets")) != 1 {
		t.Error("nothing warned of the literal secret")
	}
	if strings.Contains(s.log(), "literal-secret-value") {
		t.Error("the warning shows the secret")
	}
	text, err := os.ReadFile(filepath.Join(s.folder, "plain"))
	if err == nil && len(text) > 0 {
		t.Errorf("probing wrote to the log: %s", text)
	}
}

// TestIdentityHeaders wants what auth handlers tell the site hidden from
// tasks that tokens brought, and shown to the site's own.
func TestIdentityHeaders(t *testing.T) {
	auth := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Site-User", "alice") }))
	t.Cleanup(auth.Close)
	echo := `module.exports = (ctx, cb) => cb(null, {user: ctx.headers['x-site-user'] || 'hidden', plain: ctx.headers['x-plain']})`
	s := newServer(t, map[string]string{"echo.js": echo})
	s.mustLoad("code_allow http://127.0.0.1:"+s.port+"/*\n egress allow 127.0.0.1:"+s.port, `
	handle /echo.js {
		header Content-Type text/javascript
		respond `+"`"+echo+"`"+`
	}
	handle {
		forward_auth `+auth.URL+` {
			uri /check
			copy_headers X-Site-User
		}
		webtask /run
		webtask /own {
			code echo.js
		}
	}
	`)
	token := s.issue(t, "--container", "acme", "--url", "http://127.0.0.1:"+s.port+"/echo.js")
	s.want("/own", 200, `{"user":"alice","plain":"x"}`, "X-Plain: x")
	s.want("/run", 200, `{"user":"hidden","plain":"x"}`, "X-Plain: x", "X-Webtask-Token: "+token)
}

// TestSecureIsTheClientsScheme believes X-Forwarded-Proto of trusted proxies.
func TestSecureIsTheClientsScheme(t *testing.T) {
	s := newServer(t, map[string]string{"count.js": countJS})
	s.mustLoad("", "webtask {\n code count.js\n}")
	header := s.want("/", 200, "1", "X-Forwarded-Proto: https")
	if strings.Contains(header.Get("Set-Cookie"), "Secure") {
		t.Errorf("a stranger's X-Forwarded-Proto was believed: %s", header.Get("Set-Cookie"))
	}
	config, err := s.config("", "webtask {\n code count.js\n}")
	if err != nil {
		t.Fatal(err)
	}
	// No option of a test's site says this; it stands in the server's JSON.
	server := `"srv0":{`
	trusting := strings.Replace(string(config), server, server+`"trusted_proxies":{"source":"static","ranges":["127.0.0.1/32"]},`, 1)
	if err := caddy.Load([]byte(trusting), true); err != nil {
		t.Fatal(err)
	}
	header = s.want("/", 200, "1", "X-Forwarded-Proto: https")
	if cookie := header.Get("Set-Cookie"); !strings.HasPrefix(cookie, "__Host-") || !strings.Contains(cookie, "Secure") {
		t.Errorf("the cookie behind TLS is %s", cookie)
	}
}

// TestValidateGoesNowhere provisions a configuration whose store, keys and
// code are unreachable, as `caddy validate` does.
func TestValidateGoesNowhere(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	connected := make(chan struct{})
	go func() {
		if conn, err := listener.Accept(); err == nil {
			close(connected)
			conn.Close()
		}
	}()
	config := new(caddy.Config)
	app := `{"store": {"engine": "redis", "addresses": ["` + listener.Addr().String() + `"]}, "code_allow": ["http://` + listener.Addr().String() + `/*"]}`
	config.AppsRaw = caddy.ModuleMap{"webtask": []byte(app)}
	if err := caddy.Validate(config); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { return countOf(stores) == 0 })
	select {
	case <-connected:
		t.Error("validating connected to the store")
	default:
	}
}

// TestCleanupOfWhatWasNeverProvisioned must do nothing: Caddy calls Cleanup
// after a Provision that failed, too.
func TestCleanupOfWhatWasNeverProvisioned(t *testing.T) {
	if err := new(App).Cleanup(); err != nil {
		t.Error(err)
	}
}

func TestLifetime(t *testing.T) {
	var life lifetime
	var ends int
	life.begin(func() { ends++ })
	if !life.enter() {
		t.Fatal("a lifetime that has begun refuses a user")
	}
	life.leave() // the configuration itself
	if ends != 0 {
		t.Fatal("the lifetime ended before its last user left")
	}
	if !life.enter() {
		t.Fatal("a lifetime with a user refuses another")
	}
	life.leave()
	life.leave()
	if ends != 1 || life.enter() {
		t.Errorf("ended %d times, or takes users again", ends)
	}
}

// TestStoredKeyringIsMadeOnce asks for the keys of one storage from several
// sides at once.
func TestStoredKeyringIsMadeOnce(t *testing.T) {
	type result struct {
		ids string
		err error
	}
	results := make(chan result)
	for range 8 {
		go func() {
			ring, err := storedKeyring(context.Background(), caddy.DefaultStorage)
			if err != nil {
				results <- result{err: err}
				return
			}
			results <- result{ids: strings.Join(ring.KeyIDs(), " ")}
		}()
	}
	first := <-results
	if first.err != nil {
		t.Fatal(first.err)
	}
	for range 7 {
		if r := <-results; r != first {
			t.Errorf("got %v, another got %v", r, first)
		}
	}
}
