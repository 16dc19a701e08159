package webtask

import (
	"errors"
	"strings"
	"testing"
)

// Whatever Open accepts was issued: its signature covers every byte of it.
func FuzzOpenToken(f *testing.F) {
	// Workers are processes of their own: a token issued here, with its random
	// id, would be another one in each of them.
	ring, err := ParseKeyring([]byte(recordedKeyring))
	if err != nil {
		f.Fatal(err)
	}
	token := recordedToken
	header, payload, _ := segmentsOf(token)
	for _, seed := range []string{
		token, token[:len(token)-1], token + "=", "", "..", header + "." + payload + ".",
		`{"payload":"` + payload + `"}`, strings.ToUpper(token), issue(f, newRing(f, 2), hello()),
		forge(ring, `{"alg":"none","kid":"wt1-"}`, "{}"),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if v, err := ring.Open(text, now); err == nil && text != token {
			t.Fatalf("opened %v", v)
		} else if err != nil && !errors.Is(err, ErrTokenMalformed) && !errors.Is(err, ErrTokenUnverified) {
			t.Fatalf("error %v has no kind", err)
		}
		IsToken(text)
	})
}

// A payload that is signed is still read strictly: what is accepted is written
// back as a token that means the same.
func FuzzSignedPayload(f *testing.F) {
	ring := newRing(f, 1)
	for _, c := range []Claims{hello(), tenant(), {Master: true, Depth: 1}} {
		token := issue(f, ring, c)
		v, err := ring.Verify(token)
		if err != nil {
			f.Fatal(err)
		}
		text, err := v.MarshalJSON()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add(`{"jti":"00000000000000000000000000000000","ten":"/^a{1,3}$/i","lim":{"memory":"1.5MiB"},"exp":"1800000000","net":["*.a.b:8"]}`)
	f.Fuzz(func(t *testing.T, payload string) {
		first, err := ring.Verify(forge(ring, headerOf(ring), payload))
		if err != nil {
			if !errors.Is(err, ErrTokenMalformed) {
				t.Fatalf("error %v has no kind", err)
			}
			return
		}
		written, err := first.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		second, err := ring.Verify(forge(ring, headerOf(ring), string(written)))
		if err != nil {
			t.Fatalf("%s was accepted, but %s is not: %v", payload, written, err)
		}
		if again, _ := second.MarshalJSON(); string(again) != string(written) {
			t.Fatalf("%s became %s", written, again)
		}
		_, _ = first.Task()
	})
}

func FuzzSessionCookie(f *testing.F) {
	secret, err := NewSessionSecret(newRand(1))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(secret.CookieValue())
	f.Add(secret.CookieValue() + "=")
	f.Add(strings.Repeat("A", 22))
	f.Add("")
	f.Fuzz(func(t *testing.T, value string) {
		secret, ok := ParseSessionSecret(value)
		if ok && secret.CookieValue() != value {
			t.Fatalf("%q was accepted as another spelling of %q", value, secret.CookieValue())
		}
		if !ok && secret != (SessionSecret{}) {
			t.Fatal("bits of a refused value are returned")
		}
	})
}

func FuzzNetPattern(f *testing.F) {
	for _, s := range []string{"api.example.com", "*.internal:8080", "10.1.0.0/16", "127.0.0.1:9000", "[::1]:80", "[fd00::/8]", "0x7f.1", "public"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		p, err := parseNetPattern(a)
		if err != nil {
			return
		}
		if !p.covers(p) {
			t.Fatalf("%q does not cover itself", a)
		}
		if q, err := parseNetPattern(b); err == nil && p.covers(q) && q.covers(p) && p != q {
			t.Fatalf("%q and %q cover each other", a, b)
		}
	})
}

func segmentsOf(token string) (header, payload, signature string) {
	header, rest, _ := strings.Cut(token, ".")
	payload, signature, _ = strings.Cut(rest, ".")
	return header, payload, signature
}
