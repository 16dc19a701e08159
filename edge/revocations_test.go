package edge

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/webtask-edge/caddy-webtask/tests/redistest"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

func verified(t *testing.T) *webtask.Verified {
	t.Helper()
	v, err := testRing().Open(testToken(t, webtask.Claims{Container: "acme", URL: "https://example.com/a.js"}), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// polled waits until the set agrees, poll by poll.
func polled(t *testing.T, polls <-chan error, agrees func() bool) {
	t.Helper()
	for {
		select {
		case <-polls:
			if agrees() {
				return
			}
		case <-testContext(t).Done():
			t.Fatal("the set never agreed")
		}
	}
}

// pollObserver tells of each reading of the store.
type pollObserver struct {
	nullObserver
	polls chan error
}

func (o pollObserver) StoreCalled(op string, _ time.Duration, err error) {
	if op != "revocations" {
		return
	}
	select {
	case o.polls <- err:
	default:
	}
}

func TestRevocationsReachEveryEdge(t *testing.T) {
	onBothStores(t, func(t *testing.T, s store) {
		observer := pollObserver{polls: make(chan error)}
		here := NewRevocations(s, RevocationOptions{Interval: time.Millisecond})
		there := NewRevocations(s, RevocationOptions{Interval: time.Millisecond, Observer: observer})
		before, after := verified(t), verified(t)
		ctx := testContext(t)
		if err := here.Revoke(ctx, before.Claims().ID, time.Time{}); err != nil {
			t.Fatal(err)
		}
		defer goleak.VerifyNone(t, goleak.IgnoreCurrent()) // the store is open by now
		there.Start(ctx)
		there.Start(ctx) // ignored
		defer there.Close()
		if err := there.check(before, time.Now()); !errors.Is(err, webtask.ErrTokenRevoked) {
			t.Errorf("what was revoked before the start: %v", err)
		}
		if err := there.check(after, time.Now()); err != nil {
			t.Errorf("another token: %v", err)
		}
		if err := here.Revoke(ctx, after.Claims().ID, time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if err := here.check(after, time.Now()); !errors.Is(err, webtask.ErrTokenRevoked) {
			t.Errorf("here, at once: %v", err)
		}
		polled(t, observer.polls, func() bool { return there.check(after, time.Now()) != nil })
		if err := there.Close(); err != nil {
			t.Error(err)
		}
		if err := there.Close(); err != nil {
			t.Errorf("a second Close: %v", err)
		}
	})
}

func TestRevocationOfAncestor(t *testing.T) {
	r := NewRevocations(fileStore(t), RevocationOptions{})
	parentToken := testToken(t, webtask.Claims{Container: "acme", Depth: 1})
	parent, err := testRing().Open(parentToken, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	child, err := testRing().Derive(parent, webtask.Claims{URL: "https://example.com/a.js"}, webtask.IssueOptions{Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	derived, err := testRing().Open(child, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Revoke(testContext(t), parent.Claims().ID, time.Time{}); err != nil {
		t.Fatal(err)
	}
	if err := r.check(derived, time.Now()); !errors.Is(err, webtask.ErrTokenRevoked) {
		t.Errorf("a token whose parent was revoked: %v", err)
	}
	if err := r.Revoke(testContext(t), "", time.Time{}); err == nil {
		t.Error("no id was accepted")
	}
}

func TestRevocationsWhileStoreIsDown(t *testing.T) {
	server := redistest.Start(t)
	now := newClock()
	log, entries := testLog()
	observer := pollObserver{polls: make(chan error)}
	r := NewRevocations(redisStore(t, server), RevocationOptions{
		Interval: time.Millisecond, StrictAfter: 10 * time.Minute, Now: now.Now, Logger: log, Observer: observer,
	})
	known, other := verified(t), verified(t)
	ctx := testContext(t)
	if err := r.Revoke(ctx, known.Claims().ID, time.Time{}); err != nil {
		t.Fatal(err)
	}
	r.Start(ctx)
	defer r.Close()
	server.Kill()
	failed := 0
	polled(t, observer.polls, func() bool {
		failed = entries.FilterLevelExact(zap.WarnLevel).Len()
		return failed > 0
	})
	polled(t, observer.polls, func() bool { return true })
	if got := entries.FilterLevelExact(zap.WarnLevel).Len(); got != 1 {
		t.Errorf("one outage was logged %d times", got)
	}
	if err := r.check(known, now.Now()); !errors.Is(err, webtask.ErrTokenRevoked) {
		t.Errorf("the last known set does not hold: %v", err)
	}
	if err := r.check(other, now.Now()); err != nil {
		t.Errorf("another token, in time: %v", err)
	}
	// A revocation that reaches nobody else is an error, and holds here.
	if err := r.Revoke(ctx, other.Claims().ID, time.Time{}); !errors.Is(err, webtask.ErrStoreUnavailable) {
		t.Errorf("revoking: %v", err)
	}
	third := verified(t)
	now.advance(11 * time.Minute)
	if err := r.check(third, now.Now()); !errors.Is(err, ErrRevocationsStale) {
		t.Errorf("strict, after 11 minutes: %v", err)
	}
	if answer := AnswerFor(ErrRevocationsStale); answer.Status != 503 || answer.RetryAfter <= 0 {
		t.Errorf("answers %d", answer.Status)
	}
	server.Restart()
	polled(t, observer.polls, func() bool { return r.check(third, now.Now()) == nil })
	if got := entries.FilterMessageSnippet("can be read again").Len(); got != 1 {
		t.Errorf("the end of the outage was logged %d times", got)
	}
}

func TestRevocationsStartIsBounded(t *testing.T) {
	server := redistest.Start(t)
	store := redisStore(t, server)
	server.Kill()
	r := NewRevocations(store, RevocationOptions{Interval: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r.Start(ctx)
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}
