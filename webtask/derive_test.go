package webtask

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func derive(t *testing.T, ring *Keyring, parent *Verified, c Claims) *Verified {
	t.Helper()
	token, err := ring.Derive(parent, c, issueOptions())
	if err != nil {
		t.Fatalf("Derive: %v", err)
	}
	return open(t, ring, token)
}

// tenant is a token that others are derived from.
func tenant() Claims {
	return Claims{
		Container: "acme,beta", Depth: 2, Names: []string{"hello", "bye"},
		NotBefore: now.Add(-time.Hour), Expires: now.Add(24 * time.Hour),
		Params: map[string]string{"plan": "free"}, Host: "run.example.com",
		RateLimit: RateLimits{Container: RateWindows{Second: 5, Day: 100}, Token: RateWindows{Second: 1}},
		Net:       []string{"*.example.com", "10.0.0.0/8", "db.internal:5432"},
		Limits:    Limits{Timeout: 10 * time.Second, Isolates: 4},
	}
}

func TestDeriveInherits(t *testing.T) {
	ring := newRing(t, 1)
	parent := open(t, ring, issue(t, ring, tenant()))
	child := derive(t, ring, parent, Claims{Depth: 9})
	grandchild := derive(t, ring, child, Claims{Container: "acme", Depth: 1, Secrets: map[string]string{"k": "v"}, URL: "https://example.com/x.js"})
	want := parent.Claims()
	for _, v := range []*Verified{child, grandchild} {
		got := v.Claims()
		if got.ID == want.ID || !got.Expires.Equal(want.Expires) || !got.NotBefore.Equal(want.NotBefore) ||
			!slices.Equal(got.Names, want.Names) || !slices.Equal(got.Net, want.Net) || got.Limits != want.Limits ||
			got.Host != want.Host || got.Params["plan"] != "free" || got.RateLimit.Container != want.RateLimit.Container {
			t.Errorf("child of\n%+v is\n%+v", want, got)
		}
		if got.RateLimit.Token != (RateWindows{}) {
			t.Error("the token's own rate limit was inherited")
		}
	}
	if child.Claims().Depth != 1 || grandchild.Claims().Depth != 0 {
		t.Errorf("depths are %d and %d, want 1 and 0", child.Claims().Depth, grandchild.Claims().Depth)
	}
	if child.Claims().Container != "acme,beta" {
		t.Errorf("ten is %s", child.Claims().Container)
	}
	chain := []string{grandchild.Claims().ID, parent.Claims().ID, child.Claims().ID}
	if !slices.Equal(grandchild.Chain(), chain) {
		t.Errorf("chain is %v, want %v", grandchild.Chain(), chain)
	}
}

func TestDeriveNarrows(t *testing.T) {
	ring := newRing(t, 1)
	parent := open(t, ring, issue(t, ring, tenant()))
	got := derive(t, ring, parent, Claims{
		Container: "beta", Names: []string{"bye"}, Name: "bye",
		NotBefore: now, Expires: now.Add(time.Minute), Net: []string{"api.example.com:443", "10.1.0.0/16"},
		Params: map[string]string{"plan": "free"}, RateLimit: RateLimits{Container: RateWindows{Second: 5, Hour: 3}},
		Limits: Limits{Timeout: time.Second, Memory: 1 << 20},
	}).Claims()
	if got.Container != "beta" || got.Limits != (Limits{Timeout: time.Second, Memory: 1 << 20, Isolates: 4}) ||
		got.RateLimit.Container != (RateWindows{Second: 5, Hour: 3, Day: 100}) || len(got.Net) != 2 || !got.Expires.Equal(now.Add(time.Minute)) {
		t.Errorf("claims are %+v", got)
	}
	if none := derive(t, ring, parent, Claims{Net: []string{}}).Claims(); none.Net == nil || len(none.Net) != 0 {
		t.Errorf("an empty net became %v", none.Net)
	}
}

