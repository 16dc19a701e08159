//go:build unix

package worker

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

// Bounds of what a worker may have open for one request.
const (
	maxCalls      = 1100 // calls of Host at once; the limit timers is 1,000
	maxHostErrors = 1000 // that may be referred to later
)

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
	doneSent bool      // nothing goes on in the worker but perhaps the body
	bodyOver bool      // of the response
	endBy    time.Time // after the head and its body: until when it may go on; zero: not yet
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
		d := decoder{rest: f.payload}
		if under := c.under(d.uint32()); under != nil {
			under.abandon()
		}
		return d.end()
	case kindLog:
		d := decoder{rest: f.payload}
		entry := d.log()
		if err := d.end(); err != nil {
			return err
		}
		c.req.Host.Log(entry)
		return nil
	default:
		return c.stream(f)
	}
}

// head takes the response or the failure.
func (c *call) head(f frame) error {
	flags := uint64(0)
	if f.kind == kindResponse {
		flags = responseFlags(f.payload)
	}
	c.mu.Lock()
	if c.answered && !c.ended {
		c.mu.Unlock()
		return violation("a second answer to request %d", c.number)
	}
	if c.ended { // the caller has gone
		c.mu.Unlock()
		if f.kind == kindFailure || flags&responseEnded != 0 {
			c.link.drop(c)
		}
		return nil
	}
	streams := flags&responseStream != 0
	over := f.kind == kindFailure || flags&responseEnded != 0 && !streams
	if streams {
		c.touched.Store(true)
		c.reply = newInbound(c.link.out, streamKey{request: c.number}, window)
		c.reply.over = c.bodyRead
	} else {
		c.endBy = c.after()
	}
	c.resolve(outcome{frame: f})
	c.mu.Unlock()
	if flags&responseEnded != 0 {
		over = over || c.markDone()
	}
	if over {
		c.link.drop(c)
	}
	return nil
}

// after is until when a request may go on whose answer is complete.
func (c *call) after() time.Time {
	return c.link.now().Add(c.spec.Limits.WaitUntil + c.link.owner.options.Grace)
}

// markDone notes that the worker is done with everything but the body, and
// reports whether that is over too.
func (c *call) markDone() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.doneSent = true
	return c.bodyOver
}

// done takes kindDone.
func (c *call) done() error {
	c.mu.Lock()
	answered := c.answered
	c.mu.Unlock()
	if !answered {
		return violation("request %d is done without an answer", c.number)
	}
	c.mu.Lock()
	streaming := c.reply != nil && !c.bodyOver
	c.mu.Unlock()
	c.markDone()
	if !streaming {
		c.link.drop(c)
	}
	return nil
}

