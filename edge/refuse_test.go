package edge

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/webtask-edge/caddy-webtask/jsruntime/source"
	"github.com/webtask-edge/caddy-webtask/tests/redistest"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

// errorOf reads an error answer and checks its form.
func (st *stage) errorOf(t *testing.T, resp *http.Response, body string) answerBody {
	t.Helper()
	var answer answerBody
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatalf("answered %d, which is no JSON: %q", resp.StatusCode, body)
	}
	if got := resp.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type: %s", got)
	}
	if answer.Code != resp.StatusCode || answer.Message == "" || answer.RequestID == "" {
		t.Errorf("answered %d with %+v", resp.StatusCode, answer)
	}
	if source := resp.Header.Get("X-Wt-Response-Source"); source == "" {
		t.Error("X-Wt-Response-Source is missing")
	}
	if got := resp.Header.Get("Cache-Control"); got != "private, no-store" {
		t.Errorf("Cache-Control: %s", got)
	}
	retry := resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable
	if got := resp.Header.Get("Retry-After"); (got != "") != retry {
		t.Errorf("Retry-After: %q", got)
	}
	return answer
}

func TestServeRefusesTokens(t *testing.T) {
	st := newStage(t, fileStore(t), func(o *Options) { o.RunDomain = "*.run.test" })
	good := st.tokenFor(hello, nil)
	if resp, body := st.get("/", bearerHeader(good)); resp.StatusCode != 200 {
		t.Fatalf("a good token answers %d %s", resp.StatusCode, body)
	}
	otherRing, err := webtask.GenerateKeyring(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := otherRing.Issue(webtask.Claims{Container: "acme", URL: st.origin.url + "/code.js"}, webtask.IssueOptions{Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	expired, err := testRing().Issue(webtask.Claims{Container: "acme", URL: st.origin.url + "/code.js", Expires: time.Now().Add(-time.Minute)},
		webtask.IssueOptions{Now: time.Now().Add(-time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	segments := strings.Split(good, ".")
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"` + testRing().KeyIDs()[0] + `"}`))
	revoked := testToken(t, webtask.Claims{Container: "acme", URL: st.origin.url + "/code.js"})
	opened, err := testRing().Open(revoked, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := st.edge.opts.Revocations.Revoke(t.Context(), opened.Claims().ID, time.Time{}); err != nil {
		t.Fatal(err)
	}
	in := func(token string) http.Header { return http.Header{"X-Webtask-Token": {token}} }
	for name, test := range map[string]struct {
		target string
		header http.Header
		route  *Route
		status int
	}{
		"garbage":                 {header: in("garbage"), status: 401},
		"empty":                   {header: in(""), status: 401},
		"truncated":               {header: bearerHeader(good[:len(good)-5]), status: 401},
		"cut in the middle":       {header: bearerHeader(good[:100]), status: 401},
		"re-signed":               {header: bearerHeader(foreign), status: 401},
		"signature of another":    {header: bearerHeader(segments[0] + "." + segments[1] + "." + strings.Split(foreign, ".")[2]), status: 401},
		"re-encoded with padding": {header: bearerHeader(segments[0] + "." + segments[1] + "." + segments[2] + "="), status: 401},
		"alg none":                {header: in(none + "." + segments[1] + "."), status: 401},
		"JSON form":               {header: in(`{"protected":"` + segments[0] + `","payload":"` + segments[1] + `","signature":"` + segments[2] + `"}`), status: 401},
		"oversized":               {header: bearerHeader(good + strings.Repeat("A", 20<<10)), status: 401},
		"expired":                 {header: bearerHeader(expired), status: 401},
		"not yet valid":           {header: bearerHeader(st.tokenFor("", func(c *webtask.Claims) { c.NotBefore = time.Now().Add(time.Hour); c.URL = st.origin.url + "/code.js" })), status: 401},
		"revoked":                 {header: bearerHeader(revoked), status: 401},
		"doubled":                 {target: "/?key=" + good, header: bearerHeader(good), status: 400},
		"names no code":           {header: bearerHeader(st.tokenFor("", nil)), status: 403},
		"of another host":         {header: bearerHeader(st.tokenFor(hello, func(c *webtask.Claims) { c.Host = "other.test" })), status: 403},
		"of another container":    {header: bearerHeader(good), route: &Route{Container: "beta"}, status: 403},
		"at another's home":       {header: http.Header{"Authorization": {"Bearer " + good}, "Host": {"beta.run.test"}}, status: 403},
		"doubled on a route":      {target: "/?key=" + good, header: bearerHeader(good), route: &Route{Task: &webtask.Task{}}, status: 400},
	} {
		t.Run(name, func(t *testing.T) {
			st.route = &Route{}
			if test.route != nil {
				st.route = test.route
			}
			if test.target == "" {
				test.target = "/"
			}
			st.log.TakeAll()
			resp, body := st.get(test.target, test.header)
			if resp.StatusCode != test.status {
				t.Fatalf("answered %d %s", resp.StatusCode, body)
			}
			answer := st.errorOf(t, resp, body)
			if source := resp.Header.Get("X-Wt-Response-Source"); source != "proxy" {
				t.Errorf("from %s", source)
			}
			if got := resp.Header.Get("Www-Authenticate"); (got != "") != (test.status == 401) {
				t.Errorf("WWW-Authenticate: %s", got)
			}
			if got := st.log.FilterField(zap.String("request_id", answer.RequestID)).Len(); got != 1 || st.log.Len() != 1 {
				t.Errorf("%d log entries, %d of them of the request", st.log.Len(), got)
			}
			for _, part := range []string{good, segments[1], segments[2]} {
				if strings.Contains(body, part) {
					t.Error("the answer holds the token")
				}
			}
			st.noLeak(good, segments[1], segments[2])
			if got := st.lastInfo().Outcome; got != OutcomeTokenRefused {
				t.Errorf("outcome %s", got)
			}
		})
	}
}

func TestServeExpiresWhileCached(t *testing.T) {
	st := newStage(t, fileStore(t), nil)
	token := st.tokenFor(hello, func(c *webtask.Claims) { c.Expires = time.Now().Add(time.Hour) })
	if resp, _ := st.get("/", bearerHeader(token)); resp.StatusCode != 200 {
		t.Fatalf("answered %d", resp.StatusCode)
	}
	st.clock.advance(2 * time.Hour)
	if resp, _ := st.get("/", bearerHeader(token)); resp.StatusCode != 401 {
		t.Errorf("after it expired: %d", resp.StatusCode)
	}
}

func TestServeRevokesRunningToken(t *testing.T) {
	st := newStage(t, fileStore(t), nil)
	token := st.tokenFor(hello, nil)
	if resp, _ := st.get("/", bearerHeader(token)); resp.StatusCode != 200 {
		t.Fatalf("answered %d", resp.StatusCode)
	}
	if err := st.edge.opts.Revocations.Revoke(t.Context(), st.lastInfo().Task.ID, time.Time{}); err != nil {
		t.Fatal(err)
	}
	if resp, _ := st.get("/", bearerHeader(token)); resp.StatusCode != 401 {
		t.Errorf("after it was revoked: %d", resp.StatusCode)
	}
}

func TestServeRateLimits(t *testing.T) {
	onBothStores(t, func(t *testing.T, s store) {
		st := newStage(t, s, nil)
		limited := st.tokenFor(hello, func(c *webtask.Claims) { c.RateLimit.Token.Day = 2 })
		free := st.tokenFor(hello, nil)
		for i, want := range []int{200, 200, 429} {
			resp, body := st.get("/", bearerHeader(limited))
			if resp.StatusCode != want {
				t.Fatalf("request %d answered %d %s", i, resp.StatusCode, body)
			}
			if want == 429 {
				st.errorOf(t, resp, body)
			}
		}
		if got := st.lastInfo().Outcome; got != OutcomeRateLimited {
			t.Errorf("outcome %s", got)
		}
		if resp, _ := st.get("/", bearerHeader(free)); resp.StatusCode != 200 {
			t.Errorf("another token: %d", resp.StatusCode)
		}
	})
}

func TestServeStoreDown(t *testing.T) {
	server := redistest.Start(t)
	st := newStage(t, redisStore(t, server), nil)
	server.Kill()
	limited := st.tokenFor(hello, func(c *webtask.Claims) { c.RateLimit.Token.Day = 2 })
	plain := st.tokenFor(hello, nil)
	resp, body := st.get("/", bearerHeader(limited))
	if resp.StatusCode != 503 {
		t.Errorf("a token with a rate limit: %d %s", resp.StatusCode, body)
	}
	st.errorOf(t, resp, body)
	if resp, body := st.get("/", bearerHeader(plain)); resp.StatusCode != 200 {
		t.Errorf("a task without a session: %d %s", resp.StatusCode, body)
	}
	for name, code := range map[string]string{
		"read":  `export default { async fetch(r, e, ctx) { return new Response(await ctx.session.get("a")) } }`,
		"write": `export default { async fetch(r, e, ctx) { await ctx.session.set("a", 1); return new Response("ok") } }`,
	} {
		st.inline(code)
		resp, body := st.get("/", http.Header{"Cookie": {"webtask_session=" + cookieA}})
		if resp.StatusCode != 503 || resp.Header.Get("Set-Cookie") != "" {
			t.Errorf("%s: %d %s", name, resp.StatusCode, body)
			continue
		}
		st.errorOf(t, resp, body)
		if got := st.lastInfo().Outcome; got != OutcomeStoreDown {
			t.Errorf("%s: outcome %s", name, got)
		}
	}
}

func TestMatch(t *testing.T) {
	st := newStage(t, fileStore(t), nil)
	good := st.tokenFor(hello, nil)
	for name, test := range map[string]struct {
		token, container string
		want             bool
	}{
		"any container":     {good, "", true},
		"its container":     {good, "acme", true},
		"another container": {good, "beta", false},
		"broken":            {good[:80], "", false},
		"none":              {"", "", false},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		if test.token != "" {
			r.Header = bearerHeader(test.token)
		}
		if got, err := st.edge.Match(r, test.container); got != test.want || err != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	twice := httptest.NewRequest("GET", "/?key="+good, nil)
	twice.Header = bearerHeader(good)
	if got, err := st.edge.Match(twice, ""); got || err != nil {
		t.Errorf("two tokens: %v, %v", got, err)
	}
}

func TestServeWithoutVerifier(t *testing.T) {
	st := newStage(t, fileStore(t), func(o *Options) { o.Verifier = nil })
	if resp, _ := st.get("/", bearerHeader(st.tokenFor(hello, nil))); resp.StatusCode != 401 {
		t.Errorf("answered %d", resp.StatusCode)
	}
}

func TestNewRefuses(t *testing.T) {
	if _, err := New(Options{}); err == nil {
		t.Error("an edge without loader and runner was made")
	}
	st := newStage(t, fileStore(t), nil)
	options := st.edge.opts
	options.RunDomain = "run.test"
	if _, err := New(options); err == nil || !strings.Contains(err.Error(), "*.run.example.com") {
		t.Errorf("a run_domain without a wildcard: %v", err)
	}
	options = st.edge.opts
	options.Egress = nil
	if _, err := New(options); err == nil {
		t.Error("a transport without a policy was taken")
	}
	if err := AnswerFor(errors.New("x")); err.Status != 500 || strings.Contains(err.Message, "x ") {
		t.Errorf("an unknown error answers %d %s", err.Status, err.Message)
	}
}

// New code that finds no bundler is to be asked for again, and no fault of its
// author's.
func TestBusyBundlersAnswer(t *testing.T) {
	answer := AnswerFor(&source.BusyError{Name: "/site/tasks/hello.js"})
	if answer.Status != 503 || answer.RetryAfter <= 0 || answer.Outcome != OutcomeOverload || strings.Contains(answer.Message, "hello.js") {
		t.Errorf("answered %+v", answer)
	}
}
