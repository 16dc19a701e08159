package edge

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/tests/redistest"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

// visitor is a client that keeps its session cookie.
type visitor struct {
	edge   *Edge
	plan   *plan
	secure bool
	cookie string // of the session; empty: none
}

func newVisitor(t *testing.T, sessions SessionStore, container string) *visitor {
	t.Helper()
	task := &webtask.Task{Container: container, Limits: withDefaults(webtask.Limits{}, DefaultLimits)}
	e := &Edge{opts: Options{Sessions: sessions, Now: time.Now, Rand: rand.Reader, Observer: nullObserver{}}}
	p, err := e.newPlan(task, &Route{})
	if err != nil {
		t.Fatal(err)
	}
	return &visitor{edge: e, plan: p}
}

// visit makes the next request of the visitor.
func (v *visitor) visit() *call {
	c := &call{edge: v.edge, plan: v.plan, secure: v.secure, header: http.Header{}}
	if v.cookie != "" {
		c.header["Cookie"] = []string{c.cookieName() + "=" + v.cookie}
	}
	return c
}

// answer commits the writes of a request and takes its cookie.
func (v *visitor) answer(t *testing.T, c *call, change *webtask.SessionChange) (setCookie string) {
	t.Helper()
	if err := c.commitSession(t.Context(), change); err != nil {
		t.Fatal(err)
	}
	_, _, setCookie = c.sessionOutcome()
	if setCookie != "" {
		parsed, err := http.ParseSetCookie(setCookie)
		if err != nil {
			t.Fatal(err)
		}
		v.cookie = parsed.Value
	}
	return setCookie
}

func set(pairs ...string) *webtask.SessionChange {
	change := &webtask.SessionChange{Set: map[string][]byte{}}
	for i := 0; i < len(pairs); i += 2 {
		change.Set[pairs[i]] = []byte(pairs[i+1])
	}
	return change
}

