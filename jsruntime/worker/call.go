//go:build unix

package worker

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/jsruntime/worker/internal/wire"
)

// Bounds of what a worker may have open for one request.
const (
	maxCalls      = 1100 // calls of Host at once; the limit timers is 1,000
	maxHostErrors = 1000 // that may be referred to later
)

// maxLogDelay is how old a line of the console may be.
const maxLogDelay = 10 * time.Second

// call is a live request on the edge's side. What its worker asks for is
// looked up here, and ends with it.
type call struct {
	link     *link
	number   uint32
	req      *jsruntime.Request
	spec     *jsruntime.Spec
	caller   context.Context
	deadline time.Time // for the head, without grace
	outcome  chan outcome

	touched atomic.Bool // something of it left the edge, so that it cannot be run again

	mu       sync.Mutex
	ctx      context.Context // of its Host, made on first use
	cancel   context.CancelCauseFunc
	answered bool // the head, or a failure, came
	ended    bool
	doneSent bool          // by the worker: nothing goes on there but perhaps the body
	bodySent bool          // of the response: its end came
	bodyOver bool          // and was read, or it broke, or was closed
	streamBy time.Time     // until when the body of the response may come; zero: for ever
	endBy    time.Time     // after the head and its body: until when it may go on; zero: not yet
	late     time.Time     // the watch's: when it was found to go on after that
	lateCPU  time.Duration // that the worker had taken by then
	lateErr  error
	body     *outbound // of the request, once the worker asked for it
	reply    *inbound  // of the response
	calls    map[uint32]*edgeCall
	last     uint32  // highest number of a call
	failures []error // what the Host returned, by number
}

// outcome is how a call came out: a frame of the worker, or the end of it.
type outcome struct {
	frame frame
	err   error
}

// edgeCall is a call of the Host under way.
type edgeCall struct {
	cancel context.CancelCauseFunc
	sent   *inbound  // body of the request
	got    *outbound // body of the answer
}

// resolve delivers the outcome, once. The mutex is held.
func (c *call) resolve(o outcome) {
	c.answered = true
	c.outcome <- o
}

// context returns the context of the call's Host: it has the values of the
// caller's, and outlives it as long as the request does.
func (c *call) context() context.Context {
	if c.ctx == nil {
		c.ctx, c.cancel = context.WithCancelCause(context.WithoutCancel(c.caller))
		if c.ended {
			c.cancel(jsruntime.ErrRequestEnded)
		}
	}
	return c.ctx
}

// finish ends the call: what its script has under way is aborted, and nothing
// more is done for it. cause is what a body that still comes breaks with.
func (c *call) finish(cause error) {
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return
	}
	c.ended = true
	if !c.answered {
		c.resolve(outcome{err: cause})
	}
	if c.cancel != nil {
		c.cancel(jsruntime.ErrRequestEnded)
	}
	reply, body, calls := c.reply, c.body, c.calls
	c.calls = nil
	c.mu.Unlock()
	if reply != nil {
		reply.finish(cause)
	}
	if body != nil {
		body.stop()
	}
	for _, under := range calls {
		under.abandon()
	}
}

func (under *edgeCall) abandon() {
	under.cancel(jsruntime.ErrRequestEnded)
	if under.sent != nil {
		under.sent.finish(jsruntime.ErrRequestEnded)
	}
	if under.got != nil {
		under.got.stop()
	}
}

// handle takes a frame of the worker for this call. It never blocks: all that
// a worker sends comes through one goroutine.
func (c *call) handle(f frame) error {
	switch f.kind {
	case kindResponse, kindFailure:
		return c.head(f)
	case kindDone:
		return c.done()
	case kindCall:
		return c.serveCall(f)
	case kindHangUp:
		d := decoder{Decoder: wire.Decoder{Rest: f.payload}}
		if under := c.under(d.Uint32()); under != nil {
			under.abandon()
		}
		return d.End()
	case kindLog:
		d := decoder{Decoder: wire.Decoder{Rest: f.payload}}
		entry := d.log()
		if err := d.End(); err != nil {
			return err
		}
		// It is the worker's clock, and its word.
		if now := time.Now(); entry.Time.After(now) || now.Sub(entry.Time) > maxLogDelay {
			entry.Time = now
		}
		c.req.Host.Log(entry)
		return nil
	default:
		return c.stream(f)
	}
}

