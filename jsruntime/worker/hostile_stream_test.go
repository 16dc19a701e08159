//go:build unix

package worker

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/jsruntime/worker/internal/wire"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

// TestUnreadBody has a worker read no more of a body that a request sends it, and
// send no more of the response's: who waits for that is not kept either.
func TestUnreadBody(t *testing.T) {
	w := newLiar(t, Options{Grace: 20 * time.Millisecond})
	number, outcome := w.ask(t.Context(), io.LimitReader(zeros{}, 64<<20))
	w.say(kindResponse, number, putResponse(nil, &jsruntime.Response{Status: 200, BodyLength: -1}, 0, responseStream))
	// A window of it is more than the socket holds.
	w.say(kindCredit, number, wire.PutUint(wire.PutUint(nil, 0), window))
	var crash *jsruntime.CrashError
	if err := <-outcome; !errors.As(err, &crash) || !errors.Is(err, wire.ErrUnread) {
		t.Errorf("the response broke with %v", err)
	}
	<-w.link.gone
}

// zeros is an endless body.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// TestStreamBeyondItsLimit has a worker that does not end a body when its time is
// over.
func TestStreamBeyondItsLimit(t *testing.T) {
	w := newLiar(t, Options{Grace: 20 * time.Millisecond})
	w.limits = webtask.Limits{Timeout: time.Hour, StreamTimeout: 20 * time.Millisecond}
	number, outcome := w.ask(t.Context(), nil)
	w.say(kindResponse, number, putResponse(nil, &jsruntime.Response{Status: 200, BodyLength: -1}, 0, responseStream))
	var limit *jsruntime.LimitError
	if err := <-outcome; !errors.As(err, &limit) || limit.Limit != "stream_timeout" {
		t.Errorf("the response broke with %v", err)
	}
	<-w.link.gone
}

// TestSlowReader has a client that takes its time with a body which the worker has
// sent whole: that is not the worker's fault.
func TestSlowReader(t *testing.T) {
	w := newLiar(t, Options{Grace: 20 * time.Millisecond})
	w.limits = webtask.Limits{Timeout: time.Hour, StreamTimeout: 20 * time.Millisecond}
	w.slow = make(chan struct{})
	number, outcome := w.ask(t.Context(), nil)
	w.say(kindResponse, number, putResponse(nil, &jsruntime.Response{Status: 200, BodyLength: -1}, 0, responseStream))
	w.say(kindData, number, append(wire.PutUint(nil, 0), "all of it"...))
	w.say(kindEnd, number, wire.PutUint(nil, 0))
	<-time.After(200 * time.Millisecond) // many times its limit and grace
	close(w.slow)
	if err := <-outcome; err != nil {
		t.Errorf("the response broke with %v", err)
	}
	select {
	case <-w.link.gone:
		t.Error("the worker was killed for it")
	default:
	}
}
