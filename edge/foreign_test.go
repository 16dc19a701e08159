package edge

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

func TestRequestHeader(t *testing.T) {
	all := http.Header{
		"Accept":                  {"*/*"},
		"Authorization":           {"Basic dTpw"},
		"Proxy-Authorization":     {"Basic dTpw"},
		"Cookie":                  {"sid=1"},
		"X-Webtask-Token":         {"t"},
		"Remote-User":             {"ann"},
		"X-Auth-Request-User":     {"ann"},
		"X-Forwarded-User":        {"ann"},
		"X-Forwarded-For":         {"192.0.2.1"},
		"Cf-Access-Jwt-Assertion": {"j"},
		"X-Site-User":             {"ann"},
		"Tailscale-User-Login":    {"ann"},
		"X-Request-Id":            {"1"},
	}
	credentials := []string{
		"Authorization", "Cf-Access-Jwt-Assertion", "Cookie", "Proxy-Authorization", "Remote-User",
		"Tailscale-User-Login", "X-Auth-Request-User", "X-Forwarded-User", "X-Site-User",
	}
	for name, test := range map[string]struct {
		token   carried
		own     bool
		foreign bool
		hidden  []string
	}{
		"the site's own":                      {},
		"the site's own, somebody's token":    {token: carried{"t", carriedHeader}, hidden: []string{"X-Webtask-Token"}},
		"the site's own, somebody's bearer":   {token: carried{"t", carriedBearer}, hidden: []string{"Authorization"}},
		"foreign, token in the query":         {token: carried{"t", carriedQuery}, own: true, foreign: true, hidden: credentials},
		"foreign, token of its own in header": {token: carried{"t", carriedHeader}, own: true, foreign: true, hidden: credentials},
		"foreign, token of another":           {token: carried{"t", carriedHeader}, foreign: true, hidden: append([]string{"X-Webtask-Token"}, credentials...)},
	} {
		t.Run(name, func(t *testing.T) {
			before := maps.Clone(all)
			got := requestHeader(all, test.token, test.own, test.foreign, []string{"X-Site-User"})
			if !maps.EqualFunc(all, before, slices.Equal) {
				t.Fatal("the request's own headers were changed")
			}
			for header := range all {
				if _, visible := got[header]; visible == slices.Contains(test.hidden, header) {
					t.Errorf("%s: visible %v", header, visible)
				}
			}
		})
	}
	bearer := http.Header{"Authorization": {"Bearer app-token"}}
	if got := requestHeader(bearer, carried{"t", carriedQuery}, true, true, nil); got.Get("Authorization") != "Bearer app-token" {
		t.Error("a bearer token for the foreign task itself was hidden")
	}
}

func TestForeign(t *testing.T) {
	domain, err := parseRunDomain("*.run.example.com")
	if err != nil {
		t.Fatal(err)
	}
	e := &Edge{runDomain: domain}
	token := &webtask.Task{Container: "acme", FromToken: true}
	for name, test := range map[string]struct {
		task    *webtask.Task
		trusted bool
		host    string
		want    bool
	}{
		"route-bound":               {&webtask.Task{Container: "acme"}, false, "example.com", false},
		"token":                     {token, false, "example.com", true},
		"token, trusted":            {token, true, "example.com", false},
		"token at home":             {token, false, "acme.run.example.com", false},
		"token at home, port, case": {token, false, "Acme.Run.example.com:8443", false},
		"token at another's home":   {token, false, "beta.run.example.com", true},
		"token below its home":      {token, false, "x.acme.run.example.com", true},
		"token at the domain":       {token, false, "run.example.com", true},
		"upper-case container":      {&webtask.Task{Container: "Acme", FromToken: true}, false, "acme.run.example.com", true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := e.foreign(test.task, &Route{Trusted: test.trusted}, test.host); got != test.want {
				t.Errorf("foreign: %v", got)
			}
		})
	}
}

func TestParseRunDomain(t *testing.T) {
	for _, pattern := range []string{"run.example.com", "*", "*.", "*.a.*", "*.example.com:443", "https://*.example.com", "*.example.com/", "*..example.com", "*.example.com."} {
		if _, err := parseRunDomain(pattern); err == nil {
			t.Errorf("%q was accepted", pattern)
		}
	}
	for host, want := range map[string]string{"a.run.test": "a", "a.run.test:80": "a", "b.a.run.test": "", "run.test": "", "[::1]:80": "", "": ""} {
		domain, err := parseRunDomain("*.run.test")
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := domain.container(host); got != want || ok != (want != "") {
			t.Errorf("%q: container %q", host, got)
		}
	}
}

func TestStripPort(t *testing.T) {
	for host, want := range map[string]string{
		"a.test": "a.test", "a.test:80": "a.test", "[::1]": "::1", "[::1]:80": "::1", "::1": "::1", "": "", "a:": "a",
	} {
		if got := stripPort(host); got != want {
			t.Errorf("%q: got %q, want %q", host, got, want)
		}
	}
}

// The platforms check headers, in JavaScript that a script can get at; the edge
// does not rely on it.
func TestForeignHeadersByTrick(t *testing.T) {
	st := newStage(t, fileStore(t), nil)
	for name, code := range map[string]string{
		"trailer prefix": `Map.prototype.values = () => [["Trailer:Set-Cookie", 0, ["evil=1"]], ["trailer:clear-site-data", 0, ["*"]]][Symbol.iterator]()`,
		"line breaks":    `Map.prototype.values = () => [["X-A", 0, ["a\r\nSet-Cookie: evil=1"]], ["X-B\r\nSet-Cookie", 0, ["evil=1"]]][Symbol.iterator]()`,
		"odd spellings":  `Map.prototype.values = () => [["sEt-cOOKIE", 0, ["evil=1"]], ["Set-Cookie ", 0, ["evil=1"]], ["REFRESH", 0, ["0;url=/"]], ["x-accel-Redirect", 0, ["/"]]][Symbol.iterator]()`,
		"parts":          `res.setHeader("content-type", "Multipart/X-mixed-replace; boundary=b")`,
	} {
		t.Run(name, func(t *testing.T) {
			resp, body := st.get("/", bearerHeader(st.tokenFor(`module.exports = (ctx, req, res) => { `+code+`; res.end("body") }`, func(c *webtask.Claims) {
				c.Params = map[string]string{"case": name} // a pool of its own
				c.URL += "?" + url.QueryEscape(name)
			})))
			if resp.StatusCode != 200 || body != "body" {
				t.Fatalf("answered %d %q", resp.StatusCode, body)
			}
			if len(resp.Trailer) > 0 {
				t.Errorf("trailers %v", resp.Trailer)
			}
			for header, values := range resp.Header {
				if droppedFromForeign(header) || strings.HasPrefix(header, "X-A") || strings.Contains(strings.Join(values, ""), "evil") || replacesParts(values) {
					t.Errorf("%s: %q", header, values)
				}
			}
		})
	}
}