// head takes the response or the failure.
func (c *call) head(f frame) error {
	flags := uint64(responseEnded) // of a failure
	if f.kind == kindResponse {
		flags = responseFlags(f.payload)
	}
	c.mu.Lock()
	if c.answered && !c.ended {
		c.mu.Unlock()
		return wire.Violation("a second answer to request %d", c.number)
	}
	c.link.answers.Add(1)
	if !c.ended { // else the caller has gone
		if flags&responseStream != 0 {
			c.touched.Store(true)
			c.reply = newInbound(c.link.out, streamKey{request: c.number}, window)
			c.reply.over = c.bodyRead
			if limit := c.spec.Limits.StreamTimeout; limit > 0 {
				c.streamBy = c.link.now().Add(limit + c.link.owner.options.Grace)
			}
		} else {
			c.endBy = c.after()
		}
		c.resolve(outcome{frame: f})
	}
	c.doneSent = c.doneSent || flags&responseEnded != 0
	c.mu.Unlock()
	c.settle()
	return nil
}

// after is until when a request may go on whose answer is complete.
func (c *call) after() time.Time {
	return c.link.now().Add(c.spec.Limits.WaitUntil + c.link.owner.options.Grace)
}

// done takes kindDone.
func (c *call) done() error {
	c.mu.Lock()
	answered := c.answered
	c.doneSent = answered
	c.mu.Unlock()
	if !answered {
		return wire.Violation("request %d is done without an answer", c.number)
	}
	c.settle()
	return nil
}

// bodyRead is called when the response's body was read to its end, broke, or
// was closed.
func (c *call) bodyRead() {
	c.mu.Lock()
	c.bodyOver = true
	c.endBy = c.after()
	c.mu.Unlock()
	c.settle()
}

// settle forgets the call once nothing of it goes on, neither in the worker
// nor, of its body, here.
func (c *call) settle() {
	c.mu.Lock()
	over := c.doneSent && (c.reply == nil || c.bodyOver)
	c.mu.Unlock()
	if over {
		c.link.drop(c)
	}
}

func (c *call) under(number uint32) *edgeCall {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls[number]
}

// stream takes a frame of one of the streams.
func (c *call) stream(f frame) error {
	d := decoder{Decoder: wire.Decoder{Rest: f.payload}}
	number := d.Uint32()
	if d.Err != nil {
		return d.Err
	}
	var in *inbound
	var out *outbound
	if number == 0 {
		c.mu.Lock()
		c.bodySent = c.bodySent || f.kind == kindEnd
		if f.kind == kindCredit && c.body == nil && !c.ended && hasBody(c.req) {
			c.startBody()
		}
		in, out = c.reply, c.body
		c.mu.Unlock()
	} else if under := c.under(number); under != nil {
		in, out = under.sent, under.got
	}
	switch f.kind {
	case kindData:
		if in != nil {
			return in.push(d.Rest)
		}
	case kindEnd:
		if in != nil {
			in.finish(c.endOf(d.Rest, number))
		}
	case kindCredit:
		if n := d.Uint(); out != nil && d.Err == nil {
			return out.grant(n)
		}
	case kindStop:
		if out != nil {
			out.stop()
		}
	default:
		return wire.Violation("frame of kind %d for a request", f.kind)
	}
	return d.Err
}

// endOf is what a kindEnd of the worker says.
func (c *call) endOf(payload []byte, stream uint32) error {
	switch {
	case len(payload) == 0:
		return io.EOF
	case stream == 0:
		_, err := decodeFailure(payload, c.spec.Container, c.failure)
		return err
	default:
		return errors.New("the script's body broke off")
	}
}

// startBody sends the request's body, from the worker's first reading on. The
// mutex is held.
func (c *call) startBody() {
	c.touched.Store(true) // what was read of it is gone
	c.body = newOutbound(c.link.out, streamKey{request: c.number}, 0)
	body := c.body
	go body.pump(c.req.Body, func(b []byte, err error) []byte { return putHostError(b, err, c.keep(err)) })
}

// keep remembers an error of the edge, and returns its number.
func (c *call) keep(err error) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.failures) >= maxHostErrors {
		return 0
	}
	c.failures = append(c.failures, err)
	return uint64(len(c.failures))
}

// failure returns the error of a number.
func (c *call) failure(number uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if number == 0 || number > uint64(len(c.failures)) {
		return nil
	}
	return c.failures[number-1]
}
