package webtask

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParseClaims(t *testing.T) {
	// As existing clients send it: numbers as strings.
	got, err := ParseClaims([]byte(`{
		"ten":"tenant1","dd":"0","url":"https://example.com/code.js","ectx":{"A":"1"},"pctx":{"P":"3"},
		"meta":{"k":"v"},"mb":1,"pb":"2","dr":"1","jtn":"hello","jtnm":["hello"],"host":"example.com",
		"exp":"1800000000","nbf":1700000000,"ls":"5","lto":"7","net":["api.example.com"],
		"integrity":"sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
		"lim":{"timeout":"5s","memory":"64MiB","isolates":4,"sessions":"10","code_size":1024}}`))
	if err != nil {
		t.Fatal(err)
	}
	want := Claims{
		Container: "tenant1", URL: "https://example.com/code.js", Secrets: map[string]string{"A": "1"}, Params: map[string]string{"P": "3"},
		Meta: map[string]string{"k": "v"}, MergeBody: true, ParseBody: new(ParseBodyByArity), NoSelfRevoke: true,
		Name: "hello", Names: []string{"hello"}, Host: "example.com",
		Expires: time.Unix(1800000000, 0), NotBefore: time.Unix(1700000000, 0),
		RateLimit: RateLimits{Container: RateWindows{Second: 5}, Token: RateWindows{Month: 7}}, Net: []string{"api.example.com"},
		Integrity: "sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
		Limits:    Limits{Timeout: 5 * time.Second, Memory: 64 << 20, Isolates: 4, Sessions: 10, CodeSize: 1024},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("claims are\n%#v, want\n%#v", got, want)
	}
	if got, err := ParseClaims([]byte(`{}`)); err != nil || got.Depth != 1 {
		t.Errorf("without dd: depth %d, %v; want 1", got.Depth, err)
	}
	if got, err := ParseClaims([]byte(`{"net":[]}`)); err != nil || got.Net == nil {
		t.Errorf("an empty net became absent: %v", err)
	}
}

func TestParseClaimsRefuses(t *testing.T) {
	for _, test := range []struct{ json, field string }{
		{``, "claims"},
		{`null`, "claims"},
		{`[]`, "claims"},
		{`{"ten":"a"} {}`, "claims"},
		{`{"ten":"a","ten":"a"}`, "claims"},
		{"{\"ten\":\"\xff\"}", "claims"},
		{`{"foo":1}`, "foo"},
		{`{"Ten":"a"}`, "Ten"},
		{`{"code":"module.exports = 1"}`, "code"},
		{`{"jti":"00"}`, "jti"},
		{`{"iat":1}`, "iat"},
		{`{"ca":[]}`, "ca"},
		{`{"ten":1}`, "ten"},
		{`{"ten":""}`, "ten"},
		{`{"ten":null}`, "ten"},
		{`{"url":["https://example.com"]}`, "url"},
		{`{"exp":"tomorrow"}`, "exp"},
		{`{"exp":1.5}`, "exp"},
		{`{"exp":1e9}`, "exp"},
		{`{"exp":"+1700000000"}`, "exp"},
		{`{"exp":" 1700000000"}`, "exp"},
		{`{"exp":true}`, "exp"},
		{`{"exp":null}`, "exp"},
		{`{"exp":0}`, "exp"},
		{`{"exp":-5}`, "exp"},
		{`{"exp":99999999999999}`, "exp"},
		{`{"nbf":"99999999999999999999999"}`, "nbf"},
		{`{"dd":-1}`, "dd"},
		{`{"dd":101}`, "dd"},
		{`{"dd":"x"}`, "dd"},
		{`{"dr":2}`, "dr"},
		{`{"dr":true}`, "dr"},
		{`{"mb":"yes"}`, "mb"},
		{`{"pb":3}`, "pb"},
		{`{"pb":-1}`, "pb"},
		{`{"master":1}`, "master"},
		{`{"master":false}`, "master"},
		{`{"master":"true"}`, "master"},
		{`{"jtnm":"a"}`, "jtnm"},
		{`{"jtnm":["a",1]}`, "jtnm"},
		{`{"jtnm":["a",null]}`, "jtnm"},
		{`{"net":"a"}`, "net"},
		{`{"net":null}`, "net"},
		{`{"pctx":[]}`, "pctx"},
		{`{"pctx":{"a":1}}`, `pctx."a"`},
		{`{"pctx":{"a":"1","a":"1"}}`, "pctx"},
		{`{"ectx":"eyJ"}`, "ectx"},
		{`{"ectx":{"KEY":{}}}`, `ectx."KEY"`},
		{`{"meta":null}`, "meta"},
		{`{"ls":0}`, "ls"},
		{`{"lto":-1}`, "lto"},
		{`{"lh":4294967296}`, "lh"},
		{`{"lim":"5s"}`, "lim.limits"},
		{`{"lim":{"timeout":5}}`, "lim.timeout"},
		{`{"lim":{"timeout":"5"}}`, "lim.timeout"},
		{`{"lim":{"timeout":"5s","timeout":"9s"}}`, "lim.limits"},
		{`{"lim":{"speed":"5s"}}`, "lim.speed"},
		{`{"lim":{"memory":"lots"}}`, "lim.memory"},
		{`{"lim":{"isolates":0}}`, "lim.isolates"},
		{`{"lim":{"isolates":1.5}}`, "lim.isolates"},
		{`{"lim":{"isolates":{}}}`, "lim.isolates"},
	} {
		_, err := ParseClaims([]byte(test.json))
		if err == nil {
			t.Errorf("%s was accepted", test.json)
			continue
		}
		wantField(t, err, ErrClaims, test.field)
	}
}

