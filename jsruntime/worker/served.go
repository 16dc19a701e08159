//go:build unix

package worker

import (
	"bytes"
	"context"
	"io"
	"sync"
	"time"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/jsruntime/worker/internal/wire"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

// served is a request in the worker. It is the context that it runs under and
// the Host that its script calls, over the socket.
type served struct {
	child   *child
	number  uint32
	request jsruntime.Request
	body    *inbound // of the request; nil: none

	mu       sync.Mutex
	done     chan struct{} // made when somebody waits for the end
	canceled bool
	over     bool // nothing of it goes on
	headSent bool
	reply    *outbound // body of the response
	inner    io.Closer // of which reply is read
	calls    map[uint32]*hostCall
	last     uint32 // number of the last call
}

// hostCall is a call of the Host that waits, or whose bodies are under way.
type hostCall struct {
	answer chan frame
	sent   *outbound // body of the request
	got    *inbound  // body of the answer
}

var (
	_ jsruntime.Host             = (*served)(nil)
	_ jsruntime.SessionNamer     = (*served)(nil)
	_ jsruntime.SessionCommitter = (*served)(nil)
	_ context.Context            = (*served)(nil)
)

// Deadline implements context.Context.
func (s *served) Deadline() (time.Time, bool) { return time.Time{}, false }

// Value implements context.Context.
func (s *served) Value(any) any { return nil }

// Done implements context.Context. Who asks is about to wait, so others may read.
func (s *served) Done() <-chan struct{} {
	s.child.turn.pass(s.number)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done == nil {
		s.done = make(chan struct{})
		if s.canceled {
			close(s.done)
		}
	}
	return s.done
}

// Err implements context.Context.
func (s *served) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.canceled {
		return context.Canceled
	}
	return nil
}

// cancel ends the request: its caller has gone.
func (s *served) cancel() {
	s.mu.Lock()
	if s.canceled {
		s.mu.Unlock()
		return
	}
	s.canceled = true
	if s.done != nil {
		close(s.done)
	}
	reply, inner := s.reply, s.inner
	s.mu.Unlock()
	if s.body != nil {
		s.body.finish(jsruntime.ErrRequestEnded)
	}
	if reply != nil {
		reply.stop()
		_ = inner.Close() // its error would have nobody to go to
	}
}

// ended is jsruntime.Request.Ended. The edge is told with the head, if that
// has not gone yet.
func (s *served) ended() {
	s.mu.Lock()
	s.over = true
	tell := s.headSent
	waiting := s.calls
	s.calls = nil
	s.mu.Unlock()
	for _, call := range waiting {
		call.abandon()
	}
	if tell {
		s.forget()
		_ = s.child.out.send(kindDone, s.number, nil)
	}
}

// forget takes the request out of the live ones: what still comes for it is
// ignored.
func (s *served) forget() {
	s.child.mu.Lock()
	delete(s.child.live, s.number)
	s.child.mu.Unlock()
}

// run serves the request.
func (s *served) run(m *specMessage) {
	spec, err := s.child.specOf(m)
	var resp *jsruntime.Response
	if err == nil {
		resp, err = s.child.engine.Do(s, spec, &s.request)
	}
	if err != nil {
		s.forget()
		_ = s.child.out.send(kindFailure, s.number, func(b []byte) []byte { return putFailed(b, err, s.request.QueueWait) })
		return
	}
	body := resp.Body
	if body == nil && len(resp.Bytes) > maxInline {
		body = io.NopCloser(bytes.NewReader(resp.Bytes))
	}
	flags := uint64(0)
	s.mu.Lock()
	if body != nil {
		flags |= responseStream
		s.reply, s.inner = newOutbound(s.child.out, streamKey{request: s.number}, window), body
		if s.canceled {
			s.reply.stop()
		}
	}
	over := s.over
	if over {
		flags |= responseEnded
		if body == nil {
			s.mu.Unlock()
			s.forget()
			s.mu.Lock()
		}
	}
	s.headSent = true
	// Under the mutex: kindDone comes after it.
	err = s.child.out.send(kindResponse, s.number, func(b []byte) []byte { return putResponse(b, resp, s.request.QueueWait, flags) })
	s.mu.Unlock()
	if body == nil {
		return
	}
	if err == nil {
		s.child.turn.pass(s.number)
		s.reply.pump(body, putFailure)
	}
	_ = body.Close() // the pump has said what there is to say
	if over {
		s.forget()
	}
}

// handle takes a frame of the edge for this request.
func (s *served) handle(f frame, d *decoder) error {
	switch f.kind {
	case kindCancel:
		s.cancel()
		return nil
	case kindReply:
		call := s.call(d.Uint32())
		if d.Err == nil && call != nil {
			call.answer <- frame{payload: d.Rest}
		}
		return d.Err
	}
	stream := d.Uint32()
	var in *inbound
	var out *outbound
	if stream == 0 {
		s.mu.Lock()
		in, out = s.body, s.reply
		s.mu.Unlock()
	} else if call := s.call(stream); call != nil {
		in, out = call.got, call.sent
	}
	switch f.kind {
	case kindData:
		if in != nil && d.Err == nil {
			return in.push(d.Rest)
		}
	case kindEnd:
		if in != nil && d.Err == nil {
			in.finish(endOf(d))
		}
	case kindCredit:
		if n := d.Uint(); out != nil && d.Err == nil {
			return out.grant(n)
		}
	case kindStop:
		if out != nil {
			out.stop()
		}
		if stream == 0 {
			s.mu.Lock()
			inner := s.inner
			s.mu.Unlock()
			if inner != nil {
				_ = inner.Close()
			}
		}
	default:
		return wire.Violation("frame of kind %d for a request", f.kind)
	}
	return d.Err
}

