package webtask

import (
	"errors"
	"strconv"
)

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

// ErrClaims reports claims that a token cannot be issued with. The error that
// wraps it is a *FieldError too, which names the claim.
var ErrClaims = errors.New("invalid claims")

// ErrKeyring reports a key set that is no keyring of an edge.
var ErrKeyring = errors.New("invalid keyring")

// Errors of stores.
var (
	ErrStoreUnavailable = errors.New("session store is unavailable")
	ErrSessionNotFound  = errors.New("session not found")
	ErrSessionConflict  = errors.New("session was changed by another request")
	ErrSessionTooLarge  = errors.New("session exceeds its size limit")
	ErrSessionQuota     = errors.New("container has too many sessions")
)

// FieldError says which part of an input is wrong, in what way, and what to
// write instead. It never holds the value of a secret or a token.
type FieldError struct {
	Field   string // a claim, a limit, a member of a keyring: "exp", "lim.timeout", "keys[1].k"
	Problem string // "is not a duration"
	Remedy  string // `write one with a unit, like "5s"`

	kind error // ErrClaims, ErrKeyring or nil
}

// Error returns "field: problem; remedy", after the kind of input if known. An
// empty field is left out.
func (e *FieldError) Error() string {
	text := e.Problem
	if e.Field != "" {
		text = e.Field + ": " + text
	}
	if e.Remedy != "" {
		text += "; " + e.Remedy
	}
	if e.kind != nil {
		text = e.kind.Error() + ": " + text
	}
	return text
}

// Unwrap returns ErrClaims or ErrKeyring when the input was one of those.
func (e *FieldError) Unwrap() error { return e.kind }

// of returns e as an error of kind about field; a field that e already names
// becomes a member of it.
func (e *FieldError) of(kind error, field string) *FieldError {
	if e.Field != "" {
		field += "." + e.Field
	}
	return &FieldError{Field: field, Problem: e.Problem, Remedy: e.Remedy, kind: kind}
}

// claimError reports what is wrong with one claim.
func claimError(claim, problem, remedy string) error {
	return &FieldError{Field: claim, Problem: problem, Remedy: remedy, kind: ErrClaims}
}

// quote returns s for an error message, escaped and cut to a readable length.
func quote(s string) string {
	const most = 80
	if len(s) > most {
		return strconv.QuoteToASCII(s[:most]) + "…"
	}
	return strconv.QuoteToASCII(s)
}
