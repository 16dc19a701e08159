package webtask

import (
	"crypto/rand"
	"errors"
	"strings"
	"testing"
)

func newSigner(t *testing.T, ring *Keyring, label, typ string) *Signer {
	t.Helper()
	s, err := ring.Signer(SignerOptions{Label: label, Type: typ, Longest: 4096})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSigner(t *testing.T) {
	ring, err := GenerateKeyring(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rotated, err := ring.Rotate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := GenerateKeyring(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := newSigner(t, ring, "webtask/backend/1", "backend").Sign([]byte("payload"))
	if err != nil {
		t.Fatal(err)
	}
	if IsToken(signed) {
		t.Error("what it makes is taken for the token of a webtask")
	}
	for name, s := range map[string]*Signer{"the ring": newSigner(t, ring, "webtask/backend/1", "backend"), "after a rotation": newSigner(t, rotated, "webtask/backend/1", "backend")} {
		if payload, err := s.Verify(signed); err != nil || string(payload) != "payload" {
			t.Errorf("%s: %q, %v", name, payload, err)
		}
	}
	// A companion survives a rotation, and is another for each text and ring.
	companion := func(ring *Keyring, signed string) string {
		t.Helper()
		text, err := newSigner(t, ring, "webtask/backend/1", "backend").Companion(signed)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	first := companion(ring, signed)
	if first != companion(rotated, signed) || first == companion(ring, signed+"x") || len(first) != 43 || strings.Contains(signed, first) {
		t.Errorf("the companion is %q", first)
	}
	for name, s := range map[string]*Signer{
		"another ring":  newSigner(t, other, "webtask/backend/1", "backend"),
		"another label": newSigner(t, ring, "webtask/backend/2", "backend"),
		"another type":  newSigner(t, ring, "webtask/backend/1", "other"),
	} {
		if _, err := s.Verify(signed); !errors.Is(err, ErrTokenUnverified) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := newSigner(t, ring, "webtask/backend/1", "backend")
	segments := strings.Split(signed, ".")
	for name, forged := range map[string]string{
		"empty": "", "no segments": "abc", "one segment less": segments[0] + "." + segments[1], "one more": signed + ".x",
		"padding": signed + "=", "no signature": segments[0] + "." + segments[1] + ".", "too long": strings.Repeat("a", 5000),
		"another payload": segments[0] + ".e30." + segments[2], "alg none": "eyJhbGciOiJub25lIn0." + segments[1] + "." + segments[2],
		"another case": strings.ToUpper(signed), "signature cut": signed[:len(signed)-4],
	} {
		if payload, err := s.Verify(forged); err == nil {
			t.Errorf("%s: verified as %q", name, payload)
		}
	}
	// A token of a webtask is none of these, whoever signed it.
	jws, err := ring.keys[0].signer.Sign([]byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Verify(token); !errors.Is(err, ErrTokenUnverified) {
		t.Errorf("the token of a webtask: %v", err)
	}
}