// endOf is what a kindEnd says: io.EOF, or the Host's error.
func endOf(d *decoder) error {
	if len(d.Rest) == 0 {
		return io.EOF
	}
	return d.hostError()
}

func (s *served) call(number uint32) *hostCall {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[number]
}

// open registers a call under the next number; prepare completes it before the
// edge can answer.
func (s *served) open(call *hostCall, prepare func(*hostCall, uint32)) (number uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	if s.calls == nil {
		s.calls = make(map[uint32]*hostCall)
	}
	s.calls[s.last] = call
	if prepare != nil {
		prepare(call, s.last)
	}
	return s.last
}

func (s *served) isOver() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
}

func (s *served) close(number uint32) {
	s.mu.Lock()
	delete(s.calls, number)
	s.mu.Unlock()
}

// abandon breaks the bodies of a call.
func (call *hostCall) abandon() {
	if call.sent != nil {
		call.sent.stop()
	}
	if call.got != nil {
		call.got.finish(jsruntime.ErrRequestEnded)
	}
}

// ask calls the Host: which method, with what argument.
func (s *served) ask(ctx context.Context, method uint64, argument func(b []byte) []byte, prepare func(*hostCall, uint32)) (*decoder, *hostCall, uint32, error) {
	if s.isOver() {
		return nil, nil, 0, jsruntime.ErrRequestEnded
	}
	call, number := &hostCall{answer: make(chan frame, 1)}, uint32(0)
	err := s.child.out.send(kindCall, s.number, func(b []byte) []byte {
		// Scripts make many calls at once, and the edge takes them in the order
		// of their numbers only: it is that of their frames, which is known here.
		number = s.open(call, prepare)
		b = wire.PutUint(wire.PutUint(b, uint64(number)), method)
		if argument != nil {
			b = argument(b)
		}
		return b
	})
	if err != nil {
		s.close(number)
		return nil, nil, 0, err
	}
	s.child.turn.pass(s.number)
	select {
	case f := <-call.answer:
		d := &decoder{Decoder: wire.Decoder{Rest: f.payload}, trusted: true}
		if failed := d.Uint(); failed != 0 {
			s.close(number)
			return d, nil, 0, d.hostError()
		}
		return d, call, number, nil
	case <-ctx.Done():
		s.close(number)
		call.abandon()
		_ = s.child.out.send(kindHangUp, s.number, func(b []byte) []byte { return wire.PutUint(b, uint64(number)) })
		return nil, nil, 0, context.Cause(ctx)
	}
}

// Fetch implements jsruntime.Host.
func (s *served) Fetch(ctx context.Context, req *jsruntime.FetchRequest) (*jsruntime.FetchResponse, error) {
	d, call, number, err := s.ask(ctx, callFetch, func(b []byte) []byte { return putFetch(b, req) }, func(call *hostCall, number uint32) {
		key := streamKey{request: s.number, stream: number}
		call.got = newInbound(s.child.out, key, window)
		call.got.over = func() { s.close(number) }
		if req.Body != nil {
			call.sent = newOutbound(s.child.out, key, 0)
			go call.sent.pump(req.Body, func(b []byte, err error) []byte { return wire.PutString(b, err.Error()) })
		}
	})
	if err != nil {
		return nil, err
	}
	resp := d.fetched()
	if err := d.End(); err != nil {
		s.close(number)
		return nil, err
	}
	resp.Body = &fetchedBody{inbound: call.got, stop: context.AfterFunc(ctx, func() { call.got.finish(context.Cause(ctx)) })}
	return resp, nil
}

// fetchedBody is the body of a fetch's answer; it breaks when the fetch is
// aborted.
type fetchedBody struct {
	*inbound
	stop func() bool
}

// Close implements io.Closer.
func (b *fetchedBody) Close() error {
	b.stop()
	return b.inbound.Close()
}

// LoadSession implements jsruntime.Host.
func (s *served) LoadSession(ctx context.Context) (*jsruntime.Session, error) {
	return s.session(ctx, callLoadSession, nil)
}

// SaveSession implements jsruntime.Host.
func (s *served) SaveSession(ctx context.Context, change *webtask.SessionChange) (*jsruntime.Session, error) {
	return s.session(ctx, callSaveSession, func(b []byte) []byte { return wire.PutBytes(b, mustJSON(change)) })
}

func (s *served) session(ctx context.Context, method uint64, argument func([]byte) []byte) (*jsruntime.Session, error) {
	d, _, number, err := s.ask(ctx, method, argument, nil)
	if err != nil && d == nil {
		return nil, err
	}
	s.close(number)
	// A conflict comes with the session as it is.
	var session *jsruntime.Session
	if len(d.Rest) > 0 {
		session = new(jsruntime.Session)
		d.json(session)
	}
	if failure := d.End(); failure != nil {
		return nil, failure
	}
	return session, err
}

// NewSessionID implements jsruntime.SessionNamer.
func (s *served) NewSessionID() string {
	d, _, number, err := s.ask(s, callNewSessionID, nil, nil)
	if err != nil {
		return ""
	}
	s.close(number)
	return d.String()
}

// AwaitSessionCommit implements jsruntime.SessionCommitter.
func (s *served) AwaitSessionCommit(ctx context.Context) error {
	_, _, number, err := s.ask(ctx, callAwaitCommit, nil, nil)
	if err == nil {
		s.close(number)
	}
	return err
}

// Log implements jsruntime.Host.
func (s *served) Log(entry jsruntime.LogEntry) {
	_ = s.child.out.send(kindLog, s.number, func(b []byte) []byte { return putLog(b, &entry) })
}
