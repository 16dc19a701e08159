package jsruntime

import (
	"io"
	"sync"
)

// streamBody is the body of a response, as the caller of Do reads it.
type streamBody struct {
	inner io.ReadCloser
	limit int64 // bytes; 0: none
	over  func()

	mu    sync.Mutex
	timer Timer // stream_timeout; nil: none
	read  int64
	err   error // what broke it
	ended bool
}

// newStreamBody wraps resp.Body. A body that passes through keeps the context
// of the request alive, one that the script makes keeps its isolate.
func newStreamBody(iso *Isolate, resp *Response) *streamBody {
	body := &streamBody{inner: resp.Body}
	if resp.PassThrough {
		holder := iso.hold()
		holder.refs.Add(1)
		body.over = holder.release
	} else {
		seq := iso.live.seq
		body.over = func() { iso.queue.post(seq, task{}) }
		body.limit = iso.spec.Limits.ResponseBody
	}
	if timeout := iso.spec.Limits.StreamTimeout; timeout > 0 {
		body.mu.Lock()
		body.timer = iso.engine.clock.AfterFunc(timeout, func() {
			body.fail(limitError("stream_timeout", timeout.String(), statusTimeout))
		})
		body.mu.Unlock()
	}
	return body
}

// Read implements io.Reader. What broke the body is its error.
func (b *streamBody) Read(p []byte) (int, error) {
	n, err := b.inner.Read(p)
	b.mu.Lock()
	if b.err != nil {
		n, err = 0, b.err
	} else if b.read += int64(n); b.limit > 0 && b.read > b.limit {
		n, err = 0, responseTooLarge(b.limit)
		b.err = err
	}
	b.mu.Unlock()
	if err != nil {
		b.end()
	}
	return n, err
}

// Close implements io.Closer: the caller wants no more.
func (b *streamBody) Close() error {
	err := b.inner.Close()
	b.end()
	return err
}

// fail breaks the body, unless it has ended. It may be called on any goroutine;
// a Read that waits returns.
func (b *streamBody) fail(err error) {
	b.mu.Lock()
	if b.ended || b.err != nil {
		b.mu.Unlock()
		return
	}
	b.err = err
	b.mu.Unlock()
	// The caller learns from Read; that closing fails adds nothing to err.
	_ = b.inner.Close()
	b.end()
}

func (b *streamBody) end() {
	b.mu.Lock()
	ended := b.ended
	b.ended = true
	if b.timer != nil {
		b.timer.Stop()
	}
	b.mu.Unlock()
	if !ended {
		b.over()
	}
}

// starved reports that the caller wants more than the script has given.
func (b *streamBody) starved() bool {
	body, ok := b.inner.(Starving)
	return ok && body.Starved()
}

func (b *streamBody) done() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ended
}
