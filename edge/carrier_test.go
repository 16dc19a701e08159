package edge

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

func TestFindToken(t *testing.T) {
	ours := testToken(t, webtask.Claims{Container: "acme", URL: "https://example.com/a.js"})
	const foreignJWT = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.AAAA" // typ: another issuer's
	for name, test := range map[string]struct {
		target  string
		header  http.Header
		in      carrier
		token   string
		isTwice bool
	}{
		"none":                          {target: "/"},
		"bearer":                        {target: "/", header: http.Header{"Authorization": {"Bearer " + ours}}, in: carriedBearer, token: ours},
		"bearer scheme in any case":     {target: "/", header: http.Header{"Authorization": {"bEaReR  " + ours}}, in: carriedBearer, token: ours},
		"query":                         {target: "/?a=1&key=" + ours, in: carriedQuery, token: ours},
		"query, name escaped":           {target: "/?%6Bey=" + ours, in: carriedQuery, token: ours},
		"query, value escaped":          {target: "/?key=%65" + ours[1:], in: carriedQuery, token: ours},
		"header":                        {target: "/", header: http.Header{"X-Webtask-Token": {ours}}, in: carriedHeader, token: ours},
		"anything in our header":        {target: "/", header: http.Header{"X-Webtask-Token": {"garbage"}}, in: carriedHeader, token: "garbage"},
		"truncated is still ours":       {target: "/", header: http.Header{"Authorization": {"Bearer " + ours[:90]}}, in: carriedBearer, token: ours[:90]},
		"another issuer's":              {target: "/?key=" + foreignJWT, header: http.Header{"Authorization": {"Bearer " + foreignJWT}}},
		"another key":                   {target: "/?key=12345"},
		"basic":                         {target: "/", header: http.Header{"Authorization": {"Basic " + ours}}},
		"another parameter":             {target: "/?token=" + ours},
		"twice in the query":            {target: "/?key=" + ours + "&key=" + ours, isTwice: true},
		"query and bearer":              {target: "/?key=" + ours, header: http.Header{"Authorization": {"Bearer " + ours}}, isTwice: true},
		"bearer and garbage in ours":    {target: "/", header: http.Header{"Authorization": {"Bearer " + ours}, "X-Webtask-Token": {"x"}}, isTwice: true},
		"two lines of one header":       {target: "/", header: http.Header{"X-Webtask-Token": {ours, ours}}, isTwice: true},
		"ours beside another's key":     {target: "/?key=12345&key=" + ours, in: carriedQuery, token: ours},
		"ours beside another's bearer":  {target: "/?key=" + ours, header: http.Header{"Authorization": {"Bearer " + foreignJWT}}, in: carriedQuery, token: ours},
		"two Authorization lines, ours": {target: "/", header: http.Header{"Authorization": {"Bearer " + foreignJWT, "Bearer " + ours}}, in: carriedBearer, token: ours},
	} {
		t.Run(name, func(t *testing.T) {
			u, err := url.ParseRequestURI(test.target)
			if err != nil {
				t.Fatal(err)
			}
			got, err := findToken(&http.Request{URL: u, Header: test.header})
			if errors.Is(err, webtask.ErrTokenTwice) != test.isTwice || (err != nil) != test.isTwice {
				t.Fatalf("error %v", err)
			}
			if got.in != test.in || got.token != test.token {
				t.Errorf("found a token in %d of %d bytes, want one in %d of %d bytes", got.in, len(got.token), test.in, len(test.token))
			}
		})
	}
}

func TestWithoutKey(t *testing.T) {
	ours := testToken(t, webtask.Claims{Container: "acme", URL: "https://example.com/a.js"})
	for target, want := range map[string]string{
		"/a":                                "/a",
		"/a?":                               "/a",
		"/a?key=" + ours:                    "/a",
		"/a?x=1&key=" + ours:                "/a?x=1",
		"/a?key=" + ours + "&x=1&y":         "/a?x=1&y",
		"/a?%6bey=" + ours + "&key=mine":    "/a?key=mine",
		"/a?x=%26key%3D1&key=" + ours:       "/a?x=%26key%3D1",
		"/a?x=1&key=" + ours + "&z=a%20b+c": "/a?x=1&z=a%20b+c",
	} {
		if got := withoutKey(target); got != want {
			t.Errorf("%s: got %s, want %s", strings.ReplaceAll(target, ours, "OURS"), got, want)
		}
	}
}