func TestIssueRefuses(t *testing.T) {
	ring := newRing(t, 1)
	integrity := "sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	for _, test := range []struct {
		name   string
		claims Claims
		field  string
	}{
		{"no container", Claims{}, "ten"},
		{"container of a site", Claims{Container: "@example.com"}, "ten"},
		{"container with a slash", Claims{Container: "a/b"}, "ten"},
		{"container of dots", Claims{Container: ".."}, "ten"},
		{"container with a space in a list", Claims{Container: "a, b"}, "ten"},
		{"empty in a list", Claims{Container: "a,,b"}, "ten"},
		{"unfinished expression", Claims{Container: "/^a"}, "ten"},
		{"empty expression", Claims{Container: "//"}, "ten"},
		{"bad expression", Claims{Container: "/^(a$/"}, "ten"},
		{"expression that closes the group", Claims{Container: "/a)|(?:.*/"}, "ten"},
		{"expression with an unknown flag", Claims{Container: "/a/g"}, "ten"},
		{"large expression", Claims{Container: "/(a?){999}b{999}/"}, "ten"},
		{"look-ahead", Claims{Container: "/^(?=a).*$/"}, "ten"},
		{"long container", Claims{Container: strings.Repeat("a", 129)}, "ten"},
		{"long list", Claims{Container: strings.Repeat("a,", 400) + "a"}, "ten"},
		{"master unasked", Claims{Master: true}, "master"},
		{"depth", Claims{Container: "a", Depth: 101}, "dd"},
		{"negative depth", Claims{Container: "a", Depth: -1}, "dd"},
		{"name", Claims{Container: "a", Name: "a/b"}, "jtn"},
		{"name for several containers", Claims{Container: "a,b", Name: "n"}, "jtn"},
		{"url for several containers", Claims{Container: "a,b", URL: "https://example.com/"}, "url"},
		{"secrets for an expression", Claims{Container: "/a/", Secrets: map[string]string{"k": "v"}}, "ectx"},
		{"names", Claims{Container: "a", Names: []string{"ok", ""}}, "jtnm"},
		{"relative url", Claims{Container: "a", URL: "hello.js"}, "url"},
		{"url of a file", Claims{Container: "a", URL: "file:///etc/passwd"}, "url"},
		{"url of data", Claims{Container: "a", URL: "data:text/javascript,1"}, "url"},
		{"url without host", Claims{Container: "a", URL: "https:///x"}, "url"},
		{"url with password", Claims{Container: "a", URL: "https://u:p@example.com/"}, "url"},
		{"url with a space", Claims{Container: "a", URL: "https://example.com/a b"}, "url"},
		{"url not UTF-8", Claims{Container: "a", URL: "https://example.com/\xff"}, "url"},
		{"integrity alone", Claims{Container: "a", Integrity: integrity}, "integrity"},
		{"integrity short", Claims{Container: "a", URL: "https://example.com/", Integrity: "sha256-AAAA"}, "integrity"},
		{"integrity of another algorithm", Claims{Container: "a", URL: "https://example.com/", Integrity: "sha512-" + integrity[7:]}, "integrity"},
		{"integrity without padding", Claims{Container: "a", URL: "https://example.com/", Integrity: strings.TrimSuffix(integrity, "=")}, "integrity"},
		{"integrity with unused bits", Claims{Container: "a", URL: "https://example.com/", Integrity: integrity[:49] + "B="}, "integrity"},
		{"integrity with a line break", Claims{Container: "a", URL: "https://example.com/", Integrity: integrity[:20] + "\n" + integrity[20:]}, "integrity"},
		{"parse body", Claims{Container: "a", ParseBody: new(ParseBody(7))}, "pb"},
		{"meta without name", Claims{Container: "a", Meta: map[string]string{"a": "b"}}, "meta"},
		{"host", Claims{Container: "a", Host: "https://example.com"}, "host"},
		{"net", Claims{Container: "a", Net: []string{"https://example.com"}}, "net"},
		{"expired", Claims{Container: "a", Expires: now}, "exp"},
		{"expires within the second", Claims{Container: "a", Expires: now.Add(time.Millisecond)}, "exp"},
		{"expires before it begins", Claims{Container: "a", Expires: now.Add(time.Hour), NotBefore: now.Add(time.Hour)}, "exp"},
		{"expires after the year 9999", Claims{Container: "a", Expires: now.AddDate(9000, 0, 0)}, "exp"},
		{"begins before 1970", Claims{Container: "a", NotBefore: time.Unix(-1, 0)}, "nbf"},
		{"binary secret", Claims{Container: "a", Secrets: map[string]string{"KEY": "\xff\xfe"}}, "ectx.KEY"},
		{"param without name", Claims{Container: "a", Params: map[string]string{"": "x"}}, "pctx"},
		{"negative limit", Claims{Container: "a", Limits: Limits{Timeout: -1}}, "lim.timeout"},
		{"negative rate", Claims{Container: "a", RateLimit: RateLimits{Token: RateWindows{Hour: -1}}}, "lh or lth"},
		{"too long", Claims{Container: "a", Params: map[string]string{"p": strings.Repeat("x", MaxTokenLength)}}, "claims"},
	} {
		t.Run(test.name, func(t *testing.T) {
			token, err := ring.Issue(test.claims, issueOptions())
			if err == nil || token != "" {
				t.Fatal("was issued")
			}
			wantField(t, err, ErrClaims, test.field)
		})
	}
	if _, err := ring.Issue(Claims{Container: "a"}, IssueOptions{}); err == nil {
		t.Error("a token was issued at no time")
	}
	v := open(t, ring, issue(t, ring, hello()))
	_, err := ring.Issue(*v.Claims(), issueOptions())
	wantField(t, err, ErrClaims, "ectx")
}

