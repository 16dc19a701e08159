// Package e2e tests the edge as users meet it: the binary they build, real
// sockets, real stores.
package e2e

import (
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/webtask-edge/caddy-webtask/tests/harness"
)

const sessionSite = `
{
	webtask {
		isolation none
		{$STORE}
	}
}

http://localhost:{$PORT} {
	webtask /s/* {
		code session.js
	}
	webtask /other/* {
		code session.js
		container other
	}
	webtask /plain {
		code plain.js
	}
}
`

func testdata(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func startSessions(t testing.TB, store harness.Store) *harness.Server {
	t.Helper()
	return harness.Start(t, harness.Config{
		Caddyfile: sessionSite,
		Store:     store,
		Files: map[string]string{
			"session.js": testdata(t, "session.js"),
			"plain.js":   `module.exports = cb => cb(null, "no session here")`,
		},
	})
}

// sessionSuite is everything a session promises; every store must pass it.
func sessionSuite(t *testing.T, store harness.Store) {
	srv := startSessions(t, store)
	do := func(t testing.TB, c *harness.Client, action, body string) harness.Answer {
		t.Helper()
		return c.Do(t, http.MethodPost, srv.URL+"/s/"+action, body)
	}

	t.Run("cookie comes with the first write", func(t *testing.T) {
		c := harness.NewClient(t)
		if got := do(t, c, "get?key=n", "").Want(t, 200, `{"value":null}`); got.Header.Get("Set-Cookie") != "" {
			t.Errorf("a read set the cookie %q", got.Header.Get("Set-Cookie"))
		}
		first := do(t, c, "add?key=n", "").Want(t, 200, `{"value":1}`)
		cookie := regexp.MustCompile(`^webtask_session=[A-Za-z0-9_-]{22}; `)
		if got := first.Header.Get("Set-Cookie"); !cookie.MatchString(got) || !strings.Contains(got, "HttpOnly") ||
			!strings.Contains(got, "SameSite=Lax") || !strings.Contains(got, "Path=/") || strings.Contains(got, "Secure") {
			t.Errorf("the first write set the cookie %q", got)
		}
		if got := first.Header.Get("Cache-Control"); got != "private, no-store" {
			t.Errorf("an answer with a session has Cache-Control %q", got)
		}
		if got := do(t, c, "add?key=n", "").Want(t, 200, `{"value":2}`); got.Header.Get("Set-Cookie") != "" {
			t.Errorf("the second write set the cookie %q", got.Header.Get("Set-Cookie"))
		}
	})

	t.Run("any JSON value is kept", func(t *testing.T) {
		c := harness.NewClient(t)
		for _, value := range []string{
			`null`, `false`, `0`, `""`, `"späße"`, `[1,[2,{"a":null}]]`, `{"a":{"b":"c"}}`,
			`"` + strings.Repeat("compressible ", 4000) + `"`,
		} {
			do(t, c, "set?key=v", value).Want(t, 200, `true`)
			do(t, c, "get?key=v", "").Want(t, 200, `{"value":`+value+`}`)
		}
		do(t, c, "set?key=w", `1`).Want(t, 200, `true`)
		do(t, c, "delete?key=v", "").Want(t, 200, `true`)
		do(t, c, "entries", "").Want(t, 200, `{"value":{"w":1}}`)
	})

	t.Run("concurrent requests lose nothing", func(t *testing.T) {
		const clients, each = 8, 15
		c := harness.NewClient(t)
		do(t, c, "set?key=n", "0").Want(t, 200, "true")
		var wg sync.WaitGroup
		for i := range clients {
			wg.Go(func() {
				for range each {
					if got, err := c.Try(http.MethodPost, srv.URL+"/s/add?key=n", ""); err != nil || got.Status != 200 {
						t.Errorf("add: %v %+v", err, got)
					}
				}
				key := string(rune('a' + i))
				if got, err := c.Try(http.MethodPost, srv.URL+"/s/set?key="+key, "1"); err != nil || got.Status != 200 {
					t.Errorf("set: %v %+v", err, got)
				}
			})
		}
		wg.Wait()
		do(t, c, "get?key=n", "").Want(t, 200, `{"value":120}`)
		var all struct{ Value map[string]int }
		do(t, c, "entries", "").JSON(t, &all)
		if len(all.Value) != clients+1 {
			t.Errorf("of %d keys set at once, the session has %v", clients, all.Value)
		}
	})

	t.Run("regenerate keeps the data and kills the old cookie", func(t *testing.T) {
		c, thief := harness.NewClient(t), harness.NewClient(t)
		stolen := "Cookie: " + cookieOf(do(t, c, "set?key=user", `"ann"`))
		thief.Get(t, srv.URL+"/s/get?key=user", stolen).Want(t, 200, `"ann"`)
		if got := do(t, c, "regenerate", "").Want(t, 200, "true"); cookieOf(got) == "" || "Cookie: "+cookieOf(got) == stolen {
			t.Errorf("regenerate set the cookie %q", got.Header.Get("Set-Cookie"))
		}
		do(t, c, "get?key=user", "").Want(t, 200, `"ann"`)
		thief.Get(t, srv.URL+"/s/get?key=user", stolen).Want(t, 200, `{"value":null}`)
	})

	t.Run("destroy ends the session", func(t *testing.T) {
		c := harness.NewClient(t)
		old := "Cookie: " + cookieOf(do(t, c, "set?key=user", `"ann"`))
		do(t, c, "destroy", "").Want(t, 200, "true")
		do(t, c, "get?key=user", "").Want(t, 200, `{"value":null}`)
		harness.NewClient(t).Get(t, srv.URL+"/s/get?key=user", old).Want(t, 200, `{"value":null}`)
	})

	t.Run("a cookie is never adopted", func(t *testing.T) {
		c := harness.NewClient(t)
		mine := cookieOf(do(t, c, "set?key=user", `"ann"`))
		forged := "webtask_session=AAAAAAAAAAAAAAAAAAAAAA"
		for name, cookie := range map[string]string{
			"forged":            forged,
			"doubled":           mine + "; " + forged,
			"doubled, same":     mine + "; " + mine,
			"10 kB":             "webtask_session=" + strings.Repeat("A", 10<<10),
			"empty":             "webtask_session=",
			"another's letters": "webtask_session=../../../../etc/pas",
		} {
			other := harness.NewClient(t)
			got := other.Get(t, srv.URL+"/s/get?key=user", "Cookie: "+cookie)
			if got.Status != 200 || strings.Contains(got.Body, "ann") {
				t.Errorf("%s: got %d %s", name, got.Status, got.Body)
			}
			written := other.Do(t, http.MethodPost, srv.URL+"/s/add?key=n", "", "Cookie: "+cookie)
			if strings.Contains(cookie, cookieOf(written)) || written.Status != 200 {
				t.Errorf("%s: a write answered %d and the cookie %q", name, written.Status, written.Header.Get("Set-Cookie"))
			}
		}
	})

	t.Run("containers share nothing", func(t *testing.T) {
		c := harness.NewClient(t)
		mine := cookieOf(do(t, c, "set?key=user", `"ann"`))
		c.Get(t, srv.URL+"/other/get?key=user").Want(t, 200, `{"value":null}`)
		_, secret, _ := strings.Cut(mine, "=")
		theirs := cookieOf(c.Do(t, http.MethodPost, srv.URL+"/other/add?key=n", ""))
		name, _, _ := strings.Cut(theirs, "=")
		harness.NewClient(t).Get(t, srv.URL+"/other/get?key=user", "Cookie: "+name+"="+secret).Want(t, 200, `{"value":null}`)
	})

	t.Run("the public id is not the secret", func(t *testing.T) {
		c := harness.NewClient(t)
		do(t, c, "id", "").Want(t, 200, `{"value":null}`)
		cookie := cookieOf(do(t, c, "set?key=n", "1"))
		_, secret, _ := strings.Cut(cookie, "=")
		var id struct{ Value string }
		do(t, c, "id", "").JSON(t, &id)
		if id.Value == "" || strings.Contains(id.Value, secret) {
			t.Errorf("the public id is %q", id.Value)
		}
	})

	t.Run("what cannot be stored is refused", func(t *testing.T) {
		c := harness.NewClient(t)
		for _, what := range []string{"bigint", "function", "cycle"} {
			got := do(t, c, "unstorable?key="+what, "").Want(t, 500, `TypeError`)
			if !strings.Contains(got.Body, "bad") || got.Header.Get("Set-Cookie") != "" {
				t.Errorf("%s: the answer does not name the key, or made a session: %s", what, got.Body)
			}
		}
	})

	t.Run("a failed request writes nothing", func(t *testing.T) {
		c := harness.NewClient(t)
		do(t, c, "set?key=a", "1").Want(t, 200, "true")
		do(t, c, "throw?key=a", "").Want(t, 500, "thrown after a write")
		do(t, c, "get?key=a", "").Want(t, 200, `{"value":1}`)
	})

	t.Run("state outlives the server", func(t *testing.T) {
		c := harness.NewClient(t)
		do(t, c, "set?key=kept", `"yes"`).Want(t, 200, "true")
		srv.Restart(t)
		do(t, c, "get?key=kept", "").Want(t, 200, `"yes"`)
	})
}

// cookieOf returns name=value of the cookie that an answer sets, or "".
func cookieOf(a harness.Answer) string {
	cookie, _, _ := strings.Cut(a.Header.Get("Set-Cookie"), ";")
	return cookie
}

func TestSession(t *testing.T) {
	harness.EachStore(t, sessionSuite)
}

func TestSessionOnCluster(t *testing.T) {
	sessionSuite(t, harness.ClusterStore(t))
}

func TestSessionOnSentinel(t *testing.T) {
	store, sentinel := harness.SentinelStore(t)
	sessionSuite(t, store)

	t.Run("a failover is survived", func(t *testing.T) {
		srv := startSessions(t, store)
		c := harness.NewClient(t)
		c.Do(t, http.MethodPost, srv.URL+"/s/set?key=a", "1").Want(t, 200, "true")
		sentinel.Failover()
		harness.Until(t, "the new master serves the session", func() bool {
			got := c.Get(t, srv.URL+"/s/get?key=a")
			if got.Status == 503 && got.Header.Get("Retry-After") == "" {
				t.Errorf("503 without Retry-After: %s", got.Body)
			}
			return got.Status == 200 && got.Body == `{"value":1}`
		})
	})
}

func TestStoreDown(t *testing.T) {
	store := harness.RedisStore(t)
	srv := startSessions(t, store)
	c := harness.NewClient(t)
	c.Do(t, http.MethodPost, srv.URL+"/s/set?key=a", "1").Want(t, 200, "true")

	store.Redis.Kill()
	got := c.Get(t, srv.URL+"/s/get?key=a").Want(t, 503, "session store")
	if got.Header.Get("Retry-After") == "" {
		t.Errorf("503 without Retry-After: %v", got.Header)
	}
	if strings.Contains(got.Body, store.Redis.Addr()) {
		t.Errorf("the answer names the store's address: %s", got.Body)
	}
	c.Get(t, srv.URL+"/plain").Want(t, 200, "no session here")

	store.Redis.Restart()
	harness.Until(t, "sessions work again", func() bool {
		return c.Do(t, http.MethodPost, srv.URL+"/s/add?key=b", "").Status == 200
	})
}
