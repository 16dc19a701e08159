package edge

import "time"

// Observer is told what happens, for metrics. Its methods are called on the
// request path: they must not block.
type Observer interface {
	// TokenOpened counts tokens of ours by result: "ok", "malformed",
	// "unverified", "expired", "not_yet_valid", "revoked", "not_allowed",
	// "secrets", "twice" or "rate_limited".
	TokenOpened(result string)
	// StoreCalled times one call of a store: op is "load", "save", "rate",
	// "revoke" or "revocations".
	StoreCalled(op string, took time.Duration, err error)
	// FetchDone times one fetch() of a script, to its response's head.
	FetchDone(took time.Duration, err error)
}

type nullObserver struct{}

func (nullObserver) TokenOpened(string)                       {}
func (nullObserver) StoreCalled(string, time.Duration, error) {}
func (nullObserver) FetchDone(time.Duration, error)           {}
