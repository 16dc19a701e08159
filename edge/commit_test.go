package edge

import (
	"context"
	"errors"
	"testing"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// Session calls that a script makes after the head wait for the writes that
// left with it, and learn when those failed.
func TestAwaitSessionCommit(t *testing.T) {
	v := newVisitor(t, fileStore(t), "acme")
	c := v.visit()
	gone := errors.New("gone")
	over, cancel := context.WithCancelCause(t.Context())
	cancel(gone)
	if err := c.AwaitSessionCommit(over); !errors.Is(err, gone) {
		t.Errorf("before the commit, in a request that ended: %v", err)
	}
	waited := make(chan error)
	go func() { waited <- c.AwaitSessionCommit(t.Context()) }()
	v.answer(t, c, set("n", "1"))
	if err := <-waited; err != nil {
		t.Errorf("across the commit: %v", err)
	}
	if err := c.AwaitSessionCommit(over); err != nil {
		t.Errorf("after the commit: %v", err)
	}

	storeless := newVisitor(t, nil, "acme").visit()
	go func() { waited <- storeless.AwaitSessionCommit(t.Context()) }()
	if err := storeless.commitSession(t.Context(), set("n", "1")); err == nil {
		t.Fatal("a commit without a store succeeded")
	}
	if err := <-waited; !errors.Is(err, webtask.ErrStoreUnavailable) {
		t.Errorf("across a commit that failed: %v", err)
	}
}
