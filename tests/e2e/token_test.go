package e2e

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/webtask-edge/caddy-webtask/tests/harness"
)

// origin is a server that code comes from and that code calls.
type origin struct {
	*httptest.Server
	fetched atomic.Int64 // GETs of code
}

const apiKey = "key-of-the-api-7Qm2xV"

func startOrigin(t testing.TB) *origin {
	t.Helper()
	o := &origin{}
	mux := http.NewServeMux()
	code := func(path, source string) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			o.fetched.Add(1)
			w.Header().Set("Content-Type", "text/javascript")
			fmt.Fprint(w, source)
		})
	}
	code("/hello.js", `module.exports = (ctx, cb) => cb(null, { hello: ctx.params.who })`)
	code("/api.js", `export default {
		async fetch(request, env) {
			const answer = await fetch(env.API, { headers: { "X-Api-Key": env.API_KEY } });
			return new Response(await answer.text(), { status: answer.status });
		},
	}`)
	code("/curious.js", `export default {
		fetch(request) {
			return Response.json({ url: request.url, headers: Object.fromEntries(request.headers) });
		},
	}`)
	code("/pushy.js", `export default {
		fetch() {
			return new Response("<script>1</script>", { headers: {
				"Content-Type": "text/html", "Set-Cookie": "a=b", "Refresh": "0;url=/x", "Clear-Site-Data": "*",
				"Strict-Transport-Security": "max-age=1", "X-Accel-Redirect": "/etc/passwd", "X-Mine": "kept",
			} });
		},
	}`)
	code("/lib/main.ts", `import { shout } from "./shout.ts";
		export default (request: Request): Response => new Response(shout("typed"));`)
	code("/lib/shout.ts", `export const shout = (s: string): string => s.toUpperCase() + "!";`)
	mux.HandleFunc("GET /secret-api", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Api-Key") != apiKey {
			http.Error(w, "no key", http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, "42 degrees")
	})
	o.Server = httptest.NewServer(mux)
	t.Cleanup(o.Close)
	return o
}

func (o *origin) host() string { return strings.TrimPrefix(o.URL, "http://") }

const tokenSite = `
{
	webtask {
		isolation none
		{$STORE}
		code_allow {$ORIGIN}/*
		egress allow {$ORIGIN_HOST}
	}
}

http://localhost:{$PORT} {
	webtask /run*
	respond "not the edge's" 200
}
`

func startTokens(t testing.TB, store harness.Store, o *origin, more ...string) *harness.Server {
	t.Helper()
	return harness.Start(t, harness.Config{
		Caddyfile: tokenSite, Store: store,
		Env: append(more, "ORIGIN="+o.URL, "ORIGIN_HOST="+o.host()),
	})
}

func TestTokenRunsCodeWithItsSecret(t *testing.T) {
	harness.EachStore(t, func(t *testing.T, store harness.Store) {
		o := startOrigin(t)
		srv := startTokens(t, store, o)
		token := srv.Token(t, harness.Claims{
			URL:     o.URL + "/api.js",
			Secrets: map[string]string{"API_KEY": apiKey},
			Params:  map[string]string{"API": o.URL + "/secret-api"},
		})
		if strings.Contains(token, apiKey) {
			t.Fatal("the token shows its secret")
		}
		c := harness.NewClient(t)
		got := c.Get(t, srv.URL+"/run", harness.Bearer(token)).Want(t, 200, "42 degrees")
		if got.Header.Get("Cache-Control") != "private, no-store" {
			t.Errorf("the answer to a token has Cache-Control %q", got.Header.Get("Cache-Control"))
		}
		c.Get(t, srv.URL+"/run", "X-Webtask-Token: "+token).Want(t, 200, "42 degrees")
		byKey := c.Get(t, srv.URL+"/run?key="+token).Want(t, 200, "42 degrees")
		if byKey.Header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("the answer to ?key= has Referrer-Policy %q", byKey.Header.Get("Referrer-Policy"))
		}

		t.Run("what is not ours passes", func(t *testing.T) {
			c.Get(t, srv.URL+"/run").Want(t, 200, "not the edge's")
			c.Get(t, srv.URL+"/run", "Authorization: Basic YTpi").Want(t, 200, "not the edge's")
			c.Get(t, srv.URL+"/run", "Authorization: Bearer someone-else's").Want(t, 200, "not the edge's")
		})
		t.Run("two tokens are refused", func(t *testing.T) {
			c.Get(t, srv.URL+"/run?key="+token, harness.Bearer(token)).Want(t, 400, "token")
		})
		t.Run("the keyring outlives the server", func(t *testing.T) {
			srv.Restart(t)
			c.Get(t, srv.URL+"/run", harness.Bearer(token)).Want(t, 200, "42 degrees")
		})
	})
}

