package webapi

import (
	"context"
	"io"
	"sync"

	"github.com/dop251/goja"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
)

// content is the bytes of a body that have not come to JavaScript: in memory,
// or still to be read from a request or an upstream. It can be taken once.
type content struct {
	data        []byte        // all of it, when reader is nil
	reader      io.ReadCloser //
	length      int64         // of reader; -1: unknown
	passThrough bool          // reader is an upstream's or the client's, not made by the script
	stop        func()        // takes back that the request's end closes reader; nil: it does not

	// aborted returns why the script aborted the fetch that the reader is of,
	// or nil; the field is nil when there is nothing to abort.
	aborted func() goja.Value
	settled func() // it cannot be aborted any more; may be nil
}

func memory(data []byte) *content { return &content{data: data, length: int64(len(data))} }

// newContent returns content that a reader of the request in hand yields. It is
// closed when the request ends, unless it was handed on by then.
func (r *realm) newContent(reader io.ReadCloser, length int64, passThrough bool) *content {
	return &content{
		reader:      reader,
		length:      length,
		passThrough: passThrough,
		stop:        r.iso.OnRequestEnd(func() { _ = reader.Close() }), // nobody is left to tell
	}
}

// handOn makes the caller responsible for the reader.
func (c *content) handOn() io.ReadCloser {
	if c.stop != nil {
		c.stop()
		c.stop = nil
	}
	return c.reader
}

// discard frees the content unread.
func (c *content) discard() {
	if c.reader != nil {
		_ = c.handOn().Close() // unread: errors do not matter
	}
	if c.settled != nil {
		c.settled()
	}
}

// readAll reads the content, up to the limit request_body, and calls done with
// the bytes or with what to throw: at once when they are in memory.
func (c *content) readAll(r *realm, done func(data []byte, thrown goja.Value)) {
	if c.reader == nil {
		done(c.data, nil)
		return
	}
	limit := r.iso.Limits().RequestBody
	if limit > 0 && c.length > limit {
		c.discard()
		done(nil, r.tooLarge(limit))
		return
	}
	r.iso.Async(func(ctx context.Context) func() {
		defer interruptible(ctx, c.reader)()
		data, err := readLimited(c.reader, c.length, limit)
		return func() {
			c.discard()
			switch {
			case err != nil:
				done(nil, c.failure(r, err))
			case limit > 0 && int64(len(data)) > limit:
				done(nil, r.tooLarge(limit))
			default:
				done(data, nil)
			}
		}
	})
}

// readLimited reads all, but no more than one byte above limit.
func readLimited(reader io.Reader, length, limit int64) ([]byte, error) {
	if limit > 0 {
		reader = io.LimitReader(reader, limit+1)
	}
	if length < 0 || length > 1<<20 {
		return io.ReadAll(reader)
	}
	// Fewer bytes than announced are an error.
	data := make([]byte, length)
	_, err := io.ReadFull(reader, data)
	return data, err
}

// interruptible has a Read that waits return when ctx ends. The function that
// it returns ends that.
func interruptible(ctx context.Context, reader io.Closer) (release func()) {
	stop := context.AfterFunc(ctx, func() { _ = reader.Close() })
	return func() { stop() }
}

// streamChunk is how much of a reader becomes one chunk of a stream at most.
const streamChunk = 64 << 10

// bodySource is the source of the stream over content that a script reads piece
// by piece.
type bodySource struct {
	r       *realm
	content *content
	done    bool
}

func (s *bodySource) pull(c *controller, done func(goja.Value)) {
	if s.content.reader == nil {
		s.done = true
		if len(s.content.data) > 0 {
			c.enqueue(s.r.newBytes(append([]byte(nil), s.content.data...)))
		}
		c.close()
		done(nil)
		return
	}
	s.r.iso.Async(func(ctx context.Context) func() {
		defer interruptible(ctx, s.content.reader)()
		buffer := make([]byte, streamChunk)
		n, err := readSome(s.content.reader, buffer)
		return func() {
			if n > 0 {
				c.enqueue(s.r.newBytes(buffer[:n:n]))
			}
			switch {
			case err == io.EOF:
				s.done = true
				s.content.discard()
				c.close()
				done(nil)
			case err != nil:
				s.done = true
				s.content.discard()
				done(s.content.failure(s.r, err))
			default:
				done(nil)
			}
		}
	})
}

