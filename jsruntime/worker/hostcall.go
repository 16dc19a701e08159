//go:build unix

package worker

import (
	"context"
	"net/http"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/jsruntime/worker/internal/wire"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

// callCost is what a call takes besides what was sent with it.
const callCost = 4 << 10

// maxHeld is how many bytes all calls of a worker may take in the edge at once:
// no more than it may take itself, since it had to hold them before.
func (l *link) maxHeld() int64 { return max(l.key.memory, 32<<20) }

// serveCall starts a call of the Host on a goroutine of its own.
func (c *call) serveCall(f frame) error {
	d := &decoder{Decoder: wire.Decoder{Rest: f.payload}}
	number, method := d.Uint32(), d.Uint()
	if d.Err != nil {
		return d.Err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return nil
	}
	if number <= c.last {
		return wire.Violation("call %d after call %d", number, c.last)
	}
	c.last = number
	if len(c.calls) >= maxCalls {
		return wire.Violation("more than %d calls of one request at once", maxCalls)
	}
	cost := int64(callCost + len(f.payload))
	held, started := c.link.held.Add(cost), false
	defer func() {
		if !started {
			c.link.held.Add(-cost)
		}
	}()
	if held > c.link.maxHeld() {
		return wire.Violation("calls for which the edge would have to hold %d bytes", held)
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
			return c.answer(number, nil, func(b []byte) []byte { return wire.PutString(b, id) })
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
		d.Fail("unknown call")
	}
	if err := d.End(); err != nil {
		cancel(nil)
		return err
	}
	if c.calls == nil {
		c.calls = make(map[uint32]*edgeCall)
	}
	c.calls[number] = under
	started = true
	go func() {
		defer c.link.held.Add(-cost)
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
	switch strings.ToUpper(req.Method) {
	case "", "CONNECT", "TRACE", "TRACK":
		d.Fail("method")
	}
	switch req.Redirect {
	case "", "follow", "error", "manual":
	default:
		d.Fail("mode of redirects")
	}
	if req.Length < -1 {
		d.Fail("body of a negative length")
	}
	for name, values := range req.Header {
		if !httpguts.ValidHeaderFieldName(name) || http.CanonicalHeaderKey(name) != name {
			d.Fail("header name")
		}
		for _, value := range values {
			if !httpguts.ValidHeaderFieldValue(value) {
				d.Fail("header value")
			}
		}
	}
	if strings.ContainsFunc(req.Method, func(r rune) bool { return !httpguts.IsTokenRune(r) }) {
		d.Fail("method")
	}
	return d.End()
}

// answer replies to a call; argument follows a result.
func (c *call) answer(number uint32, err error, argument func(b []byte) []byte) bool {
	kept := uint64(0)
	if err != nil {
		kept = c.keep(err)
	}
	// A broken socket ends the call by itself.
	_ = c.link.out.send(kindReply, c.number, func(b []byte) []byte {
		b = wire.PutUint(b, uint64(number))
		if err == nil {
			b = wire.PutUint(b, 0)
		} else {
			b = putHostError(wire.PutUint(b, 1), err, kept)
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
			b = wire.PutBytes(b, mustJSON(session))
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
