package webtask

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func newVerifier(t testing.TB, ring *Keyring, o VerifierOptions) *Verifier {
	t.Helper()
	v, err := NewVerifier(ring, o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestVerifierRemembers(t *testing.T) {
	ring := newRing(t, 1)
	verifier := newVerifier(t, ring, VerifierOptions{})
	token := issue(t, ring, hello())
	first, err := verifier.Open(token, now)
	if err != nil {
		t.Fatal(err)
	}
	if first.Attached() != nil {
		t.Error("something is attached from the start")
	}
	first.Attach("made of the first request")
	again, err := verifier.Open(string(bytes.Clone([]byte(token))), now)
	if err != nil {
		t.Fatal(err)
	}
	if again != first || again.Attached() != "made of the first request" {
		t.Error("the second request does not find what the first made")
	}
	again.Attach(42) // of another type
	if first.Attached() != 42 {
		t.Error("Attach does not replace")
	}
	firstTask, err := first.Task()
	if err != nil {
		t.Fatal(err)
	}
	if secondTask, _ := again.Task(); secondTask != firstTask {
		t.Error("the task was made twice")
	}
	// The cache knows nothing of time: it is checked for every request.
	if _, err := verifier.Open(token, now.Add(2*time.Hour)); !errors.Is(err, ErrTokenExpired) {
		t.Errorf("a cached token that expired: %v", err)
	}
	if _, err := verifier.Open(token, now); err != nil {
		t.Errorf("back in time: %v", err)
	}
}

func TestVerifierForgetsWithTheKeyring(t *testing.T) {
	old := newRing(t, 1)
	verifier := newVerifier(t, old, VerifierOptions{})
	token := issue(t, old, hello())
	first, err := verifier.Open(token, now)
	if err != nil {
		t.Fatal(err)
	}
	both, err := old.Rotate(newRand(2))
	if err != nil {
		t.Fatal(err)
	}
	if err := verifier.SetKeyring(both); err != nil {
		t.Fatal(err)
	}
	if verifier.Keyring() != both {
		t.Error("Keyring is not the one set")
	}
	if second, err := verifier.Open(token, now); err != nil || second == first {
		t.Errorf("after a change of the keyring the cache still answers (%v)", err)
	}
	if err := verifier.SetKeyring(newRing(t, 3)); err != nil {
		t.Fatal(err)
	}
	if _, err := verifier.Open(token, now); !errors.Is(err, ErrTokenUnverified) {
		t.Errorf("a token of a key that is gone: %v", err)
	}
}

// Nobody closes a Verifier, so it may own no goroutine, nor may one whose
// keyring changed.
func TestVerifierOwnsNoGoroutine(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	ring := newRing(t, 1)
	verifier := newVerifier(t, ring, VerifierOptions{CacheBytes: 16 << 10})
	for range 100 {
		if _, err := verifier.Open(issue(t, ring, hello()), now); err != nil {
			t.Fatal(err)
		}
	}
	if err := verifier.SetKeyring(ring); err != nil {
		t.Fatal(err)
	}
}

func TestVerifierIsBounded(t *testing.T) {
	ring := newRing(t, 1)
	const most = 64 << 10
	verifier := newVerifier(t, ring, VerifierOptions{CacheBytes: most})
	for i := range 500 {
		c := hello()
		c.Params = map[string]string{"n": fmt.Sprint(i)}
		if _, err := verifier.Open(issue(t, ring, c), now); err != nil {
			t.Fatal(err)
		}
	}
	cache := verifier.state.Load().cache
	cache.CleanUp()
	if weight := cache.WeightedSize(); weight > most || weight == 0 {
		t.Errorf("the cache weighs %d bytes of at most %d", weight, most)
	}
}

// Concurrent first requests of a token agree on one Verified, also while the
// keyring changes.
func TestVerifierConcurrently(t *testing.T) {
	ring := newRing(t, 1)
	verifier := newVerifier(t, ring, VerifierOptions{})
	for range 50 {
		token := issue(t, ring, hello())
		opened := make([]*Verified, 8)
		var wg sync.WaitGroup
		for i := range opened {
			wg.Go(func() {
				v, err := verifier.Open(token, now)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := v.Task(); err != nil {
					t.Error(err)
				}
				v.Attach(i)
				opened[i] = v
			})
		}
		wg.Wait()
		for _, v := range opened {
			if v != opened[0] {
				t.Fatal("two requests of one token got two Verified")
			}
		}
	}
	token := issue(t, ring, hello())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				if _, err := verifier.Open(token, now); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 20 {
		if err := verifier.SetKeyring(ring); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
}
