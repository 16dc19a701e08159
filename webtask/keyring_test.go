package webtask

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

func TestKeyringRoundTrip(t *testing.T) {
	ring := newRing(t, 1)
	token := issue(t, ring, hello())
	data, err := ring.JWKS()
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseKeyring(data)
	if err != nil {
		t.Fatal(err)
	}
	v := open(t, again, token)
	if secrets, err := v.Secrets(); err != nil || secrets["API_KEY"] != "s3cret-value-4711" {
		t.Errorf("secrets do not open with the keyring read back: %v", err)
	}
	kid := ring.KeyIDs()[0]
	if !strings.HasPrefix(kid, "wt1-") || len(kid) != 20 {
		t.Errorf("kid is %q", kid)
	}
}

func TestRotation(t *testing.T) {
	first := newRing(t, 1)
	both, err := first.Rotate(newRand(2))
	if err != nil {
		t.Fatal(err)
	}
	ids := both.KeyIDs()
	if len(ids) != 2 || ids[1] != first.KeyIDs()[0] || ids[0] == ids[1] {
		t.Fatalf("key ids are %v after rotating %v", ids, first.KeyIDs())
	}
	old, fresh := issue(t, first, hello()), issue(t, both, hello())
	for _, token := range []string{old, fresh} {
		if _, err := open(t, both, token).Secrets(); err != nil {
			t.Error(err)
		}
	}
	if _, err := first.Open(fresh, now); !errors.Is(err, ErrTokenUnverified) {
		t.Errorf("the old ring opens a token of the new key: %v", err)
	}
	if len(first.KeyIDs()) != 1 {
		t.Error("Rotate changed the ring it was called on")
	}

	// Dropping a key makes its tokens unverified.
	data, err := both.JWKS()
	if err != nil {
		t.Fatal(err)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(data, &set); err != nil {
		t.Fatal(err)
	}
	set.Keys = set.Keys[:1]
	data, err = json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	dropped, err := ParseKeyring(data)
	if err != nil {
		t.Fatal(err)
	}
	open(t, dropped, fresh)
	if _, err := dropped.Open(old, now); !errors.Is(err, ErrTokenUnverified) {
		t.Errorf("a dropped key verifies: %v", err)
	}
}

func TestGenerateKeyringWithoutRandomness(t *testing.T) {
	if _, err := GenerateKeyring(io.LimitReader(newRand(1), 40)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error is %v", err)
	}
	ring := newRing(t, 1)
	if _, err := ring.Issue(hello(), IssueOptions{Now: now, Rand: bytes.NewReader(nil)}); !errors.Is(err, io.EOF) {
		t.Errorf("error is %v", err)
	}
}

func TestParseKeyringRefuses(t *testing.T) {
	const k = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
	key := func(members string) string { return `{"keys":[{` + members + `}]}` }
	good := `"kty":"oct","kid":"wt1-abcdefghijklmnop","k":"` + k + `"`
	if _, err := ParseKeyring([]byte(key(good))); err != nil {
		t.Fatal(err)
	}
	if _, err := ParseKeyring([]byte(key(good + `,"alg":"HS256","use":"sig","key_ops":["sign"]`))); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, data, field string }{
		{"empty", ``, "keys"},
		{"no JSON", `-----BEGIN PRIVATE KEY-----`, "keys"},
		{"no keys", `{"keys":[]}`, "keys"},
		{"keys is no list", `{"keys":{}}`, "keys"},
		{"a key alone", `{` + good + `}`, "keys"},
		{"keys twice", `{"keys":[{` + good + `}],"keys":[]}`, "keys"},
		{"tail", key(good) + "x", "keys"},
		{"key is no object", `{"keys":["x"]}`, "keys[0]"},
		{"member twice", key(good + `,"k":"` + k + `"`), "keys[0]"},
		{"RSA", key(`"kty":"RSA","kid":"wt1-abcdefghijklmnop","n":"x","e":"AQAB"`), "keys[0].kty"},
		{"no kid", key(`"kty":"oct","k":"` + k + `"`), "keys[0].kid"},
		{"kid of others", key(strings.Replace(good, "wt1-", "key-", 1)), "keys[0].kid"},
		{"kid too short", key(strings.Replace(good, "nop", "", 1)), "keys[0].kid"},
		{"kid with a quote", key(strings.Replace(good, "nop", `n\"p`, 1)), "keys[0].kid"},
		{"alg", key(good + `,"alg":"HS512"`), "keys[0].alg"},
		{"use", key(good + `,"use":"enc"`), "keys[0].use"},
		{"no k", key(`"kty":"oct","kid":"wt1-abcdefghijklmnop"`), "keys[0].k"},
		{"short k", key(strings.Replace(good, k, k[:42], 1)), "keys[0].k"},
		{"long k", key(strings.Replace(good, k, strings.Repeat("AAAA", 400), 1)), "keys[0].k"},
		{"padded k", key(strings.Replace(good, k, k+"=", 1)), "keys[0].k"},
		{"k with unused bits", key(strings.Replace(good, k, k[:42]+"9", 1)), "keys[0].k"},
		{"k in hex with spaces", key(strings.Replace(good, k, "00 01 02", 1)), "keys[0].k"},
		{"kid twice", `{"keys":[{` + good + `},{` + good + `}]}`, "keys[1].kid"},
	} {
		t.Run(test.name, func(t *testing.T) {
			ring, err := ParseKeyring([]byte(test.data))
			if err == nil || ring != nil {
				t.Fatal("was accepted")
			}
			wantField(t, err, ErrKeyring, test.field)
			if strings.Contains(err.Error(), k[:10]) {
				t.Errorf("error shows the key: %v", err)
			}
		})
	}
}

// Whatever way a value gets into a log, a config dump or an error, secrets,
// keys and tokens stay out.
func TestNothingSecretIsPrinted(t *testing.T) {
	ring := newRing(t, 1)
	token := issue(t, ring, hello())
	v := open(t, ring, token)
	task, err := v.Task()
	if err != nil {
		t.Fatal(err)
	}
	secret, err := NewSessionSecret(newRand(9))
	if err != nil {
		t.Fatal(err)
	}
	jwks, err := ring.JWKS()
	if err != nil {
		t.Fatal(err)
	}
	var set struct{ Keys []struct{ K string } }
	if err := json.Unmarshal(jwks, &set); err != nil {
		t.Fatal(err)
	}
	secrets := []string{
		"s3cret-value-4711", token[len(token)-20:], set.Keys[0].K, secret.CookieValue(),
		fmt.Sprint(ring.keys[0].secret), fmt.Sprintf("%x", ring.keys[0].secret), fmt.Sprintf("%x", ring.keys[0].sign), fmt.Sprint(secret.bits),
	}
	for _, value := range []any{ring, *ring, v, task, *task, v.Claims(), *v.Claims(), hello(), new(hello()), secret, &secret} {
		printed := []string{fmt.Sprint(value), fmt.Sprintf("%+v", value), fmt.Sprintf("%#v", value), fmt.Sprintf("%s", value), fmt.Sprintf("%x", value), fmt.Sprintf("%v", []any{value})}
		data, err := json.Marshal(value)
		if err != nil {
			t.Fatalf("%T: %v", value, err)
		}
		printed = append(printed, string(data))
		for _, text := range printed {
			for _, s := range secrets {
				if strings.Contains(text, s) {
					t.Errorf("%T prints %q: %s", value, s, text)
				}
			}
		}
	}
}
