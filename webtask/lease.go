package webtask

import (
	"errors"
	"time"
)

// LeaseShards is how many parts the keys of session backends are divided into. A
// node has a lease for each, and loses what is in one part only when it loses
// that. It is the same on all edges, for ever.
const LeaseShards = 64

// LeaseNode is an edge as an owner of session backends.
type LeaseNode struct {
	Name        string // letters, digits, `.`, `_` and `-`
	Incarnation string // of its life, or of what followed a lost lease: a word of letters and digits, and `.` and a number
	Address     string // host:port, where other edges reach it
}

// LeaseRenewal is a lease that is to be taken or renewed.
type LeaseRenewal struct {
	Shard       int
	Incarnation string

	// Gone is an incarnation of the node of which nothing is left, or the word that
	// such incarnations begin with.
	Gone string

	// What became of it.
	Taken bool   // the lease is new, or the store has lost it
	Run   string // which run of the store this was; another one may have lost what was written last
	Err   error  // ErrLeaseExpired, ErrLeaseOther, ErrStoreUnavailable
}

// LeaseOwner is who has the backend of a key.
type LeaseOwner struct {
	LeaseNode
	Fence   int64  // its fencing token
	Backend string // its id
}

// LeaseClaim is a key that a node has, or is to have.
type LeaseClaim struct {
	Key     string // of a service and a backend of it
	Backend string // its id
	Fence   int64  // its fencing token; of one that is to be had: the least that it may be
}

// Errors of leases.
var (
	ErrLeaseExpired = errors.New("the lease was over before it was renewed")
	ErrLeaseOther   = errors.New("another server has a lease under the name of this one; each needs a name of its own (node)")
	ErrLeaseNone    = errors.New("this server has no lease")
)

// QuietError says that a store may have lost what it knew, and gives what it does
// not know to nobody for a while.
type QuietError struct {
	After time.Duration
}

func (*QuietError) Error() string {
	return "the store was restarted; whoever has session backends has to tell it first"
}

// RetryAfter is when to try again.
func (e *QuietError) RetryAfter() time.Duration { return e.After }
