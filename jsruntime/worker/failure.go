//go:build unix

package worker

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/jsruntime/worker/internal/wire"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

// Errors cross the socket in both directions. Those of a Host keep, in the
// worker, what the runtime asks of them; and when one comes back, as what was
// behind a script's failure, the edge takes its own again.

// sentinels are the errors that both sides ask for with errors.Is, by their
// position.
var sentinels = []error{
	nil, // any other
	jsruntime.ErrRequestEnded,
	jsruntime.ErrClosed,
	jsruntime.ErrSessionCommitted,
	webtask.ErrStoreUnavailable,
	webtask.ErrSessionNotFound,
	webtask.ErrSessionConflict,
	webtask.ErrSessionTooLarge,
	webtask.ErrSessionQuota,
	context.Canceled,
	context.DeadlineExceeded,
}

func sentinelOf(err error) int {
	for i, sentinel := range sentinels[1:] {
		if errors.Is(err, sentinel) {
			return i + 1
		}
	}
	return 0
}

// hostError is an error of the Host as the worker holds it.
type hostError struct {
	number   uint64 // of the edge's own, within the request; 0: none
	sentinel error
	text     string
}

func (e *hostError) Error() string { return e.text }
func (e *hostError) Unwrap() error { return e.sentinel }

// putHostError encodes an error of a Host, which the edge keeps as number.
func putHostError(b []byte, err error, number uint64) []byte {
	return wire.PutString(wire.PutUint(wire.PutUint(b, number), uint64(sentinelOf(err))), err.Error())
}

func (d *decoder) hostError() error {
	e := &hostError{number: d.Uint()}
	sentinel := d.Uint()
	if sentinel >= uint64(len(sentinels)) {
		d.Fail("unknown error")
		return d.Err
	}
	e.sentinel, e.text = sentinels[sentinel], d.String()
	if d.Err != nil {
		return d.Err
	}
	return e
}

// failure is an error of the runtime, as JSON. Exactly one of its parts is
// set, or none: then Text is all there is.
type failure struct {
	Script *scriptFailure        `json:"script,omitempty"`
	Limit  *jsruntime.LimitError `json:"limit,omitempty"`
	Queue  time.Duration         `json:"queue,omitempty"` // Retry-After
	Host   uint64                `json:"host,omitempty"`  // number of the edge's own error behind it
	Known  int                   `json:"known,omitempty"` // sentinel
	Text   string                `json:"text,omitempty"`
	Wait   time.Duration         `json:"wait,omitempty"` // for an isolate
}

type scriptFailure struct {
	Kind    jsruntime.ErrorKind `json:"kind"`
	Status  int                 `json:"status"`
	Summary string              `json:"summary"`
	Name    string              `json:"name,omitempty"`
	Message string              `json:"message,omitempty"`
	Details json.RawMessage     `json:"details,omitempty"`
	Stack   string              `json:"stack,omitempty"`
	Frame   string              `json:"frame,omitempty"`
}

// putFailure encodes an error of the runtime, in the worker.
func putFailure(b []byte, err error) []byte { return putFailed(b, err, 0) }

// putFailed is putFailure for a request that waited for an isolate.
func putFailed(b []byte, err error, wait time.Duration) []byte {
	f := failure{Wait: wait}
	var script *jsruntime.ScriptError
	var queue *jsruntime.QueueError
	var host *hostError
	if errors.As(err, &host) {
		f.Host = host.number
	}
	f.Known = sentinelOf(err)
	switch {
	case errors.As(err, &script):
		f.Script = &scriptFailure{
			Kind: script.Kind, Status: script.Status, Summary: script.Summary,
			Name: script.Name, Message: script.Message, Stack: script.Stack, Frame: script.Frame,
		}
		if details, err := json.Marshal(script.Details); err == nil && script.Details != nil {
			f.Script.Details = details
		}
	case errors.As(err, &f.Limit):
	case errors.As(err, &queue):
		f.Queue = max(queue.RetryAfter, 1)
	default:
		f.Text = err.Error()
	}
	return append(b, mustJSON(&f)...)
}

// decodeFailure is the edge's end of putFailure. own returns the edge's error
// of a number, nil if there is none.
func decodeFailure(payload []byte, container string, own func(uint64) error) (wait time.Duration, err error) {
	var f failure
	if err := json.Unmarshal(payload, &f); err != nil {
		return 0, wire.Violation("failure: %v", err)
	}
	return min(max(f.Wait, 0), time.Hour), f.error(container, own)
}

func (f *failure) error(container string, own func(uint64) error) error {
	var cause error
	if f.Host != 0 {
		cause = own(f.Host)
	}
	if cause == nil && f.Known > 0 && f.Known < len(sentinels) {
		cause = sentinels[f.Known]
	}
	switch {
	case f.Script != nil:
		s := f.Script
		if s.Status < 400 || s.Status > 599 {
			return wire.Violation("failure with the status %d", s.Status)
		}
		err := &jsruntime.ScriptError{
			Kind: s.Kind, Status: s.Status, Summary: s.Summary,
			Name: s.Name, Message: s.Message, Stack: s.Stack, Frame: s.Frame,
		}
		if len(s.Details) > 0 {
			var text string
			if json.Unmarshal(s.Details, &text) == nil {
				err.Details = text
			} else {
				err.Details = s.Details
			}
		}
		return err.WithCause(cause)
	case f.Limit != nil:
		if f.Limit.Status < 400 || f.Limit.Status > 599 {
			return wire.Violation("failure with the status %d", f.Limit.Status)
		}
		return f.Limit
	case f.Queue > 0:
		return &jsruntime.QueueError{Container: container, RetryAfter: min(f.Queue, time.Minute)}
	case cause != nil:
		return cause
	default:
		return &WorkerError{Text: f.Text}
	}
}

// WorkerError is an error of the runtime in a worker that is no script's.
type WorkerError struct{ Text string }

func (e *WorkerError) Error() string { return "worker: " + e.Text }
