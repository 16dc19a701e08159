package jsruntime

import (
	"context"
	"time"

	"github.com/dustin/go-humanize"
)

// Do runs the handler of spec on one request and returns its response as soon
// as the head is known; the caller closes Response.Body when it is not nil.
// While the script is synchronous everything happens on the caller's
// goroutine. ctx ends the request, until Do returns; then Response.Body.Close
// does.
//
// Errors: *ScriptError, *LimitError, *QueueError, ErrClosed, those of ctx, and
// what req.Host returned when the script let it through (errors.Is sees it in
// a ScriptError).
func (e *Engine) Do(ctx context.Context, spec *Spec, req *Request) (*Response, error) {
	if !e.arrive() {
		req.ended()
		return nil, ErrClosed
	}
	deadline := req.Deadline
	if deadline.IsZero() {
		deadline = e.clock.Now().Add(spec.Limits.Timeout)
	}
	iso, raw, err := e.prepare(ctx, spec, req, deadline)
	if err != nil {
		e.leave()
		req.ended()
		return nil, err
	}
	return iso.serve(ctx, spec, req, deadline, raw)
}

// prepare reads the body, when the handler wants it read, and then takes an
// isolate: a slow client shall not hold one.
func (e *Engine) prepare(ctx context.Context, spec *Spec, req *Request, deadline time.Time) (iso *Isolate, raw *rawBody, err error) {
	for {
		p := e.poolOf(spec)
		if raw == nil && wantsBody(model(p.model.Load()), spec, req) {
			if raw, err = readBody(spec, req); err != nil {
				return nil, nil, err
			}
		}
		if iso, err = p.acquire(ctx, spec, req, deadline); err != errPoolGone {
			return iso, raw, err
		}
	}
}

// serve handles one request. Afterwards the isolate is not the caller's.
func (iso *Isolate) serve(ctx context.Context, spec *Spec, req *Request, deadline time.Time, raw *rawBody) (*Response, error) {
	iso.begin(ctx, spec, req, deadline, raw)
	l := &iso.live
	if raw == nil && wantsBody(iso.handler.model, spec, req) {
		// The first request of a program shows what it wants.
		iso.pool.container.park()
		raw, err := readBody(spec, req)
		iso.pool.container.unpark()
		if err != nil {
			iso.finish()
			return nil, err
		}
		l.raw = raw
	}
	iso.enter(iso.callHandler)
	if !l.headKnown() && l.failure == nil {
		iso.awaitHead()
	}
	if err := l.failure; err != nil {
		if l.response != nil && l.response.Body != nil {
			l.response.Body.Close()
		}
		iso.finish()
		return nil, err
	}
	return iso.answer()
}

// answer commits the response. When something is left to do, a goroutine goes
// on with it.
func (iso *Isolate) answer() (*Response, error) {
	l := &iso.live
	resp, limits := l.response, &iso.spec.Limits
	if limits.ResponseBody > 0 && int64(len(resp.Bytes)) > limits.ResponseBody {
		iso.finish()
		return nil, responseTooLarge(limits.ResponseBody)
	}
	l.answered = true
	if l.session != nil {
		resp.Session = l.session.commit()
	}
	if resp.Body != nil {
		body := newStreamBody(iso, resp)
		resp.Body = body
		if !resp.PassThrough {
			l.body = body
		}
	}
	if l.body == nil && len(l.waits) == 0 {
		iso.finish()
		return resp, nil
	}
	iso.turn.deadline.Store(0)
	go iso.tail()
	return resp, nil
}

// finish ends the live request and gives the isolate back.
func (iso *Isolate) finish() {
	holder, e, req := iso.live.holder, iso.engine, iso.live.request
	iso.end()
	iso.pool.container.release(iso)
	if holder != nil {
		holder.release()
	} else {
		e.leave()
		req.ended()
	}
}

func responseTooLarge(limit int64) *LimitError {
	return limitError("response_body", humanize.IBytes(uint64(limit)), statusThrow)
}
