package webapi

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/dop251/goja"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
)

// pipeRoom is how many bytes of a script's stream wait for a slow reader before
// the stream is read on.
const pipeRoom = 64 << 10

// pipe carries the bytes of a script's stream to a reader on another goroutine:
// the client of a response, or an upstream.
type pipe struct {
	mu      sync.Mutex
	changed *sync.Cond // of what follows
	buffer  []byte
	err     error // what follows the buffer; nil: more to come
	closed  bool  // by the reader
	waiting bool  // the reader does

	room    chan struct{} // closed once the buffer has room again; nil: it has
	onClose func()        // posts to the isolate
	onWait  func()
}

// Read implements io.Reader.
func (p *pipe) Read(b []byte) (n int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.buffer) == 0 && p.err == nil && !p.closed {
		p.waiting = true
		p.onWait()
		p.changed.Wait()
	}
	p.waiting = false
	switch {
	case p.closed:
		return 0, io.ErrClosedPipe
	case len(p.buffer) > 0:
		n = copy(b, p.buffer)
		if p.buffer = p.buffer[n:]; len(p.buffer) == 0 {
			p.buffer = nil
		}
		p.makeRoom()
		return n, nil
	}
	return 0, p.err
}

// Close implements io.Closer: the reader wants no more.
func (p *pipe) Close() error {
	p.mu.Lock()
	ended := p.closed || p.err != nil
	p.closed = true
	p.buffer = nil
	p.makeRoom()
	p.changed.Broadcast()
	p.mu.Unlock()
	if !ended {
		p.onClose()
	}
	return nil
}

// Starved reports that the reader waits for more than the script has given. An
// event loop that has nothing else to do then knows that nothing will come.
func (p *pipe) Starved() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.waiting && len(p.buffer) == 0 && p.err == nil
}

func (p *pipe) makeRoom() {
	if p.room != nil && len(p.buffer) < pipeRoom/2 {
		close(p.room)
		p.room = nil
	}
}

// write adds a copy of data. It returns what to wait for before the next write,
// nil for nothing, and whether there is to be a next one at all.
func (p *pipe) write(data []byte) (room <-chan struct{}, more bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.err != nil {
		return nil, false
	}
	p.buffer = append(p.buffer, data...)
	p.changed.Broadcast()
	if len(p.buffer) >= pipeRoom && p.room == nil {
		p.room = make(chan struct{})
	}
	return p.room, true
}

// end says what follows the buffer: io.EOF or an error.
func (p *pipe) end(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = err
		p.changed.Broadcast()
	}
}

// pump reads a stream of the script into a pipe, as the reader takes it.
type pump struct {
	r      *realm
	reader *streamReader
	pipe   *pipe
	post   func(func()) // to the isolate's loop
	stop   func()
	inTurn int // bytes written since the loop had its turn
}

// newPipe locks a stream and starts to read it.
func (r *realm) newPipe(s *stream) *pipe {
	post := r.iso.Poster()
	p := &pipe{}
	p.changed = sync.NewCond(&p.mu)
	pm := &pump{r: r, reader: r.acquireReader(s), pipe: p, post: post}
	p.onWait = func() { post(nil) }
	p.onClose = func() {
		post(func() {
			if pm.reader.stream.phase == streamReadable {
				r.ignoreRejection(pm.reader.stream.cancel(r.newDOMException("AbortError", "the reader of the body is gone")))
			}
		})
	}
	pm.stop = r.iso.OnRequestEnd(func() { p.end(jsruntime.ErrRequestEnded) })
	pm.next()
	return p
}

// ignoreRejection is for promises whose outcome nobody can use.
func (r *realm) ignoreRejection(v goja.Value) {
	r.await(v, func(goja.Value, bool) {})
}

func (pm *pump) next() {
	pm.reader.read(pm.r, readRequest{chunk: pm.chunk, close: func() { pm.finish(io.EOF) }, fail: pm.fail})
}

func (pm *pump) chunk(v goja.Value) {
	data, thrown := pm.r.chunkBytes(v)
	if thrown != nil {
		pm.fail(thrown)
		pm.r.ignoreRejection(pm.reader.stream.cancel(thrown))
		return
	}
	room, more := pm.pipe.write(data)
	pm.inTurn += len(data)
	switch {
	case !more:
		// A reader that left has posted the stream's cancellation. A stream that
		// always has more would go on in microtasks, ahead of it, for ever.
	case room != nil:
		pm.inTurn = 0
		pm.r.iso.Async(func(ctx context.Context) func() {
			select {
			case <-room:
			case <-ctx.Done():
			}
			return pm.next
		})
	case pm.inTurn >= pipeRoom: // a reader as fast as the script: others have their turn
		pm.inTurn = 0
		pm.post(pm.next)
	case len(pm.reader.stream.controller.queue) == 0:
		pm.next()
	default: // as gatherer.again
		pm.r.await(undefined(), func(goja.Value, bool) { pm.next() })
	}
}

// fail breaks the body with what the script's stream failed with, and logs it:
// the head is sent, so there is no other way to tell.
func (pm *pump) fail(reason goja.Value) {
	p := &printer{r: pm.r}
	p.WriteString("stream of a body failed: ")
	p.inspect(reason, 1)
	pm.r.iso.Log(jsruntime.LogError, escapeControls(p.String()), p.stack)
	pm.finish(errStreamFailed)
}

func (pm *pump) finish(err error) {
	pm.stop()
	pm.pipe.end(err)
}

// errStreamFailed is what the reader of a body gets; the log has the reason.
var errStreamFailed = errors.New("the script's stream failed")