func load(t *testing.T, c *call) *jsruntime.Session {
	t.Helper()
	session, err := c.LoadSession(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return session
}

func value(s *jsruntime.Session, key string) string { return string(s.Data.Entries[key].Value) }

func TestSessionLife(t *testing.T) {
	onBothStores(t, func(t *testing.T, s store) {
		v := newVisitor(t, s, "@site")

		// Reading makes no session.
		c := v.visit()
		if got := load(t, c); got.ID != "" {
			t.Fatalf("a session before the first write: %q", got.ID)
		}
		if cookie := v.answer(t, c, nil); cookie != "" {
			t.Fatalf("a cookie before the first write: %s", cookie)
		}

		// The first write does, and its id is known before.
		c = v.visit()
		id := c.NewSessionID()
		if cookie := v.answer(t, c, set("n", "1")); !strings.HasPrefix(cookie, "webtask_session=") {
			t.Fatalf("cookie %q", cookie)
		}
		c = v.visit()
		if got := load(t, c); got.ID != id || value(got, "n") != "1" {
			t.Fatalf("session %q holds %q, want %q", got.ID, value(got, "n"), id)
		}
		if cookie := v.answer(t, c, set("n", "2")); cookie != "" {
			t.Errorf("the cookie was set again: %s", cookie)
		}

		// Regenerating moves the data; the old value is dead at once.
		old := v.cookie
		c = v.visit()
		change := set("user", `"ann"`)
		change.MoveTo = jsruntime.MoveToNew
		if cookie := v.answer(t, c, change); cookie == "" || v.cookie == old {
			t.Fatal("regenerating set no new cookie")
		}
		c = v.visit()
		got := load(t, c)
		if got.ID == id || value(got, "n") != "2" || value(got, "user") != `"ann"` {
			t.Fatalf("after regenerating: %q, %v", got.ID, got.Data.Entries)
		}
		stolen := &visitor{edge: v.edge, plan: v.plan, cookie: old}
		if got := load(t, stolen.visit()); got.ID != "" {
			t.Error("the old cookie still opens the session")
		}

		// Destroying expires the cookie and the data.
		last := v.cookie
		if cookie := v.answer(t, c, &webtask.SessionChange{Destroy: true}); !strings.Contains(cookie, "Max-Age=0") {
			t.Errorf("destroying answered the cookie %q", cookie)
		}
		dead := &visitor{edge: v.edge, plan: v.plan, cookie: last}
		if got := load(t, dead.visit()); got.ID != "" {
			t.Error("the session outlived its end")
		}
	})
}

func TestSessionOfUnknownCookieIsNotAdopted(t *testing.T) {
	onBothStores(t, func(t *testing.T, s store) {
		for name, read := range map[string]bool{"read first": true, "written blindly": false} {
			t.Run(name, func(t *testing.T) {
				v := newVisitor(t, s, "acme")
				v.cookie = cookieA
				c := v.visit()
				if read {
					if got := load(t, c); got.ID != "" {
						t.Fatalf("session %q", got.ID)
					}
				}
				if cookie := v.answer(t, c, set("n", "1")); cookie == "" || v.cookie == cookieA {
					t.Fatalf("the client's value was adopted: %q", cookie)
				}
				if got := load(t, v.visit()); value(got, "n") != "1" {
					t.Errorf("session holds %v", got.Data.Entries)
				}
			})
		}
	})
}

func TestSessionsOfContainersAreApart(t *testing.T) {
	s := fileStore(t)
	acme, beta := newVisitor(t, s, "acme"), newVisitor(t, s, "beta")
	acme.answer(t, acme.visit(), set("n", "1"))
	if acme.visit().cookieName() == beta.visit().cookieName() {
		t.Fatal("two tenants share a cookie")
	}
	beta.cookie = acme.cookie
	if got := load(t, beta.visit()); got.ID != "" {
		t.Error("the cookie of one container opens a session of another")
	}
}

func TestSessionCookieOverTLS(t *testing.T) {
	s := fileStore(t)
	v := newVisitor(t, s, "@site")
	v.secure = true
	cookie := v.answer(t, v.visit(), set("n", "1"))
	if !strings.HasPrefix(cookie, "__Host-webtask_session=") || !strings.HasSuffix(cookie, "; Secure") {
		t.Errorf("cookie %q", cookie)
	}
	// What was set over plain HTTP, perhaps by somebody else, counts for
	// nothing on TLS.
	c := v.visit()
	c.header["Cookie"] = []string{"webtask_session=" + v.cookie}
	if got := load(t, c); got.ID != "" {
		t.Error("a cookie without the prefix was read")
	}
}

func TestSessionAfterTheHead(t *testing.T) {
	onBothStores(t, func(t *testing.T, s store) {
		v := newVisitor(t, s, "acme")
		c := v.visit()
		v.answer(t, c, nil)
		if _, err := c.SaveSession(t.Context(), set("n", "1")); !errors.Is(err, jsruntime.ErrSessionCommitted) {
			t.Errorf("a first write after the head: %v", err)
		}
		c = v.visit()
		v.answer(t, c, set("n", "1"))
		if _, err := c.SaveSession(t.Context(), set("n", "2")); err != nil {
			t.Errorf("a later write: %v", err)
		}
		if _, err := c.SaveSession(t.Context(), &webtask.SessionChange{MoveTo: jsruntime.MoveToNew}); !errors.Is(err, jsruntime.ErrSessionCommitted) {
			t.Errorf("regenerating after the head: %v", err)
		}
		if got := load(t, v.visit()); value(got, "n") != "2" {
			t.Errorf("session holds %v", got.Data.Entries)
		}
	})
}

func TestSessionConflictReturnsWhatIsThere(t *testing.T) {
	onBothStores(t, func(t *testing.T, s store) {
		v := newVisitor(t, s, "acme")
		v.answer(t, v.visit(), set("n", "1"))
		c := v.visit()
		read := load(t, c)
		v.answer(t, v.visit(), set("n", "2"))
		change := set("n", "9")
		change.Expect = map[string]uint64{"n": read.Data.Entries["n"].Version}
		now, err := c.SaveSession(t.Context(), change)
		if !errors.Is(err, webtask.ErrSessionConflict) || now == nil || value(now, "n") != "2" {
			t.Fatalf("got %v, %v", now, err)
		}
		change.Expect["n"] = now.Data.Entries["n"].Version
		if _, err := c.SaveSession(t.Context(), change); err != nil {
			t.Fatal(err)
		}
		if got := load(t, v.visit()); value(got, "n") != "9" {
			t.Errorf("session holds %v", got.Data.Entries)
		}
	})
}

// A session that another request ended is not made anew from the writes of
// this one: what it held would be lost without a word.
func TestSessionEndedMeanwhile(t *testing.T) {
	s := fileStore(t)
	v := newVisitor(t, s, "acme")
	v.answer(t, v.visit(), set("n", "1"))
	c := v.visit()
	load(t, c)
	other := &visitor{edge: v.edge, plan: v.plan, cookie: v.cookie}
	other.answer(t, other.visit(), &webtask.SessionChange{Destroy: true})
	err := c.commitSession(t.Context(), set("m", "1"))
	if !errors.Is(err, webtask.ErrSessionNotFound) {
		t.Fatalf("got %v", err)
	}
	if got := AnswerFor(err).Status; got != http.StatusConflict {
		t.Errorf("answers %d", got)
	}
	if err := c.commitSession(t.Context(), &webtask.SessionChange{Destroy: true}); err != nil {
		t.Errorf("destroying what is gone: %v", err)
	}
}

func TestSessionBounds(t *testing.T) {
	onBothStores(t, func(t *testing.T, s store) {
		v := newVisitor(t, s, "acme")
		v.plan.task.Limits.SessionSize = 100
		v.plan.task.Limits.Sessions = 1
		err := v.visit().commitSession(t.Context(), set("n", `"`+strings.Repeat("x", 100)+`"`))
		if !errors.Is(err, webtask.ErrSessionTooLarge) || AnswerFor(err).Status != http.StatusRequestEntityTooLarge {
			t.Errorf("too large: %v", err)
		}
		v.answer(t, v.visit(), set("n", "1"))
		another := &visitor{edge: v.edge, plan: v.plan}
		err = another.visit().commitSession(t.Context(), set("n", "1"))
		if answer := AnswerFor(err); !errors.Is(err, webtask.ErrSessionQuota) || answer.Status != http.StatusServiceUnavailable || answer.RetryAfter <= 0 {
			t.Errorf("too many: %v", err)
		}
	})
}

func TestSessionStoreDown(t *testing.T) {
	server := redistest.Start(t)
	v := newVisitor(t, redisStore(t, server), "acme")
	v.answer(t, v.visit(), set("n", "1"))
	server.Kill()
	for name, do := range map[string]func(c *call) error{
		"load":   func(c *call) error { _, err := c.LoadSession(t.Context()); return err },
		"commit": func(c *call) error { return c.commitSession(t.Context(), set("n", "2")) },
	} {
		err := do(v.visit())
		if answer := AnswerFor(err); !errors.Is(err, webtask.ErrStoreUnavailable) || answer.Status != 503 || answer.RetryAfter <= 0 || answer.Outcome != OutcomeStoreDown {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := v.visit().commitSession(t.Context(), nil); err != nil {
		t.Errorf("a request that does not use its session: %v", err)
	}
	none := newVisitor(t, nil, "acme")
	if err := none.visit().commitSession(t.Context(), set("n", "1")); !errors.Is(err, webtask.ErrStoreUnavailable) {
		t.Errorf("an edge without a store: %v", err)
	}
}

func TestSessionOfEndedRequest(t *testing.T) {
	v := newVisitor(t, fileStore(t), "acme")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := v.visit()
	if _, err := c.LoadSession(ctx); !errors.Is(err, jsruntime.ErrRequestEnded) {
		t.Errorf("loading: %v", err)
	}
	if _, err := c.SaveSession(ctx, set("n", "1")); !errors.Is(err, jsruntime.ErrRequestEnded) {
		t.Errorf("saving: %v", err)
	}
	if _, err := c.Fetch(ctx, &jsruntime.FetchRequest{Method: "GET", URL: "http://x.test/"}); !errors.Is(err, jsruntime.ErrRequestEnded) {
		t.Errorf("fetching: %v", err)
	}
}
