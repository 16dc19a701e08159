package jsruntime

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/dop251/goja"
)

// live is what an isolate knows of the request that it serves.
type live struct {
	seq      uint64
	request  *Request        // nil: none
	caller   context.Context // of Do
	deadline time.Time       // for the head
	giveUp   time.Time       // while loading: until when it may wait for the CPU
	holder   *holder         // made when something needs the request's context
	onEnd    endFuncs

	// The outcome. Before the head is known, either ends the request; a
	// failure after that ends the isolate's part and breaks the body.
	response *Response
	failure  error
	entered  bool // it ran JavaScript
	answered bool // the head is known; the response is, or will be, the caller's

	main     *goja.Promise // what the handler returned, until it is settled
	awaiting bool          // a promise was returned, settled or not
	calling  bool          // the handler is being called: exceptions are synchronous
	called   bool          // the callback of a cb-model was
	writer   *nodeWriter   // of the Node model
	body     *streamBody   // made by the script, until it is done
	raw      *rawBody      // of the request, when it was read beforehand
	session  *session      // made on first use
	waits    []*goja.Promise
	waitEnd  time.Time // for waits; zero until the head is known

	timers   timers
	asyncs   int
	watched  []watchedPromise
	rejected []*goja.Promise // without a handler, in this turn
	tracked  weakMap[goja.Promise, struct{}]
	causes   weakMap[goja.Object, error] // Go errors behind errors thrown into the script
}

// holder keeps the context of a request, and the request counted as running,
// until both the isolate's part and a passed-through body have ended.
type holder struct {
	ctx     context.Context
	cancel  context.CancelCauseFunc
	refs    atomic.Int32
	engine  *Engine
	request *Request
}

// hold returns the holder of the live request. Its context has the values of
// the caller's, but outlives it: net/http ends that with the handler, which may
// be before waitUntil is done. The loop watches the caller's itself.
func (iso *Isolate) hold() *holder {
	l := &iso.live
	if l.holder == nil {
		ctx, cancel := context.WithCancelCause(context.WithoutCancel(l.caller))
		l.holder = &holder{ctx: ctx, cancel: cancel, engine: iso.engine, request: l.request}
		l.holder.refs.Store(1)
	}
	return l.holder
}

func (h *holder) release() {
	if h.refs.Add(-1) == 0 {
		h.cancel(ErrRequestEnded)
		h.engine.leave()
		h.request.ended()
	}
}

// headKnown reports whether the response can be committed.
func (l *live) headKnown() bool {
	return l.response != nil && (l.session == nil || l.session.carried == 0)
}

// fatal ends the request with err, whatever its state.
func (l *live) fatal(err error) {
	if l.failure == nil {
		l.failure = err
	}
}

// begin makes req the live request.
func (iso *Isolate) begin(ctx context.Context, spec *Spec, req *Request, deadline time.Time, raw *rawBody) {
	iso.spec = spec
	iso.served++
	l := &iso.live
	l.seq = iso.queue.open()
	l.request, l.caller, l.deadline, l.raw = req, ctx, deadline, raw
	iso.turn.request.Store(req)
	iso.turn.deadline.Store(deadline.UnixNano())
}

// end frees what the live request holds and forgets it. Whatever it started
// and did not finish is dropped.
func (iso *Isolate) end() {
	l := &iso.live
	iso.queue.close()
	iso.turn.request.Store(nil)
	iso.turn.deadline.Store(0)
	if iso.alarm != nil {
		iso.alarm.Stop()
	}
	if l.asyncs > 0 || l.failure != nil && (l.main != nil || l.timers.Len() > 0) {
		// What they would have settled never is, yet is still reachable from
		// the author's globals: a clean isolate is cheap. Timers that a request
		// leaves behind which went well are those of a race that they lost.
		iso.condemn(discardPending)
	}
	if l.body != nil {
		l.body.fail(l.bodyError())
	}
	l.onEnd.run()
	l.onEnd.reset()
	*l = live{onEnd: l.onEnd}
}

// bodyError is what breaks a body that the isolate's part ends before.
func (l *live) bodyError() error {
	if l.failure != nil {
		return l.failure
	}
	return ErrRequestEnded
}

// fail ends the request with an error answer or, once the head is known, logs
// the error.
func (iso *Isolate) fail(err error) {
	if l := &iso.live; !l.answered {
		l.fatal(err)
		return
	}
	iso.report(err)
}

// report logs an error that no answer can tell any more.
func (iso *Isolate) report(err error) {
	message, stack := err.Error(), ""
	if script, ok := err.(*ScriptError); ok {
		stack = script.Stack
	}
	iso.Log(LogError, message, stack)
}

// trackRejection is goja's promise rejection tracker (ECMA-262
// HostPromiseRejectionTracker).
func (iso *Isolate) trackRejection(p *goja.Promise, operation goja.PromiseRejectionOperation) {
	l := &iso.live
	if operation == goja.PromiseRejectionReject {
		l.rejected = append(l.rejected, p)
		return
	}
	for i, q := range l.rejected {
		if q == p {
			l.rejected = append(l.rejected[:i], l.rejected[i+1:]...)
			return
		}
	}
}

// Track has the rejection tracker treat p as awaited by the platform: its
// rejection is not unhandled.
func (iso *Isolate) Track(p *goja.Promise) { iso.live.tracked.put(p, struct{}{}) }

// checkRejections fails the request for the promises that were rejected in
// this turn and that nobody awaits.
func (iso *Isolate) checkRejections() {
	l := &iso.live
	for _, p := range l.rejected {
		if _, ok := l.tracked.get(p); ok || p == l.main {
			continue
		}
		iso.fail(iso.thrown(p.Result(), nil, iso.throwKind()))
	}
	clear(l.rejected)
	l.rejected = l.rejected[:0]
}

// watchedPromise is a promise of the script that the platform waits for.
type watchedPromise struct {
	promise             *goja.Promise
	fulfilled, rejected func(goja.Value)
}

// watch calls what waits for promises that are settled now, and reports
// whether there was anything.
func (iso *Isolate) watch() (called bool) {
	l := &iso.live
	for i := 0; i < len(l.watched); {
		w := l.watched[i]
		if w.promise.State() == goja.PromiseStatePending {
			i++
			continue
		}
		l.watched = slices.Delete(l.watched, i, i+1)
		if w.promise.State() == goja.PromiseStateFulfilled {
			w.fulfilled(w.promise.Result())
		} else {
			w.rejected(w.promise.Result())
		}
		i, called = 0, true // they run JavaScript, which may settle others
	}
	return called
}
