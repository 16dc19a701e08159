package sessionbackend

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

func TestKept(t *testing.T) {
	inBubble(t, Config{Idle: -1}, func(t *testing.T, s *Service, _ *localDriver) {
		b := acquire(t, s, "a")
		defer b.Release()
		made := b.Token("ann", nil, time.Minute)
		text, err := b.Keep(made)
		if err != nil {
			t.Fatal(err)
		}
		if id, ok := BackendOfKept(text); !ok || id != b.ID || IsStatic(text) {
			t.Errorf("%s is of the backend %s", text, id)
		}
		if token, err := b.Kept(text, time.Now()); err != nil || token != made || token.Secret == "" {
			t.Errorf("it stands for %+v, %v", token, err)
		}
		if _, err := b.Kept(text[:len(text)-1]+"A", time.Now()); !errors.Is(err, webtask.ErrTokenUnverified) {
			t.Errorf("another text: %v", err)
		}
		if _, err := b.Kept(text, time.Now().Add(time.Minute)); !errors.Is(err, webtask.ErrTokenExpired) || len(b.kept.tokens) != 0 {
			t.Errorf("after its time: %v, %v", err, b.kept.tokens)
		}
		if text, token := b.Static(); text != "" || token != nil {
			t.Errorf("it has the static token %q", text)
		}
	})
}

func TestKeptAreBounded(t *testing.T) {
	inBubble(t, Config{Idle: -1}, func(t *testing.T, s *Service, _ *localDriver) {
		b := acquire(t, s, "a")
		defer b.Release()
		for range maxKept {
			if _, err := b.Keep(b.Token("ann", nil, time.Minute)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := b.Keep(b.Token("ann", nil, time.Minute)); err == nil {
			t.Error("there is no end of them")
		}
		after(time.Minute)
		if _, err := b.Keep(b.Token("ann", nil, time.Minute)); err != nil || len(b.kept.tokens) != 1 {
			t.Errorf("after their time there are %d, %v", len(b.kept.tokens), err)
		}
	})
}

// A static token is known to the process, and there as long as the backend.
func TestStaticToken(t *testing.T) {
	inBubble(t, Config{Idle: -1}, func(t *testing.T, s *Service, d *localDriver) {
		given := map[string]string{"A": "b"}
		b, _ := connect(t, s, "a", "", &Spawn{Static: true, Env: given})
		synctest.Wait()
		text, made := b.Static()
		if env := d.last().Env; env["SESSION_BACKEND_STATIC_TOKEN"] != text || env["A"] != "b" || len(given) != 1 {
			t.Errorf("the process has %v", env)
		}
		if id, ok := BackendOfKept(text); !ok || id != b.ID || !IsStatic(text) {
			t.Errorf("%s is of %s", text, id)
		}
		if token, err := b.Kept(text, time.Now().Add(1000*time.Hour)); err != nil || token != made || token.User != "" || token.Secret == "" {
			t.Errorf("it stands for %+v, %v", token, err)
		}
		if _, done, err := b.Admit(t.Context(), made); err != nil {
			t.Error(err)
		} else {
			done()
		}
	})
}

func TestBackendOfKept(t *testing.T) {
	for _, text := range []string{"", "s.", "abcdefghijklmnop", "abcdefghijklmnop-ABCDEFGHIJKLMNOPQRSTUVWXY", "abcdefghijklmnop-ABCDEFGHIJKLMNOPQRSTUVWXYz",
		"abcdefghijklmno1-ABCDEFGHIJKLMNOPQRSTUVWXYZ", "t.abcdefghijklmnop-ABCDEFGHIJKLMNOPQRSTUVWXYZ", "s.s.abcdefghijklmnop-ABCDEFGHIJKLMNOPQRSTUVWX"} {
		if id, ok := BackendOfKept(text); ok {
			t.Errorf("%q is taken for a token of %s", text, id)
		}
	}
}
