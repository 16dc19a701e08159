//go:build unix

package wire

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Socket is one end of the socket between the edge and a worker process. One
// goroutine at a time may read, and one write.
type Socket interface {
	// Read reads what there is, and waits if that is nothing; io.EOF when the
	// peer has closed.
	Read(b []byte) (int, error)

	// Write writes all of b.
	Write(b []byte) error
}

// Blocking is a Socket over a blocking descriptor: a worker's end, as whoever
// waits there is woken by the kernel directly.
type Blocking int

// Read implements Socket.
func (fd Blocking) Read(b []byte) (int, error) {
	for {
		n, err := unix.Read(int(fd), b)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return 0, fmt.Errorf("reading from the socket: %w", err)
		case n == 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

// Write implements Socket.
func (fd Blocking) Write(b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(int(fd), b)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("writing to the socket: %w", err)
		}
		b = b[n:]
	}
	return nil
}

// ErrUnread reports a peer that does not read what it is sent.
var ErrUnread = errors.New("the peer does not read")

// Polled is a Socket over a file of Go's poller: the edge's end. A goroutine that
// waits in a blocking system call keeps one of the GOMAXPROCS places in which Go
// code can run, until the runtime notices, which takes it up to ten milliseconds;
// with as many workers all of the edge would stand still meanwhile.
type Polled struct {
	file     *os.File
	raw      syscall.RawConn
	patience time.Duration

	// Of the Write under way.
	write func(fd uintptr) (done bool)
	rest  []byte
	err   error
	timed bool // the deadline is set
}

// NewPolled returns a Socket over a file, which remains the caller's. Write fails
// with ErrUnread when the peer takes longer than patience; 0: never.
func NewPolled(file *os.File, patience time.Duration) (*Polled, error) {
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	p := &Polled{file: file, raw: raw, patience: patience}
	p.write = p.writeSome
	return p, nil
}

// Read implements Socket.
func (p *Polled) Read(b []byte) (int, error) {
	n, err := p.file.Read(b)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("reading from the socket: %w", err)
	}
	return n, err
}

// Write implements Socket.
func (p *Polled) Write(b []byte) error {
	p.rest, p.err = b, nil
	err := p.raw.Write(p.write)
	p.rest = nil
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return ErrUnread
	}
	if p.timed {
		p.timed = false
		err = errors.Join(err, p.file.SetWriteDeadline(time.Time{}))
	}
	if err = errors.Join(err, p.err); err != nil {
		return fmt.Errorf("writing to the socket: %w", err)
	}
	return nil
}

// writeSome writes what fits, and has the poller wait if there is more. Only then
// is there a deadline.
func (p *Polled) writeSome(fd uintptr) (done bool) {
	for len(p.rest) > 0 {
		n, err := unix.Write(int(fd), p.rest)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			if p.patience > 0 && !p.timed {
				p.timed = true
				p.err = p.file.SetWriteDeadline(time.Now().Add(p.patience))
			}
			return p.err != nil
		case err != nil:
			p.err = err
			return true
		}
		p.rest = p.rest[n:]
	}
	return true
}
