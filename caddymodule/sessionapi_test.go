package caddymodule

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

func TestCutPathToken(t *testing.T) {
	for in, want := range map[string]string{
		"/s/" + backendToken + "/ws":                     backendToken + " /ws",
		"/s/" + backendToken + "/":                       backendToken + " /",
		"/s/" + backendToken:                             backendToken + " /",
		"/" + backendToken + "/a":                        backendToken + " /a",
		"/deep/er/" + backendToken + "/a/%2F":            backendToken + " /a/%2F",
		"/s/" + backendToken + "/" + backendToken + "/x": backendToken + " /" + backendToken + "/x",
		"/s/" + backendToken + "//a/../b":                backendToken + " //a/../b",
		"/s/garbage/x":                                   "garbage /x",
		"/s/":                                            "", "/s": "", "/": "", "//": "", "/s//x": "",
	} {
		from, err := url.Parse("http://example.com" + in + "?q=1")
		if err != nil {
			t.Fatal(err)
		}
		token, rest, ok := cutPathToken(from)
		got := ""
		if ok {
			got = token + " " + strings.TrimSuffix(rest.RequestURI(), "?q=1")
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", in, got, want)
		}
	}
}

func TestSeparateToken(t *testing.T) {
	for uri, want := range map[string]string{
		"/a?token=x": "/a x", "/a?b=c&token=x&d": "/a?b=c&d x", "/a?mytoken=x": "", "/a": "", "/a?token=": "/a ",
	} {
		r, err := http.NewRequest("GET", "http://example.com"+uri, nil)
		if err != nil {
			t.Fatal(err)
		}
		signed, bare, err := separateToken(r)
		got := ""
		if err == nil {
			got = bare.RequestURI + " " + signed
		}
		if got != want {
			t.Errorf("%s: got %q (%v), want %q", uri, got, err, want)
		}
		if rest, _, _ := strings.Cut(want, " "); err == nil && withoutToken(uri) != rest {
			t.Errorf("%s without token is %s", uri, withoutToken(uri))
		}
	}
}

func TestMatchCall(t *testing.T) {
	for _, c := range []struct {
		pattern, path string
		args          []string
		ok            bool
	}{
		{"b/{}/status", "b/x/status", []string{"x"}, true},
		{"b/{}/status", "b/a%2Fb/status", []string{"a/b"}, true},
		{"b/{}/status", "b//status", nil, false},
		{"b/{}/status", "b/x/status/y", nil, false},
		{"b/{}/status", "b/x", nil, false},
		{"k/{…}", "k/a/b%2Fc", []string{"a/b/c"}, true},
		{"k/{…}", "k", nil, false},
		{"b/{}", "b/%zz", nil, false},
	} {
		args, ok := matchCall(strings.Split(c.pattern, "/"), strings.Split(c.path, "/"))
		if ok != c.ok || ok && !slices.Equal(args, c.args) {
			t.Errorf("%s of %s: %q, %v", c.pattern, c.path, args, ok)
		}
	}
}

// TestSessionAPIRefused has configurations that are wrong in a way that only
// their place, or the environment, shows.
func TestSessionAPIRefused(t *testing.T) {
	t.Setenv("SESSION_API_SECRET", "short")
	s := newServer(t, nil)
	for name, c := range map[string]struct{ site, want string }{
		"short secret":    {"session_api control {\n auth bearer {env.SESSION_API_SECRET}\n}", "the secret has 5 characters"},
		"unset secret":    {"session_api control {\n auth bearer {env.SESSION_API_NONE}\n}", "auth bearer: "},
		"under templates": {"route /pub/* {\n templates\n session_api public\n}", "the directive session_api public at 127.0.0.1 /pub/*: it stands under templates"},
		"connect there":   {"route /s/* {\n templates\n session_connect\n}", "the directive session_connect at 127.0.0.1 /s/*: it stands under templates"},
	} {
		if err := s.validate("", c.site); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if err := s.load("", "session_api public {\n services docs\n}"); err == nil || !strings.Contains(err.Error(), `services: there is no session_backend called "docs"`) {
		t.Errorf("of a service that is not there: %v", err)
	}
	// Without any service there is nothing to find.
	s.mustLoad("", "session_api public /pub/*\nsession_connect /s/*")
	s.want("/pub/b/x/status", 404, `"kind":"NotFound"`)
	s.want("/s/"+backendToken+"/", 410, "")
}
