package edge

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// carrier is the place of a request that a token stands in.
type carrier uint8

const (
	carriedNot    carrier = iota
	carriedBearer         // Authorization: Bearer (RFC 6750 §2.1)
	carriedQuery          // ?key=, as wt-cli makes URLs
	carriedHeader         // X-Webtask-Token, for sites that use Authorization otherwise
)

const (
	headerAuthorization = "Authorization"
	headerToken         = "X-Webtask-Token"
	queryToken          = "key"
)

// header returns the name of the header that it is; empty: it is none.
func (c carrier) header() string {
	switch c {
	case carriedBearer:
		return headerAuthorization
	case carriedHeader:
		return headerToken
	}
	return ""
}

// carried is the token of ours that a request carries.
type carried struct {
	token string
	in    carrier
}

// findToken returns the token of ours that a request carries, or none. Ours is
// what has the shape of our tokens, and anything in X-Webtask-Token: whatever
// is wrong with that is for the verifier to say. Other bearer tokens and keys
// are none of our business. More than one is ErrTokenTwice.
func findToken(r *http.Request) (carried, error) {
	var found carried
	count := 0
	take := func(token string, in carrier) {
		found = carried{token, in}
		count++
	}
	for _, value := range r.Header[headerToken] {
		take(value, carriedHeader)
	}
	for _, value := range r.Header[headerAuthorization] {
		if token, ok := bearer(value); ok && webtask.IsToken(token) {
			take(token, carriedBearer)
		}
	}
	for query := r.URL.RawQuery; query != ""; {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		if token, ok := keyParameter(pair); ok && webtask.IsToken(token) {
			take(token, carriedQuery)
		}
	}
	if count > 1 {
		return carried{}, webtask.ErrTokenTwice
	}
	return found, nil
}

// bearer returns the credentials of an Authorization value of that scheme.
func bearer(value string) (string, bool) {
	const scheme = "Bearer "
	if len(value) < len(scheme) || !strings.EqualFold(value[:len(scheme)], scheme) {
		return "", false
	}
	return strings.TrimLeft(value[len(scheme):], " "), true
}

// keyParameter returns the value of one name=value pair of a query when its
// name is key.
func keyParameter(pair string) (string, bool) {
	name, value, _ := strings.Cut(pair, "=")
	if name != queryToken {
		if !strings.ContainsAny(name, "%+") {
			return "", false
		}
		if plain, err := url.QueryUnescape(name); err != nil || plain != queryToken {
			return "", false
		}
	}
	if !strings.ContainsAny(value, "%+") {
		return value, true
	}
	plain, err := url.QueryUnescape(value)
	return plain, err == nil
}

// withoutKey returns a request target without the token in its query.
func withoutKey(target string) string {
	path, query, ok := strings.Cut(target, "?")
	if !ok {
		return target
	}
	var kept strings.Builder
	kept.Grow(len(target))
	kept.WriteString(path)
	separator := byte('?')
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		if token, ok := keyParameter(pair); ok && webtask.IsToken(token) {
			continue
		}
		kept.WriteByte(separator)
		kept.WriteString(pair)
		separator = '&'
	}
	return kept.String()
}
