package sessionbackend

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

func newTokens(t *testing.T) *Tokens {
	t.Helper()
	ring, err := webtask.GenerateKeyring(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := NewTokens(ring)
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

func TestToken(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, s *Service, _ *localDriver) {
		tokens := newTokens(t)
		b := acquire(t, s, "a/<b>")
		defer b.Release()
		made := b.Token("ann", json.RawMessage(`{"role":"<editor>"}`), time.Minute)
		signed, err := tokens.Sign(made)
		if err != nil {
			t.Fatal(err)
		}
		opened, err := tokens.Open(signed, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if opened.Backend != b.ID || opened.Key != "a/<b>" || opened.Service != "docs" || opened.User != "ann" || string(opened.Auth) != `{"role":"<editor>"}` {
			t.Errorf("it opens as %+v", opened)
		}
		if opened.Secret != made.Secret || len(opened.Secret) < 40 || strings.Contains(signed, opened.Secret) {
			t.Errorf("the secret is %q, and was %q", opened.Secret, made.Secret)
		}
		if _, err := tokens.Open(signed, time.Now().Add(time.Minute)); !errors.Is(err, webtask.ErrTokenExpired) {
			t.Errorf("after its time: %v", err)
		}
		if _, err := newTokens(t).Open(signed, time.Now()); !errors.Is(err, webtask.ErrTokenUnverified) {
			t.Errorf("at another edge: %v", err)
		}
	})
}

// The data of a token can stand in a header, and is the same to every program.
func TestTokenDataInHeader(t *testing.T) {
	for in, want := range map[string]string{
		"{\n \"a\": [1, 2]\n}": `{"a":[1,2]}`, `{"ä":"\u00e9€"}`: `{"\u00e4":"\u00e9\u20ac"}`, `{"a":"😀` + "\x7f" + `"}`: `{"a":"\ud83d\ude00\u007f"}`, "": "",
	} {
		if got := string(inHeader(json.RawMessage(in))); got != want {
			t.Errorf("%q becomes %q", in, got)
		}
	}
}

// The largest token that a caller may ask for can be made.
func TestTokenFits(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, s *Service, _ *localDriver) {
		b := acquire(t, s, strings.Repeat(`"`, maxKey))
		defer b.Release()
		auth := json.RawMessage(`{"a":"` + strings.Repeat("b", maxAuth-8) + `"}`)
		user := strings.Repeat(`"`, maxUser)
		if err := CheckVisitor(user, auth); err != nil {
			t.Fatal(err)
		}
		if _, err := newTokens(t).Sign(b.Token(user, auth, time.Hour)); err != nil {
			t.Error(err)
		}
	})
}

func TestCheckVisitor(t *testing.T) {
	for name, c := range map[string]struct{ user, auth, want string }{
		"nobody":       {"", "", ""},
		"somebody":     {"Ünal", `{"a":[1]}`, ""},
		"long user":    {strings.Repeat("u", maxUser+1), "", "user: it has 257 bytes"},
		"line break":   {"a\nb", "", "control character"},
		"delete":       {"a\x7f", "", "control character"},
		"array":        {"", "[]", "no JSON object"},
		"no JSON":      {"", "{", "no JSON object"},
		"large object": {"", `{"a":"` + strings.Repeat("b", maxAuth) + `"}`, "auth: it has"},
	} {
		err := CheckVisitor(c.user, json.RawMessage(c.auth))
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Who is revoked is cut off, and nobody else; who comes with a new token is let
// in.
func TestRevoke(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, s *Service, _ *localDriver) {
		b := acquire(t, s, "a")
		defer b.Release()
		admit := func(token *Token) context.Context {
			t.Helper()
			ctx, done, err := b.Admit(t.Context(), token)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(done)
			return ctx
		}
		ann, ben := b.Token("ann", nil, time.Hour), b.Token("ben", nil, time.Hour)
		first, second, other := admit(ann), admit(ann), admit(ben)
		if cut := b.Revoke("ann"); cut != 2 {
			t.Errorf("%d connections were cut", cut)
		}
		if !errors.Is(context.Cause(first), webtask.ErrTokenRevoked) || second.Err() == nil || other.Err() != nil {
			t.Errorf("the connections are %v, %v and %v", context.Cause(first), second.Err(), other.Err())
		}
		if _, _, err := b.Admit(t.Context(), ann); !errors.Is(err, webtask.ErrTokenRevoked) {
			t.Errorf("the token: %v", err)
		}
		again := b.Token("ann", nil, time.Hour) // in the same moment
		if admit(again).Err() != nil {
			t.Error("a new token is revoked")
		}
		b.Revoke("ann")
		if _, _, err := b.Admit(t.Context(), again); err == nil {
			t.Error("the new token cannot be revoked")
		}
	})
	b := &Backend{}
	ctx, done, err := b.Admit(t.Context(), &Token{User: "ann", Issued: 1})
	if err != nil {
		t.Fatal(err)
	}
	done()
	if ctx.Err() == nil || len(b.visitors.live) != 0 {
		t.Errorf("a connection that ended leaves %v", b.visitors.live)
	}
}
