package plane

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/webtask-edge/caddy-webtask/tests/harness"
)

// A connect starts a backend and answers at once; its URL leads there, and says
// who comes.
func TestConnect(t *testing.T) {
	a := start(t)
	c := a.connect(t, inDocs("a/ü"))
	if !c.Spawned || c.BackendID == "" || c.Subdomain != nil || c.Drone != nil || c.Key != "a/ü" || c.Token == "" || c.SecretToken == "" {
		t.Errorf("the answer is %+v", c)
	}
	if want := a.URL + "/s/" + c.Token + "/"; c.URL != want || c.ReadyURL != want || c.StatusURL != a.URL+"/pub/b/"+c.BackendID+"/status" {
		t.Errorf("the URLs are %s, %s and %s", c.URL, c.ReadyURL, c.StatusURL)
	}
	w := a.visit(t, c.URL+"deep/%2F/path?q=1", "X-Verified-Username: root", "X-Verified-Secret: forged")
	if w.ID != c.BackendID || w.Key != "a/ü" || w.URI != "/deep/%2F/path?q=1" {
		t.Errorf("it leads to %s, %s, %s", w.ID, w.Key, w.URI)
	}
	for name, want := range map[string]string{
		"X-Verified-Username": "ann", "X-Verified-User-Data": `{"role":"editor"}`, "X-Verified-Secret": c.SecretToken, "X-Verified-Key": "a/ü",
		"X-Verified-Backend": w.ID, "X-Verified-Fence": w.Fence, "X-Verified-Path": "/s/" + c.Token + "/deep/%2F/path?q=1",
	} {
		if got := w.Header.Values(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	again := a.connect(t, `{"key":{"name":"a/ü"},"pool":"docs"}`)
	if again.Spawned || again.BackendID != c.BackendID || again.Status != "ready" || fmt.Sprint(again.Fence) != w.Fence || again.SecretToken == c.SecretToken {
		t.Errorf("the second answer is %+v", again)
	}
	if w := a.visit(t, again.URL); w.Header.Get("X-Verified-User-Data") != "{}" || w.Header.Values("X-Verified-Username") != nil {
		t.Errorf("of nobody it says %v", w.Header)
	}
	// The path of the service leads to the same backend.
	plain := a.connect(t, inDocs("plain"))
	if w := a.visit(t, a.URL+"/doc/plain/who"); w.ID != plain.BackendID {
		t.Errorf("the path leads to %s, the URL to %s", w.ID, plain.BackendID)
	}
}

// Keys are data, and so are namespaces: no two share a backend.
func TestConnectKeys(t *testing.T) {
	a := start(t)
	seen := map[string]string{}
	for _, c := range []struct{ namespace, name, key string }{
		{"", "../../etc/passwd", "../../etc/passwd"}, {"", "{env.HOME}", "{env.HOME}"}, {"", "{backend.port}", "{backend.port}"}, {"", "-rf", "-rf"},
		{"", "ключ", "ключ"}, {"", "a b/c", "a b/c"}, {"x", "y/z", "x/y/z"}, {"x/y", "z", "x%2Fy/z"}, {"x%2Fy", "z", "x%252Fy/z"},
	} {
		body, err := json.Marshal(map[string]any{"key": map[string]string{"name": c.name, "namespace": c.namespace}, "spawn_config": map[string]string{"pool": "docs"}})
		if err != nil {
			t.Fatal(err)
		}
		got := a.connect(t, string(body))
		if other, ok := seen[got.BackendID]; ok || got.Key != c.key {
			t.Errorf("%+v has the key %q, and the backend of %q", c, got.Key, other)
		}
		seen[got.BackendID] = c.key
		if w := a.visit(t, got.URL); w.Key != c.key || w.Header.Get("X-Verified-Key") != c.key {
			t.Errorf("%+v: the backend has the key %q, and is told %q", c, w.Key, w.Header.Get("X-Verified-Key"))
		}
	}
}

// Without a key there is always another backend.
func TestConnectWithoutKey(t *testing.T) {
	a := start(t)
	first, second := a.connect(t, `{"spawn_config":{"pool":"docs"}}`), a.connect(t, `{"spawn_config":{"cluster":"docs"}}`)
	if !first.Spawned || !second.Spawned || first.BackendID == second.BackendID || first.Key == second.Key {
		t.Errorf("the answers are %+v and %+v", first, second)
	}
	a.visit(t, first.URL)
	a.visit(t, second.URL)
}

// What cannot be had is refused, in words that say why.
func TestConnectRefused(t *testing.T) {
	a := start(t, "allow_env DOC_ID", "max_backends 2")
	a.connect(t, `{"key":{"name":"held","tag":"v1"},"spawn_config":{"pool":"docs"}}`)
	spawn := func(config string) string {
		return `{"key":{"name":"a"},"spawn_config":{"pool":"docs",` + config + `}}`
	}
	for _, c := range []struct {
		body          string
		status        int
		kind, message string
	}{
		{`{"key":{"name":"nobody"},"pool":"docs"}`, 409, "KeyUnheldNoSpawnConfig", "no session backend"},
		{`{"key":{"name":"held","tag":"v2"},"spawn_config":{"pool":"docs"}}`, 409, "KeyHeld", "another tag"},
		{`{"key":{"name":"held"},"pool":"docs"}`, 409, "KeyHeld", "another tag"},
		{`{"key":{"name":"a"}}`, 400, "NoClusterProvided", "docs, rooms"},
		{`{"spawn_config":{"pool":"others"}}`, 400, "InvalidClusterName", `"others"`},
		{`{"spawn_config":{"cluster":"others"}}`, 400, "InvalidClusterName", `"others"`},
		{`{"pool":"docs"}`, 400, "InvalidRequest", "neither a key nor"},
		{`{"key":{"name":"a\u0000b"},"spawn_config":{"pool":"docs"}}`, 400, "InvalidRequest", "control character"},
		{`{"key":{"name":"` + strings.Repeat("k", 10_000) + `"},"spawn_config":{"pool":"docs"}}`, 400, "InvalidRequest", "bytes"},
		{`{"key":`, 400, "InvalidRequest", "no JSON"},
		{`{"a":"` + strings.Repeat("b", 70_000) + `"}`, 413, "RequestTooLarge", "65536"},
		{strings.Replace(spawn(`"id":""`), `"spawn`, `"auth":[1],"spawn`, 1), 400, "InvalidRequest", "auth: it is no JSON object"},
		{strings.Replace(spawn(`"id":""`), `"spawn`, `"user":"a\nb","spawn`, 1), 400, "InvalidRequest", "user: "},
		{spawn(`"id":"mine"`), 400, "InvalidSpawnConfig", "id: "},
		{spawn(`"subdomain":"x"`), 400, "InvalidSpawnConfig", "subdomain: "},
		{spawn(`"max_idle_seconds":0`), 400, "InvalidSpawnConfig", "max_idle_seconds: "},
		{spawn(`"lifetime_limit_seconds":-1`), 400, "InvalidSpawnConfig", "lifetime_limit_seconds: "},
		{spawn(`"executable":{"image":"evil/image"}`), 400, "InvalidSpawnConfig", "executable.image: "},
		{spawn(`"executable":{"command":"/bin/sh"}`), 400, "InvalidSpawnConfig", "executable.command: "},
		{spawn(`"executable":{"mount":true}`), 400, "InvalidSpawnConfig", "executable.mount: "},
		{spawn(`"executable":{"credentials":{"username":"u"}}`), 400, "InvalidSpawnConfig", "executable.credentials: "},
		{spawn(`"executable":{"resource_limits":{"memory_limit_bytes":1}}`), 400, "InvalidSpawnConfig", "executable.resource_limits: "},
		{spawn(`"executable":{"env":{"OTHER":"x"}}`), 400, "InvalidSpawnConfig", "allow_env"},
		{spawn(`"executable":{"env":{"LD_PRELOAD":"/tmp/x.so"}}`), 400, "InvalidSpawnConfig", "LD_PRELOAD"},
		{spawn(`"executable":{"env":{"DOC_ID":"a\u0000b"}}`), 400, "InvalidSpawnConfig", "NUL"},
		{spawn(`"executable":{"env":{"DOC_ID":"` + strings.Repeat("b", 40_000) + `"}}`), 400, "InvalidSpawnConfig", "32768"},
	} {
		a.refused(t, "POST", "/ctrl/connect", c.body, c.status, c.kind, c.message)
	}
	a.connect(t, inDocs("second"))
	if answer := a.refused(t, "POST", "/ctrl/connect", inDocs("third"), 503, "NoDroneAvailable", "max_backends"); answer.Header.Get("Retry-After") == "" {
		t.Error("no word of when to try again")
	}
}

// A caller may set the variables that the block allows, and name the program that
// runs anyway.
func TestConnectSpawns(t *testing.T) {
	a := start(t, "allow_env DOC_ID LANGUAGE")
	program := harness.Program(t, "testbackend")
	c := a.connect(t, fmt.Sprintf(`{"spawn_config":{"pool":"docs","max_idle_seconds":86400,"executable":
		{"image":%q,"pull_policy":"Never","mount":false,"resource_limits":{"cpu_period":null,"memory_limit_bytes":null},"credentials":null,"env":{"DOC_ID":"{backend.port} $HOME"}}}}`, program))
	w := a.visit(t, c.URL)
	if got := w.env("DOC_ID"); got != "{backend.port} $HOME" {
		t.Errorf("DOC_ID is %q", got)
	}
	if w.env("LANGUAGE") != "" {
		t.Error("LANGUAGE is set")
	}
	short := a.connect(t, `{"spawn_config":{"pool":"docs","max_idle_seconds":1}}`)
	pid := a.visit(t, short.URL).PID
	harness.Until(t, "it ends, as its caller wants", func() bool { return !alive(pid) })
	if !alive(w.PID) {
		t.Error("the other has ended too")
	}
}

// Nobody gets in without what `auth` says.
func TestControlAuth(t *testing.T) {
	a := start(t)
	for name, header := range map[string][]string{
		"nothing": nil, "another secret": {harness.Bearer("wrong")}, "no scheme": {"Authorization: " + secret},
		"a prefix": {harness.Bearer(secret[:len(secret)-1])}, "basic": {"Authorization: Basic " + secret}, "empty": {"Authorization: Bearer "},
	} {
		for _, path := range []string{"/ctrl/connect", "/ctrl/b/x/hard-terminate", "/ctrl/status", "/ctrl/unknown", "/v2/service/a/docs/connect"} {
			var w wrong
			a.client.Do(t, "POST", a.URL+path, inDocs("a"), header...).Want(t, 401, "").JSON(t, &w)
			if w.Kind != "Unauthorized" || w.ID == "" || w.Message == "" {
				t.Errorf("%s: it says %+v", name, w)
			}
		}
	}
	a.call(t, "GET", "/ctrl/status", "").Want(t, 200, `"status":"ok"`)
	// A page of another site, with the credentials that the browser has.
	a.client.Do(t, "POST", a.URL+"/ctrl/connect", inDocs("a"), harness.Bearer(secret), "Sec-Fetch-Site: cross-site").Want(t, 403, "Forbidden")
	a.client.Do(t, "GET", a.URL+"/noauth/ctrl/status", "").Want(t, 401, "Unauthorized")
	a.client.Do(t, "GET", a.URL+"/byuser/ctrl/status", "").Want(t, 401, "")
	byAnn := "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("ann:"+annPassword))
	a.client.Get(t, a.URL+"/byuser/ctrl/status", byAnn).Want(t, 200, `"status":"ok"`)
	if list := a.call(t, "GET", "/ctrl/sessions", "").Body; list != `{"sessions":[]}` {
		t.Errorf("there are %s", list)
	}
}

// Tokens that are not whole, not ours, or not of this place lead nowhere.
func TestTokensRefused(t *testing.T) {
	a := startWith(t, nil, []string{"token_lifetime 2s"})
	c := a.connect(t, inDocs("a"))
	a.visit(t, c.URL)
	parts := strings.Split(c.Token, ".")
	other := start(t).connect(t, inDocs("a"))
	webtaskToken := a.Server.Token(t, harness.Claims{URL: a.URL + "/x.js"})
	for name, token := range map[string]string{
		"cut": c.Token[:len(c.Token)-2], "longer": c.Token + "A", "of another edge": other.Token, "another payload": parts[0] + ".e30." + parts[2],
		"alg none": "eyJhbGciOiJub25lIn0." + parts[1] + ".", "of a webtask": webtaskToken, "no token": "garbage", "static": "s.garbage",
	} {
		if answer := a.client.Get(t, a.URL+"/s/"+token+"/"); answer.Status != http.StatusGone {
			t.Errorf("%s: got %d %s", name, answer.Status, answer.Body)
		}
	}
	for _, path := range []string{"/s/", "/s//"} {
		a.client.Get(t, a.URL+path).Want(t, 400, "")
	}
	harness.Until(t, "the token expires", func() bool { return a.client.Get(t, c.URL).Status == http.StatusGone })
	a.visit(t, a.connect(t, inDocs("a")).URL)
}

// A token is for one backend, and not for the one that comes after it.
func TestTokenOfBackendThatEnded(t *testing.T) {
	a := start(t)
	c := a.connect(t, inDocs("a"))
	pid := a.visit(t, c.URL).PID
	a.call(t, "POST", "/ctrl/b/"+c.BackendID+"/hard-terminate", "").Want(t, 200, "null")
	harness.Until(t, "it is gone", func() bool { return !alive(pid) })
	next := a.connect(t, inDocs("a"))
	if next.BackendID == c.BackendID || !next.Spawned {
		t.Errorf("after its end there is %+v", next)
	}
	a.visit(t, next.URL)
	a.client.Get(t, c.URL).Want(t, http.StatusGone, "")
}

// With `auth token` the path of the service wants a token of its key, and hides it
// from the backend.
func TestServiceDemandsToken(t *testing.T) {
	a := start(t)
	connect := func(pool, key string) connected {
		return a.connect(t, fmt.Sprintf(`{"key":{"name":%q},"spawn_config":{"pool":%q},"user":"ann"}`, key, pool))
	}
	blue, red, docs := connect("rooms", "blue"), connect("rooms", "red"), connect("docs", "blue")
	at := a.URL + "/room/blue/who"
	for name, w := range map[string]who{
		"header":    a.visit(t, at+"?a=b&c", harness.Bearer(blue.Token)),
		"parameter": a.visit(t, at+"?a=b&token="+blue.Token+"&c"),
	} {
		if w.ID != blue.BackendID || w.URI != "/room/blue/who?a=b&c" || w.Header.Get("X-Verified-Path") != w.URI || w.Header.Get("X-Verified-Username") != "ann" {
			t.Errorf("%s: %s, %s, %v", name, w.ID, w.URI, w.Header)
		}
		if strings.Contains(fmt.Sprint(w), blue.Token) {
			t.Errorf("%s: the backend sees the token: %v", name, w)
		}
	}
	for name, c := range map[string]struct {
		url, token string
		status     int
	}{
		"none": {at, "", 401}, "forged": {at, blue.Token + "A", 401}, "garbage": {at, "garbage", 401}, "of another key": {at, red.Token, 403},
		"of another service": {at, docs.Token, 403}, "two": {at + "?token=" + blue.Token, blue.Token, 400},
	} {
		var header []string
		if c.token != "" {
			header = append(header, harness.Bearer(c.token))
		}
		if answer := a.client.Get(t, c.url, header...); answer.Status != c.status {
			t.Errorf("%s: got %d %s, want %d", name, answer.Status, answer.Body, c.status)
		}
	}
	tunnel, resp := a.upgrade(t, at+"?token="+blue.Token)
	if resp.StatusCode != 101 {
		t.Fatal(resp.Status)
	}
	tunnel.says(t, "hello")
}

// Tokens that the server keeps say nothing, and are good for the same.
func TestKeptTokens(t *testing.T) {
	a := startWith(t, nil, []string{"tokens kept", "token_lifetime 3s"})
	c := a.connect(t, inDocs("a"))
	if len(c.Token) != 43 || !strings.HasPrefix(c.Token, c.BackendID) {
		t.Errorf("the token is %s", c.Token)
	}
	w := a.visit(t, c.URL+"deep/%2F/path")
	if w.ID != c.BackendID || w.URI != "/deep/%2F/path" || w.Header.Get("X-Verified-Username") != "ann" || w.Header.Get("X-Verified-Secret") != c.SecretToken {
		t.Errorf("it leads to %+v", w)
	}
	a.AdminLoad(t, site(t, nil, []string{"tokens signed"}))
	a.visit(t, c.URL)
	a.client.Get(t, a.URL+"/s/"+c.Token[:len(c.Token)-1]+"2/").Want(t, http.StatusGone, "")
	a.client.Get(t, a.URL+"/s/abcdefghijklmnop-ABCDEFGHIJKLMNOPQRSTUVWXYZ/").Want(t, http.StatusGone, "")
	a.client.Get(t, a.URL+"/room/a?token="+c.Token).Want(t, http.StatusForbidden, "")
	harness.Until(t, "it expires", func() bool { return a.client.Get(t, c.URL).Status == http.StatusGone })
	if strings.Contains(a.Log.String(), c.Token) {
		t.Error("the token is in the log")
	}
}

// A static token is known to the backend, which finds it in the path.
func TestStaticToken(t *testing.T) {
	a := start(t)
	static := `{"key":{"name":"a"},"spawn_config":{"pool":"docs","use_static_token":true},"user":"ann","auth":{"a":1}}`
	c, again := a.connect(t, static), a.connect(t, inDocs("a"))
	if !strings.HasPrefix(c.Token, "s.") || again.Token != c.Token || again.SecretToken != c.SecretToken || c.SecretToken == "" {
		t.Errorf("the tokens are %s and %s", c.Token, again.Token)
	}
	w := a.visit(t, c.URL+"path")
	if w.env("SESSION_BACKEND_STATIC_TOKEN") != c.Token || w.URI != "/"+c.Token+"/path" || w.Header.Get("X-Verified-Secret") != c.SecretToken {
		t.Errorf("the backend sees %+v", w)
	}
	if w.Header.Get("X-Verified-User-Data") != "{}" || w.Header.Get("X-Verified-Username") != "" {
		t.Errorf("it says of its user %v", w.Header)
	}
	a.client.Get(t, a.URL+"/s/s."+c.BackendID+"-ABCDEFGHIJKLMNOPQRSTUVWXYZ/").Want(t, http.StatusGone, "")
	a.call(t, "POST", "/ctrl/b/"+c.BackendID+"/hard-terminate", "").Want(t, 200, "")
	harness.Until(t, "it ends", func() bool { return !alive(w.PID) })
	a.client.Get(t, c.URL).Want(t, http.StatusGone, "")
	if log := a.Log.String(); strings.Contains(log, c.Token) || strings.Contains(log, c.SecretToken) {
		t.Error("the token or its secret is in the log")
	}
}
