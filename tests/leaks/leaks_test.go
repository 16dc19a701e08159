// Package leaks looks for secrets in everything that leaves the edge by another
// way than the answer to its caller: logs, metrics, traces, configuration
// dumps, files.
package leaks

import (
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/webtask-edge/caddy-webtask/tests/harness"
)

const site = `
{
	debug
	log {
		level DEBUG
		format webtask
	}
	metrics
	webtask {
		isolation none
		{$STORE}
		code_allow {$ORIGIN}/*
		egress allow {$ORIGIN_HOST}
	}
}

http://localhost:{$PORT} {
	log {
		format webtask
	}
	tracing {
		span edge
	}
	webtask /run*
	webtask /route {
		code route.js
		secret ROUTE_SECRET {env.ROUTE_SECRET}
	}
	webtask /broken {
		code broken.js
		secret ROUTE_SECRET {env.ROUTE_SECRET}
	}
	respond "next"
}
`

// Secrets that must stay inside. Each is a string nothing else contains.
const (
	routeSecret = "rOuTe-sEcReT-41x9"
	tokenSecret = "tOkEn-sEcReT-77q3"
	bearer      = "sOmeOne-eLses-bEarer-55"
)

func TestNothingLeaks(t *testing.T) {
	harness.EachStore(t, func(t *testing.T, store harness.Store) {
		origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/good.js":
				fmt.Fprint(w, `export default { async fetch(request, env, ctx) {
					await ctx.session.set("note", "in the session");
					await fetch(env.API, { headers: { Authorization: "Bearer " + env.API_KEY } });
					console.log("a line of the task's own");
					return new Response("ran");
				} }`)
			case "/throws.js":
				fmt.Fprint(w, `export default () => { throw new Error("thrown on purpose") }`)
			case "/syntax.js":
				fmt.Fprint(w, `export default () => { return new Response(; }`)
			}
		}))
		t.Cleanup(origin.Close)
		srv := harness.Start(t, harness.Config{
			Caddyfile: site, Store: store,
			Files: map[string]string{
				"route.js":  `export default (request, env) => new Response("route " + env.ROUTE_SECRET.length)`,
				"broken.js": `export default (request, env) => env.ROUTE_SECRET.nothing.there`,
			},
			Env: []string{
				"ORIGIN=" + origin.URL, "ORIGIN_HOST=" + origin.Listener.Addr().String(),
				"ROUTE_SECRET=" + routeSecret, "OTEL_TRACES_EXPORTER=console",
			},
		})

		hidden := map[string]string{
			"a route's secret": routeSecret,
			"a token's secret": tokenSecret,
			"another's bearer": bearer,
			"a basic password": "YW5uOnBhc3N3b3Jk",
		}
		issue := func(path string) string {
			return srv.Token(t, harness.Claims{
				URL:     origin.URL + path,
				Secrets: map[string]string{"API_KEY": tokenSecret},
				Params:  map[string]string{"API": origin.URL + "/api"},
			})
		}
		good, throws, syntax, missing, revoked := issue("/good.js"), issue("/throws.js"), issue("/syntax.js"), issue("/missing.js"), issue("/good.js?again")
		tampered := good[:len(good)-8] + "AAAAAAAA"
		for name, token := range map[string]string{
			"good": good, "throws": throws, "syntax": syntax, "missing": missing, "revoked": revoked, "tampered": tampered,
		} {
			// What identifies a token without being one (its header, its id) may
			// be logged; its signature and its secrets may not.
			parts := strings.Split(token, ".")
			hidden["the signature of the token "+name] = parts[2]
			hidden["the claims of the token "+name] = parts[1]
		}

		c := harness.NewClient(t)
		for _, token := range []string{good, throws, syntax, missing, tampered, good[:len(good)-1]} {
			for _, send := range []func() harness.Answer{
				func() harness.Answer { return c.Get(t, srv.URL+"/run", harness.Bearer(token)) },
				func() harness.Answer { return c.Get(t, srv.URL+"/run", "X-Webtask-Token: "+token) },
				func() harness.Answer { return c.Get(t, srv.URL+"/run?a=b&key="+token) },
				func() harness.Answer { return c.Get(t, srv.URL+"/run?key="+token, "X-Webtask-Token: "+token) },
				func() harness.Answer { return c.Get(t, srv.URL+"/elsewhere?key="+token) },
				func() harness.Answer { return c.Get(t, srv.URL+"/run", "Referer: "+srv.URL+"/run?key="+token) },
			} {
				answer := send()
				for what, secret := range hidden {
					if strings.Contains(answer.Body, secret) {
						t.Errorf("an answer shows %s: %d %s", what, answer.Status, answer.Body)
					}
				}
			}
		}
		srv.Command(t, "webtask", "token", "revoke", "--address", strings.TrimPrefix(srv.Admin, "http://"), revoked)
		c.Get(t, srv.URL+"/run", harness.Bearer(revoked)).Want(t, 401, "")
		c.Get(t, srv.URL+"/route", "Authorization: Basic YW5uOnBhc3N3b3Jk").Want(t, 200, "route 17")
		c.Get(t, srv.URL+"/broken").Want(t, 500, "")
		c.Get(t, srv.URL+"/run", "Authorization: Bearer "+bearer).Want(t, 200, "next")
		for _, cookie := range c.Cookies(t, srv.URL) {
			if strings.Contains(cookie.Name, "webtask_session") {
				hidden["the secret of the cookie "+cookie.Name] = cookie.Value
			}
		}

		dumps := map[string]string{
			"/metrics":         srv.AdminGet(t, "/metrics"),
			"/config/":         srv.AdminGet(t, "/config/"),
			"/webtask/pools":   srv.AdminGet(t, "/webtask/pools"),
			"adapted JSON":     srv.Command(t, "adapt", "--config", filepath.Join(srv.Dir, "Caddyfile"), "--adapter", "caddyfile"),
			"/debug/pprof":     srv.AdminGet(t, "/debug/pprof/goroutine?debug=2"),
			"token inspect":    srv.Command(t, "webtask", "token", "inspect", "--config", filepath.Join(srv.Dir, "Caddyfile"), good),
			"reverse upstream": srv.AdminGet(t, "/reverse_proxy/upstreams"),
		}
		srv.Stop(t) // which flushes the traces
		dumps["logs and traces"] = srv.Log.String()
		for path, content := range files(t, srv.Dir) {
			dumps["file "+path] = content
		}
		for dump, text := range dumps {
			for what, secret := range hidden {
				if strings.Contains(text, secret) {
					t.Errorf("%s shows %s:\n%s", dump, what, around(text, secret))
				}
			}
		}

		// The grep above must have had something to look at.
		for _, sign := range []string{"handled request", `"Name":"edge"`, "thrown on purpose", "a line of the task's own", "REDACTED"} {
			if !strings.Contains(dumps["logs and traces"], sign) {
				t.Errorf("the log of this run lacks %q: the test looks in the wrong place", sign)
			}
		}
		for dump, sign := range map[string]string{"/metrics": "caddy_webtask_", "/config/": "env.ROUTE_SECRET"} {
			if !strings.Contains(dumps[dump], sign) {
				t.Errorf("%s lacks %q: the test looks in the wrong place", dump, sign)
			}
		}
	})
}

// files returns what the server wrote, but for the keyring, whose purpose is
// to hold keys.
func files(t testing.TB, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || strings.Contains(path, "keys") {
			return err
		}
		data, err := os.ReadFile(path)
		found[strings.TrimPrefix(path, dir)] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// around is the neighbourhood of the first occurrence of part.
func around(text, part string) string {
	at := strings.Index(text, part)
	return text[max(0, at-300):min(len(text), at+len(part)+100)]
}
