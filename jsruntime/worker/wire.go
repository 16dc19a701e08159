//go:build unix

package worker

import (
	"encoding/binary"
	"io"
	"sync"

	"github.com/webtask-edge/caddy-webtask/jsruntime/worker/internal/wire"
)

// version is that of the protocol. Both ends are the same binary, so it only
// guards against a mistake.
const version = 1

// A frame is a header, in little endian,
//
//	length of the payload  uint32
//	kind                   uint8
//	request                uint32   0: of none
//
// and its payload, see messages.go.
const headerSize = 4 + 1 + 4

// kind says what a frame means. E: the edge sends it; W: the worker does.
type kind uint8

const (
	kindHello    kind = iota + 1 // E: version and settings
	kindReady                    // W: the answer to it
	kindProgram                  // E: source of a program
	kindSpec                     // E: a webtask
	kindRequest                  // E: a request for one
	kindCancel                   // E: the caller has gone
	kindResponse                 // W: head, and body if it is short
	kindFailure                  // W: the request failed
	kindDone                     // W: nothing of the request goes on
	kindCall                     // W: a call of Host
	kindReply                    // E: its answer
	kindHangUp                   // W: nobody waits for the answer any more
	kindLog                      // W: a line of console output
	kindData                     // both: a piece of a stream
	kindEnd                      // both: the end of one, or why it broke
	kindCredit                   // both: how much more of one may be sent
	kindStop                     // both: no more of one is wanted
	kindEvent                    // W: for metrics
	kindControl                  // E: a question about isolates
	kindAnswer                   // W: its answer
	kindStuck                    // W: a request cannot be interrupted; the worker is of no use any more
	kinds
)

// Bounds of payloads. What a worker sends is not to be trusted; what the edge
// sends includes whole programs.
const (
	maxFromEdge   = 256 << 20
	maxFromWorker = 4 << 20
	maxData       = 64 << 10 // of one kindData
)

// frame is one message. Its payload belongs to whoever received it.
type frame struct {
	kind    kind
	request uint32
	payload []byte
}

// frameReader reads frames from a socket, as many with one call of the system
// as have arrived.
type frameReader struct {
	socket wire.Socket
	max    uint32
	buffer []byte
	start  int // of what was read and not yet returned
	end    int
}

const readBuffer = 64 << 10

func newFrameReader(socket wire.Socket, max uint32) *frameReader {
	return &frameReader{socket: socket, max: max, buffer: make([]byte, readBuffer)}
}

// next returns the next frame; io.EOF when the peer has closed between two.
func (r *frameReader) next() (frame, error) {
	if err := r.need(headerSize); err != nil {
		return frame{}, err
	}
	head := r.buffer[r.start:]
	size := binary.LittleEndian.Uint32(head)
	f := frame{kind: kind(head[4]), request: binary.LittleEndian.Uint32(head[5:])}
	if size > r.max || f.kind == 0 || f.kind >= kinds {
		return frame{}, wire.Violation("frame of kind %d and %d bytes", f.kind, size)
	}
	r.start += headerSize
	if size == 0 {
		return f, nil
	}
	f.payload = make([]byte, 0, min(size, readBuffer))
	for {
		n := min(int(size)-len(f.payload), r.end-r.start)
		// Grown as it comes: a header alone reserves no memory.
		f.payload = append(f.payload, r.buffer[r.start:r.start+n]...)
		r.start += n
		if len(f.payload) == int(size) {
			return f, nil
		}
		if err := r.fill(); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return frame{}, err
		}
	}
}

// buffered reports whether the beginning of another frame was read already.
func (r *frameReader) buffered() bool { return r.end > r.start }

// need reads until n bytes, at most the size of the buffer, are there.
func (r *frameReader) need(n int) error {
	for r.end-r.start < n {
		partial := r.end > r.start
		if err := r.fill(); err != nil {
			if err == io.EOF && partial {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// fill reads what there is, and waits if that is nothing.
func (r *frameReader) fill() error {
	if r.start > 0 {
		r.end = copy(r.buffer, r.buffer[r.start:r.end])
		r.start = 0
	}
	n, err := r.socket.Read(r.buffer[r.end:])
	r.end += n
	return err
}

// frameWriter writes frames to a socket. Whoever finds nobody
// writing writes, for all that come meanwhile too, so that under load one call
// of the system carries many frames and without load nobody waits.
type frameWriter struct {
	socket wire.Socket
	broke  func(error) // told, once, why nothing more can be written; nil: nobody

	mu      sync.Mutex
	room    sync.Cond // pending has become short
	pending []byte
	spare   []byte
	writing bool
	err     error // what ended it
}

// maxPending is how much may wait to be written before those who add more
// wait too.
const maxPending = 1 << 20

func newFrameWriter(socket wire.Socket) *frameWriter {
	w := &frameWriter{socket: socket}
	w.room.L = &w.mu
	return w
}

// send writes a frame whose payload encode appends; nil: an empty one.
func (w *frameWriter) send(k kind, request uint32, encode func(b []byte) []byte) error {
	w.mu.Lock()
	for len(w.pending) > maxPending && w.err == nil {
		w.room.Wait()
	}
	if err := w.err; err != nil {
		w.mu.Unlock()
		return err
	}
	start := len(w.pending)
	b := append(w.pending, 0, 0, 0, 0, byte(k), 0, 0, 0, 0)
	binary.LittleEndian.PutUint32(b[start+5:], request)
	if encode != nil {
		b = encode(b)
	}
	binary.LittleEndian.PutUint32(b[start:], uint32(len(b)-start-headerSize))
	w.pending = b
	if w.writing {
		w.mu.Unlock()
		return nil
	}
	w.writing = true
	var failed error
	for len(w.pending) > 0 && w.err == nil {
		batch := w.pending
		w.pending = w.spare[:0]
		w.mu.Unlock()
		err := w.socket.Write(batch)
		w.mu.Lock()
		if cap(batch) > 2*maxPending {
			batch = nil // a program passed through it
		}
		w.spare = batch
		if w.err == nil { // shut may have come first
			w.err = err
			failed = err
		}
		w.room.Broadcast()
	}
	w.writing = false
	err := w.err
	if err != nil {
		w.room.Broadcast()
	}
	w.mu.Unlock()
	if failed != nil && w.broke != nil {
		w.broke(failed)
	}
	return err
}

// shut makes all further writes fail and waits until none goes on. The peer
// has to be gone: nothing else ends a write that it does not read.
func (w *frameWriter) shut(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
	for w.writing {
		w.room.Broadcast()
		w.room.Wait()
	}
	w.room.Broadcast()
}
