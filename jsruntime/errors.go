package jsruntime

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// ErrRequestEnded is returned by a Host, and thrown into scripts, when
// something is asked of a request that is over.
var ErrRequestEnded = errors.New("request has ended")

// ErrClosed is returned by an Engine that is closed or draining.
var ErrClosed = errors.New("runtime is shut down")

// ErrSessionCommitted is for a Host to return from SaveSession when a change
// would need a new cookie and the response's head was sent already. Scripts
// see an error named SessionCommitted.
var ErrSessionCommitted = errors.New("the response has been sent, so the session cannot get a cookie any more")

// HTTP statuses that errors of scripts suggest.
const (
	statusBadCode  = http.StatusBadRequest
	statusThrow    = http.StatusInternalServerError
	statusTimeout  = http.StatusGatewayTimeout
	statusTooLarge = http.StatusRequestEntityTooLarge
)

// ErrorKind says at which step a script went wrong.
type ErrorKind string

const (
	KindCompile   ErrorKind = "compile"    // syntax error
	KindLoad      ErrorKind = "load"       // thrown while the program was loaded
	KindNoHandler ErrorKind = "no-handler" // the program exports nothing that can be called
	KindSync      ErrorKind = "sync"       // thrown by the handler
	KindAsync     ErrorKind = "async"      // rejected, or thrown by a callback or timer
	KindCallback  ErrorKind = "callback"   // passed to the callback of a cb-model
	KindResult    ErrorKind = "result"     // the handler's result is no response
	KindNoAnswer  ErrorKind = "no-answer"  // nothing is pending and no answer was given
)

// ScriptError is an error of the author's code. Name, Message and Details are
// meant for the caller; Stack and Frame for the log only.
type ScriptError struct {
	Kind    ErrorKind
	Status  int    // HTTP status to answer with
	Summary string // fixed text of Kind (webtask API: "error")
	Name    string // of the thrown error: "TypeError"; empty when no Error was thrown
	Message string // of the thrown error
	Details any    // "TypeError: message", or the thrown value when it is no Error (JSON-like data)
	Stack   string // mapped to the author's files
	Frame   string // code frame of where it was thrown; empty when unknown

	cause error
}

func (e *ScriptError) Error() string {
	switch {
	case e.Name != "" && e.Message != "":
		return fmt.Sprintf("%s %s: %s", e.Summary, e.Name, e.Message)
	case e.Message != "":
		return fmt.Sprintf("%s %s", e.Summary, e.Message)
	default:
		return e.Summary
	}
}

// Unwrap returns the Go error that a platform function threw into the script,
// such as webtask.ErrStoreUnavailable, when the script let it through.
func (e *ScriptError) Unwrap() error { return e.cause }

// WithCause sets what Unwrap returns, for an error that comes from another
// process.
func (e *ScriptError) WithCause(cause error) *ScriptError {
	e.cause = cause
	return e
}

// LimitError says which limit a request ran into.
type LimitError struct {
	Limit  string // what was exceeded: "timeout", "cpu_time", "request_body", …
	Value  string // the limit's value, as one would configure it: "30s", "10MiB"
	Option string // the Caddyfile option that raises it
	Status int    // HTTP status to answer with
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("exceeded the limit %s of %s; the option %s raises it", e.Limit, e.Value, e.Option)
}

// limitError makes a LimitError of an option of the same name.
func limitError(limit, value string, status int) *LimitError {
	return &LimitError{Limit: limit, Value: value, Option: limit, Status: status}
}

func timeoutError(spec *Spec) *LimitError {
	return limitError("timeout", spec.Limits.Timeout.String(), statusTimeout)
}

// QueueError is returned when no isolate came free: the queue of the
// container is full, or the wait was too long.
type QueueError struct {
	Container  string
	RetryAfter time.Duration
}

func (e *QueueError) Error() string {
	return fmt.Sprintf("all isolates of container %q are busy and its queue is full", e.Container)
}

// CrashError is returned when the worker process of a request ended before the
// request did.
type CrashError struct {
	Container string
	Alone     bool  // it was the only request there: its own doing
	Unharmed  bool  // nothing of it had left the edge, so that it may be run again
	Err       error // why the process ended
}

func (e *CrashError) Error() string {
	return fmt.Sprintf("the worker process of container %q ended: %v", e.Container, e.Err)
}

// Unwrap returns why the process ended.
func (e *CrashError) Unwrap() error { return e.Err }

// QuarantineError is returned for a container whose worker processes keep
// dying: for a while no new one is started.
type QuarantineError struct {
	Container  string
	RetryAfter time.Duration
}

func (e *QuarantineError) Error() string {
	return fmt.Sprintf("the worker processes of container %q keep dying; none is started for %s", e.Container, e.RetryAfter.Round(time.Second))
}