// bodyRead is called when the response's body was read to its end, broke, or
// was closed.
func (c *call) bodyRead() {
	c.mu.Lock()
	c.bodyOver = true
	c.endBy = c.after()
	done := c.doneSent
	c.mu.Unlock()
	if done {
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
	d := decoder{rest: f.payload}
	number := d.uint32()
	if d.err != nil {
		return d.err
	}
	var in *inbound
	var out *outbound
	if number == 0 {
		c.mu.Lock()
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
			return in.push(d.rest)
		}
	case kindEnd:
		if in != nil {
			in.finish(c.endOf(d.rest, number))
		}
	case kindCredit:
		if n := d.uint(); out != nil && d.err == nil {
			return out.grant(n)
		}
	case kindStop:
		if out != nil {
			out.stop()
		}
	default:
		return violation("frame of kind %d for a request", f.kind)
	}
	return d.err
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

// serveCall starts a call of the Host on a goroutine of its own.
func (c *call) serveCall(f frame) error {
	d := &decoder{rest: f.payload}
	number, method := d.uint32(), d.uint()
	if d.err != nil {
		return d.err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return nil
	}
	if number <= c.last {
		return violation("call %d after call %d", number, c.last)
	}
	c.last = number
	if len(c.calls) >= maxCalls {
		return violation("more than %d calls of one request at once", maxCalls)
	}
	ctx, cancel := context.WithCancelCause(c.context())
	under := &edgeCall{cancel: cancel}
	key := streamKey{request: c.number, stream: number}
	var do func() bool // it reports whether the call is over
	switch method {
	case callFetch:
		req, body := d.fetch()
		if err := checkFetch(d, req); err != nil {
			cancel(nil)
			return err
		}
		c.touched.Store(true)
		under.got = newOutbound(c.link.out, key, window)
		if body {
			under.sent = newInbound(c.link.out, key, 0)
			req.Body = under.sent
		}
		do = func() bool { return c.fetch(ctx, number, under, req) }
	case callLoadSession:
		do = func() bool {
			session, err := c.req.Host.LoadSession(ctx)
			return c.replySession(number, session, err)
		}
	case callSaveSession:
		change := new(webtask.SessionChange)
		d.json(change)
		checkChange(d, change)
		c.touched.Store(true)
		do = func() bool {
			session, err := c.req.Host.SaveSession(ctx, change)
			return c.replySession(number, session, err)
		}
	case callNewSessionID:
		do = func() bool {
			id := ""
			if namer, ok := c.req.Host.(jsruntime.SessionNamer); ok {
				id = namer.NewSessionID()
			}
			return c.answer(number, nil, func(b []byte) []byte { return putString(b, id) })
		}
	case callAwaitCommit:
		do = func() bool {
			var err error
			if committer, ok := c.req.Host.(jsruntime.SessionCommitter); ok {
				err = committer.AwaitSessionCommit(ctx)
			}
			return c.answer(number, err, nil)
		}
	default:
		d.fail("unknown call")
	}
	if err := d.end(); err != nil {
		cancel(nil)
		return err
	}
	if c.calls == nil {
		c.calls = make(map[uint32]*edgeCall)
	}
	c.calls[number] = under
	go func() {
		if do() {
			cancel(nil)
			c.mu.Lock()
			delete(c.calls, number)
			c.mu.Unlock()
		}
	}()
	return nil
}

// checkFetch refuses a request that no script can make.
func checkFetch(d *decoder, req *jsruntime.FetchRequest) error {
	for name, values := range req.Header {
		if !httpguts.ValidHeaderFieldName(name) || http.CanonicalHeaderKey(name) != name {
			d.fail("header name")
		}
		for _, value := range values {
			if !httpguts.ValidHeaderFieldValue(value) {
				d.fail("header value")
			}
		}
	}
	if req.Method == "" || strings.ContainsFunc(req.Method, func(r rune) bool { return !httpguts.IsTokenRune(r) }) {
		d.fail("method")
	}
	return d.end()
}

// answer replies to a call; argument follows a result.
func (c *call) answer(number uint32, err error, argument func(b []byte) []byte) bool {
	kept := uint64(0)
	if err != nil {
		kept = c.keep(err)
	}
	// A broken socket ends the call by itself.
	_ = c.link.out.send(kindReply, c.number, func(b []byte) []byte {
		b = putUint(b, uint64(number))
		if err == nil {
			b = putUint(b, 0)
		} else {
			b = putHostError(putUint(b, 1), err, kept)
		}
		if argument != nil {
			b = argument(b)
		}
		return b
	})
	return true
}

func (c *call) replySession(number uint32, session *jsruntime.Session, err error) bool {
	return c.answer(number, err, func(b []byte) []byte {
		if session != nil {
			b = putBytes(b, mustJSON(session))
		}
		return b
	})
}

// fetch sends a script's request, and then the body of its answer.
func (c *call) fetch(ctx context.Context, number uint32, under *edgeCall, req *jsruntime.FetchRequest) bool {
	resp, err := c.req.Host.Fetch(ctx, req)
	if err != nil {
		return c.answer(number, err, nil)
	}
	defer resp.Body.Close()
	c.answer(number, nil, func(b []byte) []byte { return putFetched(b, resp) })
	stop := context.AfterFunc(ctx, under.got.stop)
	under.got.pump(resp.Body, func(b []byte, err error) []byte { return putHostError(b, err, c.keep(err)) })
	stop()
	return true
}
