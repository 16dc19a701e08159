package webtask

import (
	"fmt"
	"testing"
	"time"
)

func BenchmarkOpenCached(b *testing.B) {
	ring := newRing(b, 1)
	verifier := newVerifier(b, ring, VerifierOptions{})
	token := issue(b, ring, hello())
	if _, err := verifier.Open(token, now); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		v, err := verifier.Open(token, now)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := v.Task(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpenCachedParallel(b *testing.B) {
	ring := newRing(b, 1)
	verifier := newVerifier(b, ring, VerifierOptions{})
	tokens := make([]string, 64)
	for i := range tokens {
		tokens[i] = issue(b, ring, hello())
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if _, err := verifier.Open(tokens[i%len(tokens)], now); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func BenchmarkOpenUncached(b *testing.B) {
	ring := newRing(b, 1)
	token := issue(b, ring, hello())
	b.ReportAllocs()
	for b.Loop() {
		v, err := ring.Open(token, now)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := v.Task(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpenForged(b *testing.B) {
	ring := newRing(b, 1)
	verifier := newVerifier(b, ring, VerifierOptions{})
	forged := []byte(issue(b, ring, hello()))
	forged[len(forged)-10] ^= 1
	text := string(forged)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := verifier.Open(text, now); err == nil {
			b.Fatal("accepted")
		}
	}
}

func BenchmarkIsToken(b *testing.B) {
	token := issue(b, newRing(b, 1), hello())
	b.ReportAllocs()
	for b.Loop() {
		if !IsToken(token) {
			b.Fatal("not recognised")
		}
	}
}

func BenchmarkIssue(b *testing.B) {
	ring, claims := newRing(b, 1), hello()
	b.ReportAllocs()
	for b.Loop() {
		issue(b, ring, claims)
	}
}

func BenchmarkRevoked(b *testing.B) {
	var set RevocationSet
	ids := map[string]time.Time{}
	for i := range 10_000 {
		ids[fmt.Sprintf("%032x", i)] = now
	}
	set.Add(ids)
	chain := []string{fmt.Sprintf("%032x", 1<<20), fmt.Sprintf("%032x", 1<<21)}
	b.ReportAllocs()
	for b.Loop() {
		if set.Revoked(chain) {
			b.Fatal("revoked")
		}
	}
}

func BenchmarkSessionID(b *testing.B) {
	secret, err := NewSessionSecret(newRand(1))
	if err != nil {
		b.Fatal(err)
	}
	value := secret.CookieValue()
	b.ReportAllocs()
	for b.Loop() {
		secret, ok := ParseSessionSecret(value)
		if !ok || SessionID("acme", secret) == "" {
			b.Fatal("not read")
		}
	}
}
