package caddymodule

import (
	"time"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// openToken opens a token of the keyring even where it is not valid at now:
// problem is then why. Operators look at, and revoke, such tokens too.
func openToken(ring *webtask.Keyring, token string, now time.Time) (verified *webtask.Verified, problem, err error) {
	verified, err = ring.Verify(token)
	if err != nil {
		return nil, nil, err
	}
	return verified, verified.ValidAt(now), nil
}
