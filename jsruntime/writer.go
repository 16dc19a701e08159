package jsruntime

import (
	"errors"
	"io"
	"net/http"
	"sync"
)

// Of a body that the Node model writes: above highWater the writer is asked to
// wait, below lowWater to go on. Node's own mark is 16 KiB.
const (
	highWater = 64 << 10
	lowWater  = 16 << 10
)

var (
	errHeadTwice     = errors.New("the head of the response was written already")
	errWriteNoHead   = errors.New("body written before the head")
	errWriteAfterEnd = errors.New("write after end")
)

// nodeWriter is the ResponseWriter of the Node model and, when its response is
// still going on as the head is sent, the body that the caller reads. Until
// then it is the isolate's alone.
type nodeWriter struct {
	iso    *Isolate
	seq    uint64
	status int // 0: no head yet
	header http.Header
	total  int64 // bytes written

	mu       sync.Mutex
	buffer   []byte
	drains   []func()      // to call once there is room
	ended    bool          // by the script
	streamed bool          // the caller reads
	closed   bool          // by the caller
	filled   chan struct{} // wakes Read
}

// WriteHead implements ResponseWriter.
func (w *nodeWriter) WriteHead(status int, header map[string][]string) error {
	if w.status != 0 {
		return errHeadTwice
	}
	w.status, w.header = status, header
	return nil
}

// Write implements ResponseWriter. p is copied.
func (w *nodeWriter) Write(p []byte, drain func()) (more bool, err error) {
	if w.status == 0 {
		return false, errWriteNoHead
	}
	if limit := w.iso.spec.Limits.ResponseBody; limit > 0 && w.total+int64(len(p)) > limit {
		w.iso.live.fatal(responseTooLarge(limit))
		return false, w.iso.live.failure
	}
	w.total += int64(len(p))
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.ended:
		return false, errWriteAfterEnd
	case w.closed:
		return false, ErrRequestEnded
	}
	w.buffer = append(w.buffer, p...)
	w.wake()
	if len(w.buffer) < highWater {
		return true, nil
	}
	if drain != nil {
		w.drains = append(w.drains, drain)
	}
	return false, nil
}

// End implements ResponseWriter.
func (w *nodeWriter) End() error {
	if w.status == 0 {
		return errWriteNoHead
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return errWriteAfterEnd
	}
	w.ended = true
	w.wake()
	return nil
}

// Fail implements ResponseWriter.
func (w *nodeWriter) Fail(err error) { w.iso.live.fatal(err) }

// response returns the response once there is a head: whole when the script
// has ended it already.
func (w *nodeWriter) response() *Response {
	if w.status == 0 {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	resp := &Response{Status: w.status, Header: w.header, BodyLength: -1}
	if w.ended {
		resp.Bytes, w.buffer = w.buffer, nil
		resp.BodyLength = int64(len(resp.Bytes))
		return resp
	}
	w.streamed = true
	w.filled = make(chan struct{}, 1)
	resp.Body = w
	return resp
}

// Starved implements Starving: the caller has read all there is.
func (w *nodeWriter) Starved() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.ended && len(w.buffer) == 0
}

func (w *nodeWriter) wake() {
	if w.streamed {
		select {
		case w.filled <- struct{}{}:
		default:
		}
	}
}

// Read implements io.Reader, for the caller.
func (w *nodeWriter) Read(p []byte) (int, error) {
	for {
		w.mu.Lock()
		if len(w.buffer) > 0 && !w.closed {
			n := copy(p, w.buffer)
			if w.buffer = w.buffer[n:]; len(w.buffer) == 0 {
				w.buffer = nil
			}
			w.drained()
			w.mu.Unlock()
			return n, nil
		}
		ended, closed := w.ended, w.closed
		w.mu.Unlock()
		switch {
		case closed:
			return 0, io.ErrClosedPipe
		case ended:
			return 0, io.EOF
		}
		<-w.filled
	}
}

// drained has the loop go on with the functions that waited for room, or look
// whether anybody will ever write more.
func (w *nodeWriter) drained() {
	if len(w.buffer) > lowWater {
		return
	}
	if len(w.drains) == 0 {
		w.iso.queue.post(w.seq, task{})
		return
	}
	for _, drain := range w.drains {
		w.iso.queue.post(w.seq, task{run: drain})
	}
	w.drains = nil
}

// Close implements io.Closer, for the caller and for the end of the request.
func (w *nodeWriter) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.wake()
	return nil
}
