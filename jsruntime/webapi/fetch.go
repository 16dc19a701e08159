package webapi

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/dop251/goja"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
)

// fetchOperation is fetch(input, init) (Fetch §5.6). The Host sends.
func fetchOperation(r *realm, call goja.FunctionCall) goja.Value {
	p := r.newPromise()
	if thrown := r.rt.Try(func() {
		s := r.newRequest(r.argument(call, 0, "fetch"), call.Argument(1))
		r.send(s, p)
	}); thrown != nil {
		p.reject(thrown.Value())
	}
	return p.Value
}

// send starts the fetch of a request that a script made.
func (r *realm) send(s *request, p *promise) {
	in := r.iso.Request()
	if in == nil {
		panic(r.rt.NewTypeError("fetch cannot be called while the program is being loaded; move it into the handler"))
	}
	if s.signal != nil && s.signal.aborted() {
		panic(s.signal.reason)
	}
	r.countSubrequest()
	out := &jsruntime.FetchRequest{Method: s.method, URL: s.href(), Header: s.headers.list.Clone(), Redirect: s.options.redirect}
	r.attachBody(out, s.body)

	f := &fetching{r: r, promise: p, signal: s.signal, head: s.method == http.MethodHead}
	f.ended = func() {}
	if f.signal != nil {
		f.ended = r.followSignal(f)
	}
	// The context is made here, as aborting must work before the goroutine runs.
	ctx, cancel := context.WithCancelCause(r.iso.Context())
	f.cancel = cancel
	host := in.Host
	r.iso.Async(func(context.Context) func() {
		answer, err := host.Fetch(ctx, out)
		return func() { f.finish(answer, err) }
	})
}

// followSignal has the signal of a fetch abort it, until that is taken back, or
// the request ends: a body that is handed on to the caller outlives it, and its
// signal may be one that all requests use.
func (r *realm) followSignal(f *fetching) (ended func()) {
	leave := f.signal.onAbort(f.abort)
	stop := r.iso.OnRequestEnd(leave)
	return func() {
		leave()
		stop()
	}
}

// countSubrequest counts the fetches of one request against its limit.
func (r *realm) countSubrequest() {
	if ctx := r.iso.Context(); r.counted != ctx { // each request has its own
		r.counted, r.subrequests = ctx, 0
	}
	r.subrequests++
	if limit := r.iso.Limits().Subrequests; limit > 0 && r.subrequests > limit {
		panic(r.rt.NewTypeError("fetch: more than %d fetches for one request; the option subrequests raises the limit", limit))
	}
}

// attachBody gives the body to the outgoing request, as it is if possible.
func (r *realm) attachBody(out *jsruntime.FetchRequest, b *body) {
	if b == nil {
		return
	}
	if !b.usable() {
		panic(r.usedError())
	}
	c := b.take()
	switch {
	case c == nil:
		out.Body, out.Length = r.newPipe(b.stream), -1
	case c.reader == nil:
		out.Body, out.Length = bytes.NewReader(c.data), int64(len(c.data))
	default:
		out.Body, out.Length = c.handOn(), c.length
	}
}

// fetching is one fetch under way.
type fetching struct {
	r       *realm
	promise *promise
	signal  *abortSignal
	ended   func() // the signal is not followed any more
	cancel  context.CancelCauseFunc
	aborted bool
	head    bool  // the answer has no body, whatever its header says
	stream  *body // of the answer
}

// errAborted is the cause of contexts that a signal of the script ended.
var errAborted = errors.New("aborted by the script")

// abort is what the script's signal does: to the fetch, or to its answer.
func (f *fetching) abort() {
	f.aborted = true
	f.cancel(errAborted)
	if !f.promise.settled {
		f.promise.reject(f.signal.reason)
		return
	}
	if b := f.stream; b != nil && b.stream != nil {
		b.stream.controller.fail(f.signal.reason)
	}
}

// reason returns why the script aborted the fetch; nil: it did not.
func (f *fetching) reason() goja.Value {
	if f.aborted {
		return f.signal.reason
	}
	return nil
}

// finish takes the Host's answer, on the isolate's goroutine.
func (f *fetching) finish(answer *jsruntime.FetchResponse, err error) {
	if f.aborted {
		if answer != nil {
			_ = answer.Body.Close() // nobody wants it
		}
		return
	}
	if err != nil {
		f.ended()
		f.cancel(nil)
		f.promise.reject(f.r.networkError("fetch failed", err))
		return
	}
	f.promise.resolve(f.r.newFetched(answer, f))
}

// newFetched makes the Response of a fetch.
func (r *realm) newFetched(answer *jsruntime.FetchResponse, f *fetching) goja.Value {
	s := &response{
		kind: "basic", url: answer.URL, redirected: answer.Redirected,
		status: answer.Status, statusText: answer.StatusText,
	}
	s.headers.list, s.headers.immutable = answer.Header, true
	if s.headers.list == nil {
		s.headers.list = make(http.Header)
	}
	reader := &fetchedBody{ReadCloser: answer.Body, cancel: f.cancel}
	if f.head || isNullBodyStatus(s.status) {
		_ = reader.Close() // there is nothing in it
		f.ended()
	} else {
		c := r.newContent(reader, contentLength(answer), true)
		c.aborted, c.settled = f.reason, f.ended
		s.body = &body{content: c}
		f.stream = s.body
	}
	return r.create(classResponse, s)
}

// fetchedBody ends its fetch when it is closed.
type fetchedBody struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
}

// Close implements io.Closer.
func (b *fetchedBody) Close() error {
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}

// networkError is the TypeError that a failed fetch or read rejects with. Its
// cause has the details; the error itself remembers the Go error, so that the
// edge knows what was behind it.
func (r *realm) networkError(what string, err error) goja.Value {
	e := r.iso.NewError("TypeError", err, "%s: %s", what, err.Error())
	r.must(e.SetPrototype(r.intrinsic("TypeError").Get("prototype").(*goja.Object)))
	cause := r.iso.NewError("Error", err, "%s", err.Error())
	r.must(e.DefineDataProperty("cause", cause, goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_FALSE))
	return e
}

// contentLength returns the length of an answer's body as its header says; -1
// when the body was decoded, so that its length is another one, or is unknown.
func contentLength(answer *jsruntime.FetchResponse) int64 {
	if answer.Header.Get("Content-Encoding") != "" {
		return -1
	}
	n, err := strconv.ParseInt(answer.Header.Get("Content-Length"), 10, 64)
	if err != nil || n < 0 {
		return -1
	}
	return n
}
