package sessionbackend

import (
	"errors"
	"fmt"
	"time"
)

// ErrClosed is the error of a service that has been closed.
var ErrClosed = errors.New("the service of session backends is closing")

// KeyError refuses a key.
type KeyError struct {
	Problem string
}

func (e *KeyError) Error() string { return "the key of the session backend " + e.Problem }

// FullError says that a service has as many backends as it may have.
type FullError struct {
	Service     string
	MaxBackends int
}

func (e *FullError) Error() string {
	return fmt.Sprintf("service %s has %d session backends, as many as max_backends allows", e.Service, e.MaxBackends)
}

// RetryAfter is when to try again.
func (*FullError) RetryAfter() time.Duration { return fullRetry }

// fullRetry is a guess: backends end when their visitors leave.
const fullRetry = 5 * time.Second

// CordonError says that no more backends are started, and that those there are go on.
type CordonError struct {
	Service string
}

func (e *CordonError) Error() string {
	return fmt.Sprintf("no more session backends of service %s are started on this server, which is being drained", e.Service)
}

// RetryAfter is when to try again.
func (*CordonError) RetryAfter() time.Duration { return fullRetry }

// ClientError says that a client started too many backends.
type ClientError struct {
	Service      string
	ClientStarts int // a minute
	After        time.Duration
}

func (e *ClientError) Error() string {
	return fmt.Sprintf("one client started more session backends of service %s than client_starts allows (%d a minute)", e.Service, e.ClientStarts)
}

// RetryAfter is when it may start one again.
func (e *ClientError) RetryAfter() time.Duration { return e.After }

// BackoffError says that the backend of a key failed again and again, and is
// not started for a while.
type BackoffError struct {
	Service  string
	Failures int
	Last     error
	After    time.Duration
}

func (e *BackoffError) Error() string {
	return fmt.Sprintf("the session backend of service %s failed %d times in a row, last: %v", e.Service, e.Failures, e.Last)
}

func (e *BackoffError) Unwrap() error { return e.Last }

// RetryAfter is when it may be started again.
func (e *BackoffError) RetryAfter() time.Duration { return e.After }

// StartError says that a backend did not become ready.
type StartError struct {
	Service string
	Timeout time.Duration // it took longer than this; 0: it ended, or could not be started
	Cause   error         // how it ended, or why it could not be started
}

func (e *StartError) Error() string {
	if e.Timeout != 0 {
		return fmt.Sprintf("a session backend of service %s was not ready within %v (start_timeout)", e.Service, e.Timeout)
	}
	return fmt.Sprintf("a session backend of service %s did not start: %v", e.Service, e.Cause)
}

func (e *StartError) Unwrap() error { return e.Cause }

// exitError is an Exit as the cause of a StartError.
type exitError struct {
	exit Exit
}

func (e *exitError) Error() string {
	if e.exit.Clean() {
		return "it ended before it was ready"
	}
	return "it " + e.exit.String()
}

func (e *exitError) Unwrap() error { return e.exit.Err }
