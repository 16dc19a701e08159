package webtask

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// newRand returns random bytes that are the same in every run.
func newRand(seed byte) *rand.ChaCha8 { return rand.NewChaCha8([32]byte{seed}) }

func newRing(t testing.TB, seed byte) *Keyring {
	t.Helper()
	ring, err := GenerateKeyring(newRand(seed))
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func issueOptions() IssueOptions { return IssueOptions{Now: now} }

// hello is a token that runs code, with a secret.
func hello() Claims {
	return Claims{
		Container: "acme",
		URL:       "https://example.com/hello.js?a=1&b=2",
		Secrets:   map[string]string{"API_KEY": "s3cret-value-4711"},
		Params:    map[string]string{"lang": "en"},
		Expires:   now.Add(time.Hour),
	}
}

func issue(t testing.TB, ring *Keyring, c Claims) string {
	t.Helper()
	token, err := ring.Issue(c, IssueOptions{Now: now, AllowMaster: true})
	if err != nil {
		t.Fatalf("Issue: %v", err)
	}
	return token
}

func open(t testing.TB, ring *Keyring, token string) *Verified {
	t.Helper()
	v, err := ring.Open(token, now)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return v
}

// forge signs any header and payload with the first key of ring, without the
// code under test: what somebody could do who holds the keys.
func forge(ring *Keyring, header, payload string) string {
	b64 := base64.RawURLEncoding
	signed := b64.EncodeToString([]byte(header)) + "." + b64.EncodeToString([]byte(payload))
	return signed + "." + b64.EncodeToString(mac(ring.keys[0].sign, signed))
}

func mac(key []byte, signed string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(signed))
	return h.Sum(nil)
}

func headerOf(ring *Keyring) string {
	return `{"alg":"HS256","kid":"` + ring.KeyIDs()[0] + `"}`
}

// segments returns the three decoded parts of a token.
func segments(t testing.TB, token string) (header, payload, signature string) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("token has %d segments", len(parts))
	}
	var decoded [3]string
	for i, part := range parts {
		data, err := base64.RawURLEncoding.Strict().DecodeString(part)
		if err != nil {
			t.Fatal(err)
		}
		decoded[i] = string(data)
	}
	return decoded[0], decoded[1], decoded[2]
}

// wantField fails unless err is about field, of kind, and says how to mend it.
func wantField(t testing.TB, err error, kind error, field string) {
	t.Helper()
	var f *FieldError
	if !errors.As(err, &f) {
		t.Fatalf("error %v is no *FieldError", err)
	}
	if f.Field != field {
		t.Errorf("error %q is about %q, want %q", err, f.Field, field)
	}
	if f.Problem == "" || f.Remedy == "" {
		t.Errorf("error %q has no problem or no remedy", err)
	}
	if kind != nil && !errors.Is(err, kind) {
		t.Errorf("error %q does not wrap %q", err, kind)
	}
}
