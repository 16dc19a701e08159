package webtask

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSessionSecret(t *testing.T) {
	secret, err := NewSessionSecret(newRand(1))
	if err != nil {
		t.Fatal(err)
	}
	value := secret.CookieValue()
	if len(value) != 22 {
		t.Errorf("cookie value has %d characters, want 22", len(value))
	}
	if again, ok := ParseSessionSecret(value); !ok || again != secret {
		t.Errorf("the value does not read back")
	}
	if _, err := NewSessionSecret(bytes.NewReader(make([]byte, 15))); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a secret of too little randomness: %v", err)
	}
	for _, bad := range []string{
		"", "x", value[:21], value + "A", value + "=", value + "==", value[:21] + "/", value[:21] + "+", value[:21] + "\n", value[:21] + "B", // unused bits
		value + value, strings.Repeat("A", 10_000), `"` + value[:20] + `"`, value[:20] + "%3", value[:19] + "é",
	} {
		if got, ok := ParseSessionSecret(bad); ok {
			t.Errorf("%q was read as a secret", bad)
		} else if got != (SessionSecret{}) {
			t.Errorf("%q left bits behind", bad)
		}
	}
}

func TestSessionID(t *testing.T) {
	secret, err := NewSessionSecret(newRand(1))
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewSessionSecret(newRand(2))
	if err != nil {
		t.Fatal(err)
	}
	id := SessionID("acme", secret)
	if data, err := base64.RawURLEncoding.Strict().DecodeString(id); err != nil || len(data) != 24 {
		t.Errorf("id %q is not 24 bytes of base64url: %v", id, err)
	}
	if SessionID("acme", secret) != id {
		t.Error("the same session has two ids")
	}
	if SessionID("beta", secret) == id || SessionID("acme", other) == id || SessionID("", secret) == id {
		t.Error("two sessions have the same id")
	}
}

func TestSessionCookieName(t *testing.T) {
	for _, test := range []struct {
		container   string
		own, secure bool
		want        string
	}{
		{"@example.com", true, false, "webtask_session"},
		{"@example.com", true, true, "__Host-webtask_session"},
		{"acme", false, false, "webtask_session_822b33ad87c148a0"},
		{"acme", false, true, "__Host-webtask_session_822b33ad87c148a0"},
	} {
		if got := SessionCookieName(test.container, test.own, test.secure); got != test.want {
			t.Errorf("cookie of %s (own %v, secure %v) is %s, want %s", test.container, test.own, test.secure, got, test.want)
		}
	}
	if SessionCookieName("beta", false, false) == SessionCookieName("acme", false, false) {
		t.Error("two tenants share a cookie")
	}
}

func TestRevocationSet(t *testing.T) {
	var set RevocationSet
	if set.Revoked([]string{"a"}) || set.Len() != 0 {
		t.Error("the zero set revokes")
	}
	set.Add(nil)
	set.Add(map[string]time.Time{"a": now.Add(time.Hour), "forever": {}})
	set.Add(map[string]time.Time{"b": now.Add(time.Minute)})
	for _, test := range []struct {
		chain []string
		want  bool
	}{
		{[]string{"a"}, true}, {[]string{"x", "y", "b"}, true}, {[]string{"forever"}, true}, {[]string{"x"}, false}, {nil, false},
	} {
		if got := set.Revoked(test.chain); got != test.want {
			t.Errorf("Revoked(%v) is %v", test.chain, got)
		}
	}

	// The later time holds, whatever the order.
	set.Add(map[string]time.Time{"a": now.Add(time.Minute), "b": now.Add(3 * time.Hour), "forever": now})
	set.Purge(now.Add(30 * time.Minute))
	if set.Len() != 3 {
		t.Errorf("%d ids are left, want 3", set.Len())
	}
	set.Purge(now.Add(time.Hour)) // to the instant
	if set.Revoked([]string{"a"}) || !set.Revoked([]string{"b"}) || set.Len() != 2 {
		t.Error("a was kept or b was lost")
	}
	set.Add(map[string]time.Time{"b": {}})
	set.Purge(now.Add(1e6 * time.Hour))
	if !set.Revoked([]string{"b"}) || !set.Revoked([]string{"forever"}) {
		t.Error("an id that is revoked for ever was purged")
	}

	replacement := map[string]time.Time{"c": {}}
	set.Replace(replacement)
	replacement["d"] = now
	if set.Revoked([]string{"b"}) || !set.Revoked([]string{"c"}) || set.Revoked([]string{"d"}) {
		t.Error("Replace did not take a copy of exactly what it was given")
	}
}

// Revoking a token revokes what was derived from it, and nothing else.
func TestRevokingAnAncestor(t *testing.T) {
	ring := newRing(t, 1)
	root := open(t, ring, issue(t, ring, Claims{Container: "acme", Depth: 2}))
	child := derive(t, ring, root, Claims{Depth: 1})
	task := derive(t, ring, child, Claims{URL: "https://example.com/x.js"})
	sibling := derive(t, ring, root, Claims{URL: "https://example.com/x.js"})
	var set RevocationSet
	set.Add(map[string]time.Time{child.Claims().ID: child.Claims().Expires})
	got := []bool{set.Revoked(root.Chain()), set.Revoked(child.Chain()), set.Revoked(task.Chain()), set.Revoked(sibling.Chain())}
	if !slices.Equal(got, []bool{false, true, true, false}) {
		t.Errorf("revoked: root, child, task, sibling = %v", got)
	}
}