func TestDeriveRefuses(t *testing.T) {
	ring := newRing(t, 1)
	parent := open(t, ring, issue(t, ring, tenant()))
	for _, test := range []struct {
		name   string
		claims Claims
		field  string
	}{
		{"master", Claims{Master: true}, "master"},
		{"container beyond", Claims{Container: "gamma"}, "ten"},
		{"list partly beyond", Claims{Container: "acme,gamma"}, "ten"},
		{"expression", Claims{Container: "/^acme$/"}, "ten"},
		{"container of a site", Claims{Container: "@example.com"}, "ten"},
		{"names beyond", Claims{Names: []string{"hello", "other"}}, "jtnm"},
		{"name beyond", Claims{Container: "acme", Name: "other"}, "jtnm"},
		{"later end", Claims{Expires: now.Add(25 * time.Hour)}, "exp"},
		{"earlier begin", Claims{NotBefore: now.Add(-2 * time.Hour)}, "nbf"},
		{"net beyond", Claims{Net: []string{"api.example.com", "example.com"}}, "net"},
		{"prefix beyond", Claims{Net: []string{"0.0.0.0/0"}}, "net"},
		{"port beyond", Claims{Net: []string{"db.internal"}}, "net"},
		{"net malformed", Claims{Net: []string{""}}, "net"},
		{"other params", Claims{Params: map[string]string{"plan": "pro"}}, "pctx"},
		{"more params", Claims{Params: map[string]string{"plan": "free", "x": "y"}}, "pctx"},
		{"no params", Claims{Params: map[string]string{}}, "pctx"},
		{"other host", Claims{Host: "example.com"}, "host"},
		{"higher container limit", Claims{RateLimit: RateLimits{Container: RateWindows{Second: 6}}}, "ls"},
		{"lower container limit", Claims{RateLimit: RateLimits{Container: RateWindows{Day: 6}}}, "ld"},
		{"longer timeout", Claims{Limits: Limits{Timeout: 11 * time.Second}}, "lim.timeout"},
		{"more isolates", Claims{Limits: Limits{Isolates: 5}}, "lim.isolates"},
		{"negative timeout", Claims{Limits: Limits{Timeout: -1}}, "lim.timeout"},
	} {
		t.Run(test.name, func(t *testing.T) {
			token, err := ring.Derive(parent, test.claims, IssueOptions{Now: now, AllowMaster: true})
			if err == nil || token != "" {
				t.Fatal("was derived")
			}
			wantField(t, err, ErrClaims, test.field)
		})
	}
}

func TestPowers(t *testing.T) {
	ring := newRing(t, 1)
	for _, test := range []struct {
		name                        string
		claims                      Claims
		run, manage, issue, itsself bool
	}{
		{"tenant", Claims{Container: "a", Depth: 1}, false, true, true, true},
		{"tenant without depth", Claims{Container: "a"}, false, true, false, true},
		{"with params", Claims{Container: "a", Depth: 1, Params: map[string]string{"p": "q"}}, false, true, true, true},
		{"with code", Claims{Container: "a", Depth: 5, URL: "https://example.com/"}, true, false, false, true},
		{"with secrets", Claims{Container: "a", Depth: 5, Secrets: map[string]string{"k": "v"}}, false, false, false, true},
		{"with a name", Claims{Container: "a", Depth: 5, Name: "n"}, false, false, false, true},
		{"dr", Claims{Container: "a", Depth: 1, NoSelfRevoke: true}, false, true, true, false},
		{"master", Claims{Master: true, Depth: 1}, false, true, true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			v := open(t, ring, issue(t, ring, test.claims))
			if v.CanRun() != test.run || v.CanManage() != test.manage || v.CanIssue() != test.issue || v.CanRevokeSelf() != test.itsself {
				t.Errorf("run %v, manage %v, issue %v, revoke itself %v", v.CanRun(), v.CanManage(), v.CanIssue(), v.CanRevokeSelf())
			}
			if _, err := v.Task(); (err == nil) != test.run || (err != nil && !errors.Is(err, ErrTokenNotAllowed)) {
				t.Errorf("Task: %v", err)
			}
			_, err := ring.Derive(v, Claims{Container: "a"}, issueOptions())
			if (err == nil) != test.issue || (err != nil && !errors.Is(err, ErrTokenNotAllowed)) {
				t.Errorf("Derive: %v", err)
			}
		})
	}
	_, err := ring.Issue(Claims{Master: true, Container: "a"}, IssueOptions{Now: now, AllowMaster: true})
	wantField(t, err, ErrClaims, "ten")
	master := open(t, ring, issue(t, ring, Claims{Master: true, Depth: 1}))
	if !master.AllowsContainer("any") || master.AllowsContainer("@example.com") || !master.AllowsName("any") {
		t.Error("a master reaches too much or too little")
	}
	if _, err := ring.Derive(master, Claims{}, issueOptions()); err == nil {
		t.Error("a token without container was derived from a master")
	}
	v := open(t, ring, issue(t, ring, tenant()))
	if !v.AllowsContainer("beta") || v.AllowsContainer("gamma") || !v.AllowsName("bye") || v.AllowsName("other") {
		t.Error("ten or jtnm is not what AllowsContainer and AllowsName say")
	}
}

// Whatever is asked for, a chain of derived tokens never reaches beyond any of
// its ancestors. Reach is decided here by probing with concrete containers,
// names, hosts, times and limits, not by the rules that Derive compares by.
func TestDeriveNeverWidens(t *testing.T) {
	ring := newRing(t, 1)
	random := rand.New(rand.NewPCG(7, 7))
	derived := 0
	for range 3000 {
		parent := open(t, ring, issue(t, ring, randomClaims(random, true)))
		for range 4 {
			token, err := ring.Derive(parent, randomClaims(random, false), issueOptions())
			if err != nil {
				if !errors.Is(err, ErrClaims) && !errors.Is(err, ErrTokenNotAllowed) {
					t.Fatalf("Derive: %v", err)
				}
				continue
			}
			// The child may begin later than now.
			child, err := ring.Verify(token)
			if err != nil {
				t.Fatal(err)
			}
			derived++
			assertWithin(t, parent, child)
			parent = child
		}
	}
	if derived < 500 {
		t.Errorf("only %d tokens were derived: the generator is too wild to test anything", derived)
	}
}

