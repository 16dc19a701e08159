package sessionbackend

import (
	"crypto/rand"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// kept are the tokens of a backend that say nothing themselves: what they are for
// is known here, and forgotten with the backend.
type kept struct {
	static     string // a token for everybody, which the backend knows; empty: there is none
	staticData *Token

	mu     sync.Mutex
	tokens map[string]*Token
}

// maxKept is how many tokens of a backend are kept at once.
const maxKept = 10_000

// staticPrefix begins static tokens.
const staticPrefix = "s."

// Kept tokens, static ones after their prefix, are the id of the backend, a dash
// and 130 random bits.
const (
	KeptHead = 16 // bytes before the dash
	KeptTail = 26 // bytes after it
)

// BackendOfKept returns the id of the backend that a kept token is of; false: it is
// no kept token.
func BackendOfKept(text string) (id string, ok bool) {
	text = strings.TrimPrefix(text, staticPrefix)
	if len(text) != KeptHead+1+KeptTail || text[KeptHead] != '-' {
		return "", false
	}
	id = text[:KeptHead]
	return id, isBase32(id, 'a') && isBase32(text[KeptHead+1:], 'A')
}

// isBase32 reports whether all of s are letters, from a or A on, or digits of base32
// (RFC 4648).
func isBase32(s string, first byte) bool {
	for i := range len(s) {
		if c := s[i]; (c < first || c >= first+26) && (c < '2' || c > '7') {
			return false
		}
	}
	return true
}

// IsStatic reports whether a token is static, if it is one.
func IsStatic(text string) bool { return strings.HasPrefix(text, staticPrefix) }

// makeStatic gives a backend that has not started yet a static token, and its
// process the variable SESSION_BACKEND_STATIC_TOKEN.
func (b *Backend) makeStatic() {
	b.kept.static = staticPrefix + b.ID + "-" + rand.Text()
	b.kept.staticData = &Token{Service: b.Service, Key: b.Key, Backend: b.ID, Issued: b.since.UnixMicro(), Secret: rand.Text()}
	env := map[string]string{"SESSION_BACKEND_STATIC_TOKEN": b.kept.static}
	maps.Copy(env, b.Env)
	b.Env = env
}

// Static returns the static token of the backend and what it is; empty if it has
// none.
func (b *Backend) Static() (text string, token *Token) { return b.kept.static, b.kept.staticData }

// Keep returns a text that stands for a token until that expires, and sets its
// secret.
func (b *Backend) Keep(token *Token) (string, error) {
	k := &b.kept
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.tokens) >= maxKept {
		now := time.Now().Unix()
		maps.DeleteFunc(k.tokens, func(_ string, token *Token) bool { return now >= token.Expires })
	}
	if len(k.tokens) >= maxKept {
		return "", fmt.Errorf("the session backend has %d tokens that have not expired, as many as are kept; take a shorter token_lifetime, or tokens signed", maxKept)
	}
	if k.tokens == nil {
		k.tokens = map[string]*Token{}
	}
	token.Secret = rand.Text()
	text := b.ID + "-" + rand.Text()
	k.tokens[text] = token
	return text, nil
}

// forget drops the tokens of a backend that has ended.
func (k *kept) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tokens = nil
}

// Kept returns the token that a text stands for. Its errors wrap those of package
// webtask.
func (b *Backend) Kept(text string, now time.Time) (*Token, error) {
	k := &b.kept
	if k.static != "" && text == k.static {
		return k.staticData, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	token := k.tokens[text]
	switch {
	case token == nil:
		return nil, fmt.Errorf("%w: it is unknown", webtask.ErrTokenUnverified)
	case now.Unix() >= token.Expires:
		delete(k.tokens, text)
		return nil, webtask.ErrTokenExpired
	}
	return token, nil
}