func TestBadTokens(t *testing.T) {
	o := startOrigin(t)
	srv, foreign := startTokens(t, harness.FileStore(), o), startTokens(t, harness.FileStore(), o)
	claims := harness.Claims{URL: o.URL + "/hello.js", Params: map[string]string{"who": "you"}, Secrets: map[string]string{"K": apiKey}}
	good := srv.Token(t, claims)
	part := strings.Split(good, ".")
	b64 := base64.RawURLEncoding
	header, err := b64.DecodeString(part[0])
	if err != nil {
		t.Fatal(err)
	}
	other := strings.Split(srv.Token(t, claims), ".")
	none := b64.EncodeToString([]byte(`{"alg":"none","kid":"wt1-aaaaaaaaaaaaaaaa"}`))

	for name, token := range map[string]string{
		"of another edge":         foreign.Token(t, claims),
		"with another's payload":  part[0] + "." + other[1] + "." + part[2],
		"without a signature":     part[0] + "." + part[1] + ".",
		"truncated":               good[:len(good)-4],
		"padded":                  good + "=",
		"with a byte more":        good + "A",
		"alg none":                none + "." + part[1] + ".",
		"header with a typ":       b64.EncodeToString([]byte(strings.Replace(string(header), "{", `{"typ":"JWT",`, 1))) + "." + part[1] + "." + part[2],
		"payload that is no JSON": part[0] + "." + b64.EncodeToString([]byte("garbage")) + "." + part[2],
		"garbage":                 "garbage",
		"JSON form":               `{"protected":"` + part[0] + `","payload":"` + part[1] + `","signature":"` + part[2] + `"}`,
		"oversized":               part[0] + "." + strings.Repeat("A", 16<<10) + "." + part[2],
	} {
		t.Run(name, func(t *testing.T) {
			got := harness.NewClient(t).Get(t, srv.URL+"/run", "X-Webtask-Token: "+token)
			var answer struct {
				Code    int
				Message string
				ReqID   string `json:"req_id"`
			}
			got.JSON(t, &answer)
			if got.Status != 401 || answer.Code != 401 || answer.Message == "" || answer.ReqID == "" {
				t.Errorf("got %d %s", got.Status, got.Body)
			}
			if strings.Contains(got.Body, apiKey) || len(token) > 20 && strings.Contains(got.Body, token) {
				t.Errorf("the answer repeats the token or its secret: %s", got.Body)
			}
		})
	}
	harness.NewClient(t).Get(t, srv.URL+"/run", harness.Bearer(good)).Want(t, 200, `"you"`)
}

func TestTokenOfToday(t *testing.T) {
	o := startOrigin(t)
	srv := startTokens(t, harness.FileStore(), o)
	c := harness.NewClient(t)
	expired := srv.Token(t, harness.Claims{URL: o.URL + "/hello.js", More: []string{"--expires", "1s"}})
	harness.Until(t, "the token expires", func() bool {
		return c.Get(t, srv.URL+"/run", harness.Bearer(expired)).Status == 401
	})
	c.Get(t, srv.URL+"/run", harness.Bearer(expired)).Want(t, 401, "expired")
}

func TestRevocationReachesEveryEdge(t *testing.T) {
	store, o, dir := harness.RedisStore(t), startOrigin(t), t.TempDir()
	one := harness.Start(t, harness.Config{Caddyfile: tokenSite, Store: store, Dir: dir, Env: []string{"ORIGIN=" + o.URL, "ORIGIN_HOST=" + o.host()}})
	two := harness.Start(t, harness.Config{Caddyfile: tokenSite, Store: store, Dir: dir, Env: []string{"ORIGIN=" + o.URL, "ORIGIN_HOST=" + o.host()}})
	c := harness.NewClient(t)
	token := one.Token(t, harness.Claims{URL: o.URL + "/hello.js"})
	for _, srv := range []*harness.Server{one, two} {
		c.Get(t, srv.URL+"/run", harness.Bearer(token)).Want(t, 200, "")
	}
	one.Command(t, "webtask", "token", "revoke", "--address", strings.TrimPrefix(one.Admin, "http://"), token)
	c.Get(t, one.URL+"/run", harness.Bearer(token)).Want(t, 401, "revoked")
	harness.Until(t, "the other edge refuses the token", func() bool {
		return c.Get(t, two.URL+"/run", harness.Bearer(token)).Status == 401
	})
	one.Restart(t)
	c.Get(t, one.URL+"/run", harness.Bearer(token)).Want(t, 401, "revoked")
}

func TestForeignTaskIsKeptAtADistance(t *testing.T) {
	o := startOrigin(t)
	srv := startTokens(t, harness.FileStore(), o)
	c := harness.NewClient(t)

	token := srv.Token(t, harness.Claims{URL: o.URL + "/curious.js"})
	got := c.Get(t, srv.URL+"/run/path?a=1&key="+token, "Cookie: site=private", "X-Fine: yes").Want(t, 200, `"x-fine":"yes"`)
	for _, leak := range []string{"site=private", "cookie"} {
		if strings.Contains(got.Body, leak) {
			t.Errorf("the task saw %q: %s", leak, got.Body)
		}
	}
	if !strings.Contains(got.Body, "/run/path?a=1") {
		t.Errorf("the task did not see its URL: %s", got.Body)
	}

	pushy := c.Get(t, srv.URL+"/run", harness.Bearer(srv.Token(t, harness.Claims{URL: o.URL + "/pushy.js"}))).Want(t, 200, "script")
	for _, name := range []string{"Set-Cookie", "Refresh", "Clear-Site-Data", "Strict-Transport-Security", "X-Accel-Redirect"} {
		if pushy.Header.Get(name) != "" {
			t.Errorf("a foreign task set %s: %q", name, pushy.Header.Get(name))
		}
	}
	for name, want := range map[string]string{
		"X-Mine":                  "kept",
		"X-Content-Type-Options":  "nosniff",
		"Content-Security-Policy": "sandbox allow-scripts allow-forms allow-popups",
	} {
		if got := pushy.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	c.Get(t, srv.URL+"/run", harness.Bearer(token), "Service-Worker: script").Want(t, 403, "")

	preflight := c.Do(t, http.MethodOptions, srv.URL+"/run", "", "Origin: https://elsewhere.example",
		"Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization")
	if preflight.Header.Get("Access-Control-Allow-Origin") != "*" || preflight.Header.Get("Access-Control-Allow-Credentials") != "" {
		t.Errorf("the preflight was answered %d %v", preflight.Status, preflight.Header)
	}
}
