package edge

import (
	"net/http"
	"strings"
	"testing"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

const (
	cookieA = "AAAAAAAAAAAAAAAAAAAAAA"
	cookieB = "BBBBBBBBBBBBBBBBBBBBBA"
)

func TestSessionCookie(t *testing.T) {
	const name = "webtask_session"
	for test, c := range map[string]struct {
		lines []string
		want  string // empty: no session
	}{
		"none":                 {nil, ""},
		"alone":                {[]string{name + "=" + cookieA}, cookieA},
		"among others":         {[]string{"a=1; " + name + "=" + cookieA + " ;b=2"}, cookieA},
		"on a line of its own": {[]string{"a=1", name + "=" + cookieB}, cookieB},
		"another's name":       {[]string{name + "_0123456789abcdef=" + cookieA}, ""},
		"name as a suffix":     {[]string{"__Host-" + name + "=" + cookieA}, ""},
		"doubled":              {[]string{name + "=" + cookieA + "; " + name + "=" + cookieB}, ""},
		"doubled, same value":  {[]string{name + "=" + cookieA + "; " + name + "=" + cookieA}, ""},
		"doubled over lines":   {[]string{name + "=" + cookieA, name + "=" + cookieB}, ""},
		"doubled, one forged":  {[]string{name + "=x; " + name + "=" + cookieB}, ""},
		"empty":                {[]string{name + "="}, ""},
		"no value":             {[]string{name}, ""},
		"too short":            {[]string{name + "=" + cookieA[1:]}, ""},
		"10 kB":                {[]string{name + "=" + strings.Repeat("A", 10<<10)}, ""},
		"quoted":               {[]string{name + `="` + cookieA + `"`}, ""},
		"not canonical":        {[]string{name + "=" + cookieA[:21] + "B"}, ""},
		"not base64url":        {[]string{name + "=" + cookieA[:21] + "+"}, ""},
		"escaped":              {[]string{name + "=%41" + cookieA[1:]}, ""},
	} {
		t.Run(test, func(t *testing.T) {
			secret, ok := sessionCookie(http.Header{"Cookie": c.lines}, name)
			if ok != (c.want != "") {
				t.Fatalf("found: %v", ok)
			}
			if ok && secret.CookieValue() != c.want {
				t.Errorf("the value is another one")
			}
			if !ok && secret != (webtask.SessionSecret{}) {
				t.Errorf("a secret came along with none")
			}
		})
	}
}

func TestCookieText(t *testing.T) {
	if got, want := cookieText("webtask_session", cookieA, false), "webtask_session="+cookieA+"; Path=/; HttpOnly; SameSite=Lax"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	parsed, err := http.ParseSetCookie(cookieText("__Host-webtask_session", cookieA, true))
	if err != nil {
		t.Fatal(err)
	}
	if !parsed.Secure || !parsed.HttpOnly || parsed.SameSite != http.SameSiteLaxMode || parsed.Path != "/" || parsed.Domain != "" || parsed.MaxAge != 0 {
		t.Errorf("attributes are %+v", parsed)
	}
}

// FuzzSessionCookie holds that whatever the Cookie headers are, a session is
// found only for a name that occurs once with a value that we could have set.
func FuzzSessionCookie(f *testing.F) {
	const name = "webtask_session"
	f.Add("a=1; "+name+"="+cookieA, "b=2")
	f.Add(name+"="+cookieA, name+"="+cookieB)
	f.Add(name+"="+cookieA+";"+name, "")
	f.Add(" ;;= ;"+name+" ="+cookieA, "")
	f.Fuzz(func(t *testing.T, first, second string) {
		header := http.Header{"Cookie": {first, second}}
		secret, ok := sessionCookie(header, name)
		again, okAgain := sessionCookie(http.Header{"Cookie": {second, first}}, name)
		if ok != okAgain || secret != again {
			t.Fatal("the order of the lines matters")
		}
		if !ok {
			return
		}
		value := secret.CookieValue()
		if strings.Count(first+";"+second, name+"="+value) != 1 {
			t.Fatalf("found %q, which does not stand there once", value)
		}
		if parsed, ok := webtask.ParseSessionSecret(value); !ok || parsed != secret {
			t.Fatal("the value is not one that we could have set")
		}
	})
}
