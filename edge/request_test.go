package edge

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

func TestRequestURL(t *testing.T) {
	ours := testToken(t, webtask.Claims{Container: "acme", URL: "https://example.com/a.js"})
	for name, test := range map[string]struct {
		raw    string // request line and Host
		uri    string
		secure bool
		want   string // empty: refused
	}{
		"origin form":          {raw: "GET /a/b?c=d HTTP/1.1\r\nHost: x.test", want: "http://x.test/a/b?c=d"},
		"tls":                  {raw: "GET / HTTP/1.1\r\nHost: x.test:8443", secure: true, want: "https://x.test:8443/"},
		"absolute form":        {raw: "GET http://x.test/a?b HTTP/1.1\r\nHost: ignored", want: "http://x.test/a?b"},
		"asterisk":             {raw: "OPTIONS * HTTP/1.1\r\nHost: x.test", want: "http://x.test/"},
		"two slashes":          {raw: "GET //evil.test/a HTTP/1.1\r\nHost: x.test", want: "http://x.test//evil.test/a"},
		"escapes stay":         {raw: "GET /a%2Fb%20c?d=%C3%A9 HTTP/1.1\r\nHost: x.test", want: "http://x.test/a%2Fb%20c?d=%C3%A9"},
		"fragment":             {raw: "GET /a#b?c#d HTTP/1.1\r\nHost: x.test", want: "http://x.test/a%23b?c%23d"},
		"before a rewrite":     {raw: "GET /rewritten HTTP/1.1\r\nHost: x.test", uri: "/sent?x=1", want: "http://x.test/sent?x=1"},
		"token in query":       {raw: "GET /a?b=1&key=" + ours + " HTTP/1.1\r\nHost: x.test", want: "http://x.test/a?b=1"},
		"token rewritten away": {raw: "GET /b?c=1 HTTP/1.1\r\nHost: x.test", uri: "/a?b=1&%6bey=" + ours, want: "http://x.test/a?b=1"},
		"query rewritten away": {raw: "GET /b HTTP/1.1\r\nHost: x.test", uri: "/a?key=" + ours, want: "http://x.test/a"},
		"IPv6":                 {raw: "GET / HTTP/1.1\r\nHost: [::1]:80", want: "http://[::1]:80/"},
		"no host":              {raw: "GET / HTTP/1.1\r\nHost: "},
		"user info in host":    {raw: "GET / HTTP/1.1\r\nHost: u@x.test"},
		"path in host":         {raw: "GET / HTTP/1.1\r\nHost: x.test/a"},
		"two ports":            {raw: "GET / HTTP/1.1\r\nHost: x.test:1:2"},
		"port is no number":    {raw: "GET / HTTP/1.1\r\nHost: x.test:a"},
		"brackets of none":     {raw: "GET / HTTP/1.1\r\nHost: [a]"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(test.raw + "\r\n\r\n")))
			if err != nil {
				t.Fatal(err)
			}
			got, err := requestURL(r, test.uri, test.secure, strings.Contains(test.raw, "key="))
			if got != test.want || (err == nil) != (test.want != "") {
				t.Errorf("got %q, %v; want %q", got, err, test.want)
			}
		})
	}
}

func TestPreflight(t *testing.T) {
	r := httptest.NewRequest("OPTIONS", "/", nil)
	if isPreflight(r) {
		t.Error("a plain OPTIONS is taken for a preflight")
	}
	r.Header.Set("Origin", "https://page.test")
	r.Header.Set("Access-Control-Request-Method", "POST")
	if !isPreflight(r) {
		t.Error("a preflight is not recognised")
	}
	for asked, want := range map[string]bool{
		"authorization": true, "x-webtask-token": true, "content-type,X-Webtask-Token": true, "a , authorization": true,
		"": false, "content-type": false, "x-authorization": false, "*": false,
	} {
		r.Header.Set("Access-Control-Request-Headers", asked)
		if asksForToken(r) != want {
			t.Errorf("a preflight for %q: %v", asked, !want)
		}
	}
	w := httptest.NewRecorder()
	answerPreflight(w)
	h := w.Result().Header
	if w.Code != 204 || h.Get("Access-Control-Allow-Origin") != "*" || h.Get("Access-Control-Allow-Methods") != "*" {
		t.Errorf("answered %d %v", w.Code, h)
	}
	if allowed := h.Get("Access-Control-Allow-Headers"); !strings.Contains(allowed, "Authorization") || !strings.Contains(allowed, "*") {
		t.Errorf("headers allowed: %q", allowed)
	}
	if _, ok := h["Access-Control-Allow-Credentials"]; ok {
		t.Error("credentials are allowed")
	}
}

func TestNewRequestID(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := newRequestID()
		if len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" || seen[id] {
			t.Fatalf("id %q", id)
		}
		seen[id] = true
	}
}

// FuzzRequestMapping holds that whatever request net/http lets in, the URL
// that a script gets parses, is of the host that the caller named and of the
// scheme that it spoke, and holds no token; and that what foreign tasks must
// not see is gone.
func FuzzRequestMapping(f *testing.F) {
	ours := testToken(f, webtask.Claims{Container: "acme", URL: "https://example.com/a.js"})
	f.Add("GET /a?b=c HTTP/1.1\r\nHost: x.test\r\nCookie: a=b", true)
	f.Add("GET /?key="+ours+"&a HTTP/1.1\r\nHost: x.test", false)
	f.Add("GET /?a&%6bey="+ours+"#b HTTP/1.1\r\nHost: [::1]:8080", false)
	f.Add("POST http://y.test/ HTTP/1.1\r\nHost: x.test\r\nAuthorization: Basic eA==\r\nremote-user: u", true)
	f.Add("OPTIONS * HTTP/1.0\r\nHost: x", false)
	f.Add("CONNECT x.test:443 HTTP/1.1\r\nHost: x.test:443\r\nX-Webtask-Token: "+ours, true)
	f.Fuzz(func(t *testing.T, raw string, secure bool) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw + "\r\n\r\n")))
		if err != nil {
			return
		}
		token, err := findToken(r)
		if err != nil {
			return
		}
		text, err := requestURL(r, "", secure, token.in == carriedQuery)
		if err == nil {
			u, err := url.Parse(text)
			if err != nil {
				t.Fatalf("%q does not parse: %v", text, err)
			}
			if u.Host != r.Host || u.User != nil || u.Fragment != "" || !strings.HasPrefix(u.EscapedPath(), "/") {
				t.Fatalf("%q is %+v of host %q", text, u, r.Host)
			}
			if (u.Scheme == "https") != secure {
				t.Fatalf("%q: secure is %v", text, secure)
			}
			if token.in == carriedQuery {
				stripped := *r
				stripped.URL, stripped.Header = u, nil
				if left, err := findToken(&stripped); err != nil || left.in != carriedNot {
					t.Fatalf("%q still has a token", text)
				}
			}
		}
		header := requestHeader(r.Header, token, false, true, nil)
		for name := range header {
			if name == "Cookie" || name == "Proxy-Authorization" || strings.HasPrefix(name, "Remote-") {
				t.Fatalf("%s is visible", name)
			}
		}
		if token.in == carriedHeader && len(header[headerToken]) > 0 {
			t.Fatal("the token is visible")
		}
	})
}
