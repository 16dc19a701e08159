//go:build unix

package worker

import (
	"errors"
	"io"
	"sync"

	"github.com/webtask-edge/caddy-webtask/jsruntime/worker/internal/wire"
)

// A stream is one body, numbered within its request: 0 is the body of the
// request on the way to the worker and that of the response on the way back;
// n is the body of call n or of its answer. Its receiver says how much it will
// take (credit), so that nobody has to hold more than a window of it.

// window is how much of a stream may be under way.
const window = 256 << 10

// errStreamClosed is what a body that nobody reads any more fails with.
var errStreamClosed = errors.New("nobody reads the body any more")

// streamKey names a stream.
type streamKey struct {
	request uint32
	stream  uint32
}

// inbound is the receiving end of a stream. It asks for data when it is first
// read, unless the sender was given a window beforehand.
type inbound struct {
	out *frameWriter
	key streamKey

	mu     sync.Mutex
	change sync.Cond
	chunks [][]byte
	credit int   // what the peer may still send
	taken  int   // read since credit was given last
	err    error // after chunks: io.EOF, or what broke it
	closed bool
	over   func() // called once, when it is read to its end, broke or was closed
}

func newInbound(out *frameWriter, key streamKey, credit int) *inbound {
	s := &inbound{out: out, key: key, credit: credit}
	s.change.L = &s.mu
	return s
}

// joined is up to which size a piece takes in those that follow it: each piece
// takes more memory than it counts.
const joined = 4 << 10

// push takes a piece from the peer. What exceeds the window breaks the
// protocol, and so does what uses nothing of it.
func (s *inbound) push(p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(p) == 0 || len(p) > s.credit {
		return wire.Violation("%d bytes of a stream that may have %d", len(p), s.credit)
	}
	s.credit -= len(p)
	if s.closed || s.err != nil {
		return nil // it was under way
	}
	if last := len(s.chunks) - 1; last >= 0 && len(s.chunks[last])+len(p) <= joined {
		s.chunks[last] = append(s.chunks[last], p...)
	} else {
		s.chunks = append(s.chunks, p)
	}
	s.change.Signal()
	return nil
}

// finish ends the stream; err is io.EOF when it is whole.
func (s *inbound) finish(err error) {
	s.mu.Lock()
	if s.err == nil {
		s.err = err
	}
	s.change.Broadcast()
	over := s.ended()
	s.mu.Unlock()
	over()
}

// ended returns what to call when nothing more can come of s.
func (s *inbound) ended() func() {
	if s.over == nil || !s.closed && (s.err == nil || s.err == io.EOF && len(s.chunks) > 0) {
		return func() {}
	}
	over := s.over
	s.over = nil
	return over
}

// Read implements io.Reader. Credit is given without the mutex, as push waits for
// that: the goroutine that reads the socket must not wait for one that writes
// to it, or both ends may wait for each other.
func (s *inbound) Read(p []byte) (int, error) {
	s.mu.Lock()
	for len(s.chunks) == 0 && s.err == nil && !s.closed {
		if more := s.due(); more > 0 {
			s.mu.Unlock()
			s.give(more)
			s.mu.Lock()
			continue
		}
		s.change.Wait()
	}
	if s.closed || len(s.chunks) == 0 || s.err != nil && s.err != io.EOF {
		err := s.err
		if err == nil {
			err = errStreamClosed
		}
		over := s.ended()
		s.mu.Unlock()
		over()
		return 0, err
	}
	n := copy(p, s.chunks[0])
	if s.chunks[0] = s.chunks[0][n:]; len(s.chunks[0]) == 0 {
		s.chunks[0] = nil
		s.chunks = s.chunks[1:]
	}
	s.taken += n
	more := 0
	if s.taken >= window/2 {
		more = s.due()
	}
	over := s.ended()
	s.mu.Unlock()
	s.give(more)
	over()
	return n, nil
}

// due returns the credit that the peer is to get for what was read. The mutex is
// held.
func (s *inbound) due() int {
	more := s.taken
	if s.credit == 0 && s.taken == 0 && len(s.chunks) == 0 {
		more = window // the first read
	}
	if s.err != nil {
		return 0
	}
	s.taken = 0
	s.credit += more
	return more
}

// give tells the peer of its credit.
func (s *inbound) give(more int) {
	if more == 0 {
		return
	}
	// A broken socket ends the stream by itself.
	_ = s.out.send(kindCredit, s.key.request, func(b []byte) []byte {
		return wire.PutUint(wire.PutUint(b, uint64(s.key.stream)), uint64(more))
	})
}

// Close implements io.Closer: no more of it is wanted.
func (s *inbound) Close() error {
	s.mu.Lock()
	tell := !s.closed && s.err == nil
	s.closed = true
	s.chunks = nil
	s.change.Broadcast()
	over := s.ended()
	s.mu.Unlock()
	if tell {
		_ = s.out.send(kindStop, s.key.request, func(b []byte) []byte { return wire.PutUint(b, uint64(s.key.stream)) })
	}
	over()
	return nil
}

// outbound is the sending end of a stream.
type outbound struct {
	out *frameWriter
	key streamKey

	mu     sync.Mutex
	change sync.Cond
	credit int
	closed bool
}

func newOutbound(out *frameWriter, key streamKey, credit int) *outbound {
	s := &outbound{out: out, key: key, credit: credit}
	s.change.L = &s.mu
	return s
}

// grant takes credit from the peer.
func (s *outbound) grant(n uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n > window || s.credit+int(n) > window {
		return wire.Violation("credit of %d beyond the window", n)
	}
	s.credit += int(n)
	s.change.Signal()
	return nil
}

// stop ends the stream: its reader wants no more, or the request is over.
func (s *outbound) stop() {
	s.mu.Lock()
	s.closed = true
	s.change.Broadcast()
	s.mu.Unlock()
}

// wait waits for credit and takes up to max of it; 0 when the stream was
// stopped.
func (s *outbound) wait(max int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.credit == 0 && !s.closed {
		s.change.Wait()
	}
	if s.closed {
		return 0
	}
	return min(max, s.credit)
}

func (s *outbound) spend(n int) {
	s.mu.Lock()
	s.credit -= n
	s.mu.Unlock()
}

var pumpBuffers = sync.Pool{New: func() any { return new([maxData / 2]byte) }}

// pump sends what r holds, and its end. Nothing is read before the peer has
// asked for it. fail turns what broke r into the payload of the end.
func (s *outbound) pump(r io.Reader, fail func(b []byte, err error) []byte) {
	buffer := pumpBuffers.Get().(*[maxData / 2]byte)
	defer pumpBuffers.Put(buffer)
	for {
		most := s.wait(len(buffer))
		if most == 0 {
			return
		}
		n, err := r.Read(buffer[:most])
		if n > 0 {
			s.spend(n)
			if s.out.send(kindData, s.key.request, func(b []byte) []byte {
				return append(wire.PutUint(b, uint64(s.key.stream)), buffer[:n]...)
			}) != nil {
				return
			}
		}
		if err != nil {
			_ = s.out.send(kindEnd, s.key.request, func(b []byte) []byte {
				b = wire.PutUint(b, uint64(s.key.stream))
				if err == io.EOF {
					return b
				}
				return fail(b, err)
			})
			return
		}
	}
}
