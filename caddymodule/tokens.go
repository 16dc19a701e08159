package caddymodule

import (
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// openToken opens a token of the keyring even where it is not valid at now:
// problem is then why. Operators look at, and revoke, such tokens too.
func openToken(ring *webtask.Keyring, token string, now time.Time) (verified *webtask.Verified, problem, err error) {
	verified, err = ring.Open(token, now)
	if !errors.Is(err, webtask.ErrTokenExpired) && !errors.Is(err, webtask.ErrTokenNotYetValid) {
		return verified, nil, err
	}
	problem = err
	// The signature has been verified: of what is wrong, time comes last. So
	// the claims can be believed when they say when the token is valid.
	_, rest, _ := strings.Cut(token, ".")
	payload, _, _ := strings.Cut(rest, ".")
	text, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return nil, nil, problem
	}
	claims, err := webtask.ParseClaims(text)
	if err != nil {
		return nil, nil, err
	}
	within := claims.NotBefore
	if errors.Is(problem, webtask.ErrTokenExpired) {
		within = claims.Expires.Add(-time.Second)
	}
	verified, err = ring.Open(token, within)
	return verified, problem, err
}
