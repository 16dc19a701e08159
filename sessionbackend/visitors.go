package sessionbackend

import (
	"context"
	"sync"
	"time"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// visitors are those who came to a backend with a token, and those whose tokens
// were revoked. They are forgotten with the backend, without which no token of it
// is good for anything.
type visitors struct {
	mu      sync.Mutex
	live    map[string]map[*context.CancelCauseFunc]bool // what ends each connection, by user
	revoked map[string]int64                             // by user: tokens up to that time, in microseconds
	issued  int64                                        // when the last token was, for a clock may be set back
}

// issue returns the time at which a token is issued: now, or later than those
// tokens of the user that were revoked in this very moment.
func (v *visitors) issue(user string, now int64) int64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	issued := max(now, v.revoked[user]+1)
	v.issued = max(v.issued, issued)
	return issued
}

// Admit lets a connection in that comes with a token, unless that was revoked.
// The context that it returns ends with ctx, and when the token is revoked; done
// has to be called at the end of the connection.
func (b *Backend) Admit(ctx context.Context, token *Token) (admitted context.Context, done func(), err error) {
	v := &b.visitors
	v.mu.Lock()
	defer v.mu.Unlock()
	if token.Issued <= v.revoked[token.User] {
		return nil, nil, webtask.ErrTokenRevoked
	}
	v.issued = max(v.issued, token.Issued) // maybe by another edge, whose clock is ahead
	admitted, cancel := context.WithCancelCause(ctx)
	if v.live == nil {
		v.live = map[string]map[*context.CancelCauseFunc]bool{}
	}
	if v.live[token.User] == nil {
		v.live[token.User] = map[*context.CancelCauseFunc]bool{}
	}
	v.live[token.User][&cancel] = true
	return admitted, func() {
		v.mu.Lock()
		delete(v.live[token.User], &cancel)
		if len(v.live[token.User]) == 0 {
			delete(v.live, token.User)
		}
		v.mu.Unlock()
		cancel(nil)
	}, nil
}

// Revoke ends all tokens of a user for the backend, and the connections that were
// made with them; it returns how many these were.
func (b *Backend) Revoke(user string) (cut int) {
	v := &b.visitors
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.revoked == nil {
		v.revoked = map[string]int64{}
	}
	v.revoked[user] = max(time.Now().UnixMicro(), v.issued)
	for cancel := range v.live[user] {
		(*cancel)(webtask.ErrTokenRevoked)
	}
	return len(v.live[user])
}
