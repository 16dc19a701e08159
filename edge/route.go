package edge

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// Route is what a directive of the configuration serves. Make one per
// directive and keep it: the edge remembers on it what it resolved. It must
// not be copied or changed after its first use.
type Route struct {
	// Name is what the operator knows the route by, for logs: site and path.
	Name string

	// Task is what a route-bound directive runs. Nil: token mode, in which the
	// request's token names it and requests without one pass on.
	Task *webtask.Task

	// Container, in token mode, is the only one whose tokens are allowed here.
	// Empty: any.
	Container string

	// Trusted says that whoever can make tokens of this edge is trusted with
	// the site: token-run tasks see the request's credentials and may set
	// cookies. A route-bound task is always trusted.
	Trusted bool

	// Limits narrow the edge's own. Zero fields leave them.
	Limits webtask.Limits

	// ErrorsPass returns errors, as *Answer, from Serve instead of answering
	// them as JSON. They were logged; headers such as Retry-After are set.
	ErrorsPass bool

	plan atomic.Pointer[attachedPlan]
}

// Next serves what is not ours to serve.
type Next = func(http.ResponseWriter, *http.Request) error

// RequestInfo is what the server knows about a request beyond net/http, and
// what it learns from the edge. One is made for each request.
type RequestInfo struct {
	// ID is the request's id, as errors and logs name it. Empty: the edge
	// makes one.
	ID string
	// ClientIP is the client's address, as trusted proxies say.
	ClientIP string
	// Secure says that the client speaks TLS, as trusted proxies say.
	Secure bool
	// URI is the request target as the caller sent it, before any rewrite.
	// Empty: that of the request.
	URI string
	// AuthHeaders are names of request headers that auth handlers of this
	// site set, in canonical form; they are hidden from foreign tasks, as are
	// the well-known ones (see foreign.go).
	AuthHeaders []string

	// What the edge found out, as soon as it did. Access logs, placeholders
	// and metrics read it; it is complete when Serve returns.

	Task      *webtask.Task // the task that was run; nil: none
	SessionID string        // public id of the session; empty: none
	Outcome   Outcome       // what became of the request
	Status    int           // the answer's status; 0: passed on
	Duration  time.Duration // of Serve, when it was not passed on
	QueueWait time.Duration // of Duration: until an isolate was free
}

// Outcome is what became of a request: a label of metrics and access logs.
type Outcome string

const (
	OutcomePassed       Outcome = "passed"        // not ours: the next handler served it
	OutcomeOK           Outcome = "ok"            // the task answered
	OutcomeTokenRefused Outcome = "token_refused" // 400, 401, 403: the token is not accepted here
	OutcomeRateLimited  Outcome = "rate_limited"  // 429
	OutcomeCodeFailed   Outcome = "code_failed"   // 400, 502: code that cannot be had or compiled
	OutcomeScriptFailed Outcome = "script_failed" // 400, 500: the script threw, rejected or answered nonsense
	OutcomeLimit        Outcome = "limit"         // 413, 504, …: a limit ended it
	OutcomeOverload     Outcome = "overload"      // 503: the queue is full
	OutcomeStoreDown    Outcome = "store_down"    // 503: the store cannot be reached
	OutcomeCanceled     Outcome = "canceled"      // the client went away
	OutcomePreflight    Outcome = "preflight"     // a CORS preflight the edge answered
	OutcomeInternal     Outcome = "internal"      // 500: the edge's own fault
)
