package webtask

import "errors"

// Errors of tokens. What is wrong in detail is in the error that wraps them.
var (
	ErrTokenMalformed   = errors.New("token is malformed")
	ErrTokenUnverified  = errors.New("token is not signed by a key of this edge")
	ErrTokenExpired     = errors.New("token has expired")
	ErrTokenNotYetValid = errors.New("token is not valid yet")
	ErrTokenRevoked     = errors.New("token has been revoked")
	ErrTokenNotAllowed  = errors.New("token is not allowed here")
	ErrTokenSecrets     = errors.New("token's secrets cannot be opened")
	ErrTokenTwice       = errors.New("request carries more than one webtask token")
	ErrRateLimited      = errors.New("rate limit exceeded")
)

// ErrClaims reports claims that a token cannot be issued with.
var ErrClaims = errors.New("invalid claims")

// Errors of stores.
var (
	ErrStoreUnavailable = errors.New("session store is unavailable")
	ErrSessionNotFound  = errors.New("session not found")
	ErrSessionConflict  = errors.New("session was changed by another request")
	ErrSessionTooLarge  = errors.New("session exceeds its size limit")
	ErrSessionQuota     = errors.New("container has too many sessions")
)
