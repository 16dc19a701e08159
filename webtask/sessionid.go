package webtask

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
)

// SessionSecret is what a session cookie holds and nothing else: 128 random
// bits. Who knows it has the session, so it is neither stored nor logged; the
// session goes by SessionID.
type SessionSecret struct{ bits [16]byte }

// sessionSecretLength is the length of a cookie's value in characters.
const sessionSecretLength = 22

// NewSessionSecret returns a new secret.
func NewSessionSecret(rand io.Reader) (SessionSecret, error) {
	var s SessionSecret
	if _, err := io.ReadFull(rand, s.bits[:]); err != nil {
		return SessionSecret{}, fmt.Errorf("making a session secret: %w", err)
	}
	return s, nil
}

// ParseSessionSecret reads a cookie's value: 22 characters of canonical
// base64url. Anything else is no secret of ours, and no error worth telling.
func ParseSessionSecret(value string) (s SessionSecret, ok bool) {
	if len(value) != sessionSecretLength || !isCanonical(value) {
		return SessionSecret{}, false
	}
	var text [sessionSecretLength]byte
	n, err := base64.RawURLEncoding.Decode(s.bits[:], text[:copy(text[:], value)])
	return s, err == nil && n == len(s.bits)
}

// CookieValue returns what ParseSessionSecret reads.
func (s SessionSecret) CookieValue() string {
	return base64.RawURLEncoding.EncodeToString(s.bits[:])
}

// Format writes no bit of the secret.
func (s SessionSecret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "webtask.SessionSecret") }

// SessionID returns the public id of the session that secret has in container,
// 32 characters of base64url:
//
//	SHA-256("webtask/session/1" 0x00 secret container), the first 24 bytes
//
// It can be shown and stored: the secret cannot be found from it, and in two
// containers the same cookie value has two unrelated ids.
func SessionID(container string, secret SessionSecret) string {
	h := sha256.New()
	_, _ = io.WriteString(h, "webtask/session/1\x00")
	_, _ = h.Write(secret.bits[:])
	_, _ = io.WriteString(h, container)
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:24])
}

// SessionCookieName returns the name of the cookie that keeps the session of
// container: webtask_session for the site's own tasks, webtask_session_ and 16
// hex digits of the container's SHA-256 for a tenant's, so that tenants on one
// origin keep apart. Over TLS it starts with __Host- (RFC 6265bis §4.1.3.2):
// no other host or path can then set it.
func SessionCookieName(container string, own, secure bool) string {
	name := "webtask_session"
	if !own {
		digest := sha256.Sum256([]byte(container))
		name += "_" + hex.EncodeToString(digest[:8])
	}
	if secure {
		name = "__Host-" + name
	}
	return name
}
