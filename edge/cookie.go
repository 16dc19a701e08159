package edge

import (
	"net/http"
	"strings"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// sessionCookie returns the session secret that the cookies of a request hold
// under name. A value that is not exactly of our form is none. Neither is a
// doubled one: one of the two was planted from another path or host, and
// nobody can tell which.
func sessionCookie(header http.Header, name string) (secret webtask.SessionSecret, ok bool) {
	found := 0
	for _, line := range header["Cookie"] {
		for line != "" {
			var pair string
			pair, line, _ = strings.Cut(line, ";")
			if key, value, _ := strings.Cut(strings.TrimLeft(pair, " \t"), "="); key == name {
				found++
				secret, ok = webtask.ParseSessionSecret(strings.TrimRight(value, " \t"))
			}
		}
	}
	if found != 1 || !ok {
		return webtask.SessionSecret{}, false
	}
	return secret, true
}

// cookieText is the value of Set-Cookie for a session (RFC 6265bis §4.1). It
// has no lifetime: how long the session lives is the store's to decide, and
// slides.
func cookieText(name, value string, secure bool) string {
	text := name + "=" + value + "; Path=/; HttpOnly; SameSite=Lax"
	if secure {
		text += "; Secure"
	}
	return text
}