var (
	probeContainers = []string{"a", "b", "ab", "a1", "b1", "c", "@a", "A", ""}
	probeNames      = []string{"x", "y", "z"}
	probeHosts      = []string{"example.com", "a.example.com", "b.a.example.com", "10.1.2.3", "10.2.0.1", "11.0.0.1", "::1"}
	probePorts      = []uint16{80, 443, 8080}
)

func randomClaims(random *rand.Rand, root bool) Claims {
	pick := func(options ...string) string { return options[random.IntN(len(options))] }
	some := func(options ...string) []string {
		if random.IntN(2) == 0 {
			return nil
		}
		list := []string{}
		for _, o := range options {
			if random.IntN(3) == 0 {
				list = append(list, o)
			}
		}
		return list
	}
	c := Claims{
		Depth:     random.IntN(5),
		Container: pick("a", "b", "a,b", "a,b,ab", "/^a.*$/", "/[ab]/", "/.*/", "/A/i"),
		Names:     some("x", "y", "z"),
		Net:       some("example.com", "*.example.com", "a.example.com:443", "*.a.example.com", "10.0.0.0/8", "10.1.0.0/16:8080", "10.1.2.3", "0.0.0.0/0", "[::1]:80"),
	}
	if !root && random.IntN(2) == 0 {
		c.Container = ""
	}
	if root && random.IntN(10) == 0 {
		c.Container, c.Master = "", true
	}
	for _, f := range limitFields {
		if random.IntN(4) == 0 {
			if err := f.set(&c.Limits, map[LimitKind]string{LimitDuration: pick("1s", "2s", "1h"), LimitSize: pick("1", "1KiB", "1GiB"), LimitCount: pick("1", "2", "30")}[f.Kind]); err != nil {
				panic(err)
			}
		}
	}
	for _, w := range rateWindows {
		if random.IntN(8) == 0 {
			*w.limit(&c.RateLimit.Container) = 1 + random.IntN(2)
		}
	}
	if random.IntN(2) == 0 {
		c.Expires = now.Add(time.Duration(1+random.IntN(4)) * time.Hour)
	}
	if random.IntN(3) == 0 {
		c.NotBefore = now.Add(-time.Duration(random.IntN(4)) * time.Hour)
	}
	if random.IntN(4) == 0 {
		c.Host = pick("h1.example.com", "h2.example.com")
	}
	if random.IntN(6) == 0 {
		c.Params = map[string]string{"p": pick("1", "2")}
	}
	return c
}

func assertWithin(t *testing.T, parent, child *Verified) {
	t.Helper()
	p, c := parent.Claims(), child.Claims()
	widened := func(what string) {
		t.Helper()
		pj, _ := json.Marshal(p)
		cj, _ := json.Marshal(c)
		t.Fatalf("%s of the child reach beyond the parent's:\n%s\n%s", what, pj, cj)
	}
	for _, name := range probeContainers {
		if child.AllowsContainer(name) && !parent.AllowsContainer(name) {
			widened("containers")
		}
	}
	for _, name := range probeNames {
		if child.AllowsName(name) && !parent.AllowsName(name) {
			widened("names")
		}
	}
	for _, host := range probeHosts {
		for _, port := range probePorts {
			if netAllows(t, c.Net, host, port) && !netAllows(t, p.Net, host, port) {
				widened("hosts")
			}
		}
	}
	for at := now.Add(-6 * time.Hour); at.Before(now.Add(6 * time.Hour)); at = at.Add(30 * time.Minute) {
		if child.ValidAt(at) == nil && parent.ValidAt(at) != nil {
			widened("times")
		}
	}
	for _, f := range limitFields {
		if most, got := f.value(&p.Limits), f.value(&c.Limits); most != 0 && (got == 0 || got > most) {
			widened("limits")
		}
	}
	for _, w := range rateWindows {
		if most, got := *w.limit(&p.RateLimit.Container), *w.limit(&c.RateLimit.Container); most != 0 && (got == 0 || got > most) {
			widened("rates")
		}
	}
	if c.Master || c.Depth >= p.Depth || (p.Host != "" && c.Host != p.Host) || (p.Params != nil && c.Params["p"] != p.Params["p"]) {
		widened("powers")
	}
	if !slices.Equal(c.Ancestors, append(slices.Clone(p.Ancestors), p.ID)) {
		widened("ancestors")
	}
}
