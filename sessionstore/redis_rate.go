package sessionstore

import (
	"context"
	"fmt"
	"time"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// Take counts one request in every window and returns 0; or, if that would
// exceed the limit of one, counts it in none and returns how long until the
// first such window ends. A limit of 0 or less is none.
//
// The windows of all keys are in one slot of a Cluster: one request is counted
// against several keys, as its container and its token, in one atomic step.
func (s *Redis) Take(ctx context.Context, now time.Time, windows []webtask.RateWindow) (retryAfter time.Duration, err error) {
	current, err := rateWindows(now, windows)
	if err != nil || len(current) == 0 {
		return 0, err
	}
	keys := make([]string, len(current))
	args := make([]any, 0, 2*len(current))
	for i, w := range current {
		keys[i] = fmt.Sprintf("%s:{rate}:%s:%d:%d", s.prefix, keyPart(w.Key), w.Period.Milliseconds(), w.number)
		// Kept a little beyond its end, for the clocks of edges differ.
		args = append(args, w.Limit, milliseconds(w.left+rateGrace))
	}
	reply, err := s.run(ctx, takeScript, keys, args...)
	if err != nil {
		return 0, err
	}
	full, ok := reply.(int64)
	if !ok || full < 0 || full > int64(len(current)) {
		return 0, unexpected(reply)
	}
	if full == 0 {
		return 0, nil
	}
	return current[full-1].left, nil
}

// rateGrace is how far the clocks of edges that share a Redis may differ before
// a window is forgotten too early.
const rateGrace = 10 * time.Second