// readSome reads until there is something or an end.
func readSome(reader io.Reader, buffer []byte) (n int, err error) {
	for n == 0 && err == nil {
		n, err = reader.Read(buffer)
	}
	return n, err
}

func (s *bodySource) cancel(_ goja.Value, done func(goja.Value)) {
	s.done = true
	s.content.discard()
	done(nil)
}

// untouched returns the source of a stream over content of which no script has
// seen anything, so that the content can be used directly.
func (s *stream) untouched() (*bodySource, bool) {
	source, ok := s.controller.source.(*bodySource)
	if !ok || s.disturbed || s.locked() || s.phase != streamReadable {
		return nil, false
	}
	return source, true
}

// failure is what a script gets for an error of reading the content.
func (c *content) failure(r *realm, err error) goja.Value {
	if c.aborted != nil {
		if reason := c.aborted(); reason != nil {
			return reason
		}
	}
	return r.networkError("reading the body failed", err)
}

func (r *realm) tooLarge(limit int64) goja.Value {
	exceeded := &jsruntime.LimitError{Limit: "request_body", Value: byteSize(limit), Option: "request_body", Status: 413}
	return r.iso.NewError("RangeError", exceeded, "the body %s", exceeded.Error())
}

// split divides content for two readers. What one is behind of the other is
// kept in memory, up to the limit request_body.
func (c *content) split(r *realm) (first, second *content) {
	if c.reader == nil {
		return memory(c.data), memory(c.data)
	}
	s := &splitter{source: c.handOn(), limit: r.iso.Limits().RequestBody}
	return r.newContent(&splitReader{splitter: s, self: 0}, c.length, c.passThrough),
		r.newContent(&splitReader{splitter: s, self: 1}, c.length, c.passThrough)
}

// splitter reads a source for two readers, which may be on two goroutines.
type splitter struct {
	reading sync.Mutex // held while source is read
	source  io.ReadCloser
	limit   int64

	mu     sync.Mutex
	ahead  [2][]byte // read by the other one already
	closed [2]bool
	err    error
}

type splitReader struct {
	*splitter
	self int
}

// Read implements io.Reader.
func (s *splitReader) Read(p []byte) (int, error) {
	if n, err, ok := s.buffered(p); ok {
		return n, err
	}
	s.reading.Lock()
	defer s.reading.Unlock()
	// The other one may have read meanwhile.
	if n, err, ok := s.buffered(p); ok {
		return n, err
	}
	n, err := s.source.Read(p)
	s.mu.Lock()
	defer s.mu.Unlock()
	if other := 1 - s.self; !s.closed[other] {
		s.ahead[other] = append(s.ahead[other], p[:n]...)
		if s.limit > 0 && int64(len(s.ahead[other])) > s.limit && err == nil {
			err = &jsruntime.LimitError{Limit: "request_body", Value: byteSize(s.limit), Option: "request_body", Status: 413}
		}
	}
	s.err = err
	return n, err
}

func (s *splitReader) buffered(p []byte) (n int, err error, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed[s.self] {
		return 0, io.ErrClosedPipe, true
	}
	if ahead := s.ahead[s.self]; len(ahead) > 0 {
		n = copy(p, ahead)
		s.ahead[s.self] = ahead[n:]
		return n, nil, true
	}
	return 0, s.err, s.err != nil
}

// Close implements io.Closer. The source is closed with the second reader.
func (s *splitReader) Close() error {
	s.mu.Lock()
	s.closed[s.self] = true
	s.ahead[s.self] = nil
	last := s.closed[0] && s.closed[1]
	s.mu.Unlock()
	if last {
		return s.source.Close()
	}
	return nil
}
