package webtask

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

// ectxOf returns the ciphertext of a token's secrets.
func ectxOf(t *testing.T, token string) string {
	t.Helper()
	_, payload, _ := segments(t, token)
	var claims struct{ Ectx string }
	if err := json.Unmarshal([]byte(payload), &claims); err != nil || claims.Ectx == "" {
		t.Fatalf("no ectx: %v", err)
	}
	return claims.Ectx
}

func TestSecretsForm(t *testing.T) {
	ring := newRing(t, 1)
	token := issue(t, ring, hello())
	v := open(t, ring, token)
	parts := strings.Split(ectxOf(t, token), ".")
	if len(parts) != 5 || parts[1] != "" {
		t.Fatalf("ectx has %d segments", len(parts))
	}
	header, err := base64.RawURLEncoding.DecodeString(parts[0])
	if err != nil {
		t.Fatal(err)
	}
	want := `{"alg":"dir","enc":"A256GCM","jti":"` + v.Claims().ID + `","ten":"acme"}`
	if string(header) != want {
		t.Errorf("protected header is %s, want %s", header, want)
	}
	first, second := open(t, ring, issue(t, ring, hello())), open(t, ring, issue(t, ring, hello()))
	if first.claims.sealed == second.claims.sealed {
		t.Error("two tokens have the same ciphertext")
	}
}

func TestSecretsCannotBeMoved(t *testing.T) {
	ring, other := newRing(t, 1), newRing(t, 2)
	token := issue(t, ring, hello())
	header, payload, _ := segments(t, token)
	ectx := ectxOf(t, token)
	parts := strings.Split(ectx, ".")
	jti := open(t, ring, token).Claims().ID

	otherTenant := hello()
	otherTenant.Container = "evil"
	spare := newRing(t, 3)
	// A key of another ring under this ring's id, as if ectx came from there.
	sealedElsewhere, err := other.keys[0].seal(map[string]string{"a": "b"}, jti, "acme")
	if err != nil {
		t.Fatal(err)
	}
	sealedHere := func(id, ten string) string {
		sealed, err := ring.keys[0].seal(map[string]string{"a": "b"}, id, ten)
		if err != nil {
			t.Fatal(err)
		}
		return sealed
	}
	reheaded := func(json string) string {
		return base64.RawURLEncoding.EncodeToString([]byte(json)) + ectx[len(parts[0]):]
	}
	for _, test := range []struct{ name, ectx string }{
		{"of another token of the container", ectxOf(t, issue(t, ring, hello()))},
		{"of another container", ectxOf(t, issue(t, ring, otherTenant))},
		{"of another keyring", ectxOf(t, issue(t, spare, hello()))},
		{"for this token by another key", sealedElsewhere},
		{"for this id in another container", sealedHere(jti, "evil")},
		{"for another id in this container", sealedHere(strings.Repeat("0", 32), "acme")},
		{"header renamed to this token", func() string {
			foreign := strings.Split(ectxOf(t, issue(t, ring, hello())), ".")
			foreign[0] = parts[0]
			return strings.Join(foreign, ".")
		}()},
		{"header without jti", reheaded(`{"alg":"dir","enc":"A256GCM","ten":"acme"}`)},
		{"header with zip", reheaded(`{"alg":"dir","enc":"A256GCM","jti":"` + jti + `","ten":"acme","zip":"DEF"}`)},
		{"alg of a key wrap", reheaded(`{"alg":"A256KW","enc":"A256GCM","jti":"` + jti + `","ten":"acme"}`)},
		{"enc of CBC", reheaded(`{"alg":"dir","enc":"A128CBC-HS256","jti":"` + jti + `","ten":"acme"}`)},
		{"jti twice", reheaded(`{"alg":"dir","enc":"A256GCM","jti":"x","jti":"` + jti + `","ten":"acme"}`)},
		{"with an encrypted key", strings.Replace(ectx, "..", ".AAAA.", 1)},
		{"without tag", ectx[:strings.LastIndexByte(ectx, '.')+1]},
		{"four segments", strings.Join(parts[:4], ".")},
		{"padded", ectx + "="},
		{"with a line break", ectx[:9] + `\n` + ectx[9:]},
		{"changed ciphertext", strings.Join([]string{parts[0], "", parts[2], "AAAA" + parts[3][4:], parts[4]}, ".")},
		{"plain text", `x`},
	} {
		t.Run(test.name, func(t *testing.T) {
			forged := forge(ring, header, strings.Replace(payload, ectx, test.ectx, 1))
			v := open(t, ring, forged) // it is signed: only its secrets are wrong
			for range 2 {
				if secrets, err := v.Secrets(); !errors.Is(err, ErrTokenSecrets) || secrets != nil {
					t.Fatalf("secrets opened: %v, %v", secrets, err)
				}
				if task, err := v.Task(); !errors.Is(err, ErrTokenSecrets) || task != nil {
					t.Fatalf("task was made: %v, %v", task, err)
				}
			}
			if _, err := v.Inspect(true); !errors.Is(err, ErrTokenSecrets) {
				t.Errorf("Inspect: %v", err)
			}
		})
	}
}

func TestTokenWithoutSecrets(t *testing.T) {
	ring := newRing(t, 1)
	c := hello()
	c.Secrets = map[string]string{}
	v := open(t, ring, issue(t, ring, c))
	if secrets, err := v.Secrets(); secrets != nil || err != nil {
		t.Errorf("secrets are %v, %v", secrets, err)
	}
	text, err := v.Inspect(true)
	if err != nil || strings.Contains(string(text), "ectx") {
		t.Errorf("Inspect: %s, %v", text, err)
	}
}