func TestIssueAllows(t *testing.T) {
	ring := newRing(t, 1)
	for _, c := range []Claims{
		{Container: "a", URL: "http://127.0.0.1:8080/x.js?q=%20#f"},
		{Container: "A-._~!$+=:@1"},
		{Container: "a,b", Names: []string{"x"}},
		{Container: "/^wt-[0-9a-f]{32}-[0-1]$/", Depth: 1},
		{Container: "/a|b/i"},
		{Container: "a", Secrets: map[string]string{"K": "\x00 any text ✓"}, URL: "https://example.com/"},
		{Master: true, Depth: maxDepth},
	} {
		open(t, ring, issue(t, ring, c))
	}
}

func TestContainersOf(t *testing.T) {
	for _, test := range []struct {
		ten      string
		in, outs []string
	}{
		{"acme", []string{"acme"}, []string{"ACME", "acme,beta", "acm", "", "@acme"}},
		{"acme,beta", []string{"acme", "beta"}, []string{"acme,beta", "gamma", ""}},
		{"/^foo[0-9]$/", []string{"foo0", "foo9"}, []string{"foo", "foo10", "xfoo1", "foo1\n"}},
		{"/foo/", []string{"foo"}, []string{"foobar", "xfoo"}}, // whole names, anchored or not
		{"/^a|b$/", []string{"a", "b"}, []string{"ax", "xb"}},
		{"/foo/i", []string{"foo", "FOO"}, []string{"foox"}},
		{"/.*/", []string{"anything"}, []string{"@example.com", "", "..", "a/b"}},
	} {
		p, err := parseContainers(test.ten)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range test.in {
			if !p.allows(c) {
				t.Errorf("%s does not allow %q", test.ten, c)
			}
		}
		for _, c := range test.outs {
			if p.allows(c) {
				t.Errorf("%s allows %q", test.ten, c)
			}
		}
	}
	var none containerPattern
	if none.allows("acme") || none.within(none) {
		t.Error("the zero pattern allows something")
	}
}
