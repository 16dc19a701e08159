package webtask

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
)

// Verifier opens tokens with a keyring and remembers those it has verified, so
// that the second time costs one look-up. Its methods may be called at once.
type Verifier struct {
	cacheBytes uint64
	state      atomic.Pointer[verifierState]
}

// verifierState is a keyring and what it has verified. They change together:
// a token that was being verified while the keyring changed lands in the cache
// of the old one, which nobody asks any more.
type verifierState struct {
	ring  *Keyring
	cache *otter.Cache[string, *Verified]
}

// VerifierOptions bound a Verifier.
type VerifierOptions struct {
	// CacheBytes bounds the memory of verified tokens, roughly. Zero is 32 MiB:
	// some 10,000 tokens of 800 bytes.
	CacheBytes uint64
}

const defaultCacheBytes = 32 << 20

// NewVerifier returns a verifier for the tokens of ring.
func NewVerifier(ring *Keyring, o VerifierOptions) (*Verifier, error) {
	v := &Verifier{cacheBytes: o.CacheBytes}
	if v.cacheBytes == 0 {
		v.cacheBytes = defaultCacheBytes
	}
	if err := v.SetKeyring(ring); err != nil {
		return nil, err
	}
	return v, nil
}

// SetKeyring replaces the keyring and forgets every verified token.
func (v *Verifier) SetKeyring(ring *Keyring) error {
	cache, err := otter.New(&otter.Options[string, *Verified]{
		MaximumWeight: v.cacheBytes,
		Weigher:       tokenWeight,
		// Maintenance runs where it falls due, so that the cache owns no
		// goroutine that somebody would have to end.
		Executor: func(run func()) { run() },
	})
	if err != nil {
		return fmt.Errorf("making the cache of verified tokens: %w", err)
	}
	v.state.Store(&verifierState{ring: ring, cache: cache})
	return nil
}

// tokenWeight estimates the bytes that a verified token takes: itself as key
// and in Verified, its claims, its decrypted secrets, and its structures.
func tokenWeight(token string, _ *Verified) uint32 {
	const structures = 1200
	return uint32(2*len(token) + structures)
}

// Keyring returns the keyring in use.
func (v *Verifier) Keyring() *Keyring { return v.state.Load().ring }

// Each calls f for every token that is remembered.
func (v *Verifier) Each(f func(*Verified)) {
	for verified := range v.state.Load().cache.Values() {
		f(verified)
	}
}

// Open is Keyring.Open with the cache. As long as a token is cached, every
// call returns the same *Verified.
func (v *Verifier) Open(token string, now time.Time) (*Verified, error) {
	state := v.state.Load()
	verified, ok := state.cache.GetIfPresent(token)
	if !ok {
		var err error
		if verified, err = state.ring.Verify(token); err != nil {
			return nil, err
		}
		// Concurrent first requests must agree on one, for what is attached.
		verified, _ = state.cache.SetIfAbsent(verified.token, verified)
	}
	if err := verified.ValidAt(now); err != nil {
		return nil, err
	}
	return verified, nil
}
