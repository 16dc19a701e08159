package caddymodule

import (
	"net/url"
	"strings"

	"github.com/webtask-edge/caddy-webtask/sessionbackend"
)

// redacted stands in logs for what was there.
const redacted = "REDACTED"

// isSecretHeader reports whether name is that of a header, of requests or
// answers, whose value no log may hold: a carrier of tokens, sessions or the secrets
// of session backends.
func isSecretHeader(name string) bool {
	switch len(name) {
	case len("Cookie"):
		return strings.EqualFold(name, "Cookie")
	case len("Set-Cookie"):
		return strings.EqualFold(name, "Set-Cookie")
	case len("Authorization"):
		return strings.EqualFold(name, "Authorization")
	case len("X-Webtask-Token"):
		return strings.EqualFold(name, "X-Webtask-Token")
	case len("X-Verified-Secret"):
		return strings.EqualFold(name, "X-Verified-Secret")
	case len("Proxy-Authorization"):
		return strings.EqualFold(name, "Proxy-Authorization")
	}
	return false
}

// redact takes the value of every query parameter `key` and whatever looks
// like a token out of s, a log's text of any kind. It returns s itself, with
// nothing allocated, when there is nothing to take.
func redact(s string) string {
	if query := strings.IndexByte(s, '?'); query >= 0 {
		s = redactQuery(s, query+1)
	}
	return redactKept(redactTokens(s))
}

// redactQuery redacts the values of `key` in the query that starts at from.
// Names are compared as a server reads them, percent-encoding undone.
func redactQuery(s string, from int) string {
	var out strings.Builder
	written := 0
	for at := from; at < len(s); {
		end := len(s)
		if i := strings.IndexAny(s[at:], "?&; \"'<>"); i >= 0 {
			end = at + i
		}
		if equals := strings.IndexByte(s[at:end], '='); equals >= 0 && isKey(s[at:at+equals]) {
			out.WriteString(s[written : at+equals+1])
			out.WriteString(redacted)
			// The edge reads a token on across a `;`, though no token has one.
			end = len(s)
			if i := strings.IndexAny(s[at+equals:], "?& \"'<>"); i >= 0 {
				end = at + equals + i
			}
			written = end
		}
		at = end + 1
	}
	if written == 0 {
		return s
	}
	out.WriteString(s[written:])
	return out.String()
}

func isKey(name string) bool {
	if !strings.ContainsAny(name, "%") {
		return name == "key"
	}
	name, err := url.QueryUnescape(name)
	return err == nil && name == "key"
}

// jwsStart is how the base64url of a JSON object begins, and so every compact
// JWS, ours included. What follows is taken whole, dots percent-encoded or not.
const jwsStart = "eyJ"

// minToken is the shortest run that is redacted: a shorter one is no token but
// may be a word.
const minToken = 20

func redactTokens(s string) string {
	var out strings.Builder
	written := 0
	for from := 0; ; {
		start := strings.Index(s[from:], jwsStart)
		if start < 0 {
			break
		}
		start += from
		end := start
		for end < len(s) && isTokenByte(s[end]) {
			end++
		}
		if end-start >= minToken {
			out.WriteString(s[written:start])
			out.WriteString(redacted)
			written = end
		}
		from = end
	}
	if written == 0 {
		return s
	}
	out.WriteString(s[written:])
	return out.String()
}

// redactKept takes kept tokens of session backends out of s.
func redactKept(s string) string {
	var out strings.Builder
	written := 0
	for from := 0; ; {
		dash := strings.IndexByte(s[from:], '-')
		if dash < 0 {
			break
		}
		dash += from
		from = dash + 1
		start, end := dash-sessionbackend.KeptHead, dash+1+sessionbackend.KeptTail
		if start < written || end > len(s) {
			continue
		}
		if _, ok := sessionbackend.BackendOfKept(s[start:end]); !ok {
			continue
		}
		out.WriteString(s[written:start])
		out.WriteString(redacted)
		written, from = end, end
	}
	if written == 0 {
		return s
	}
	out.WriteString(s[written:])
	return out.String()
}

func isTokenByte(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return c == '-' || c == '_' || c == '.' || c == '%' || c == '=' || c == '+'
}
