//go:build unix && !linux

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

// Polled is a Socket whose caller waits in Go's poller, for what polled_linux.go
// says. Here that watches the socket itself.
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

// NewPolled returns a Socket over a file of a socket, which remains the caller's,
// who reads and writes it no longer. Write fails with ErrUnread when the peer takes
// longer than patience; 0: never.
func NewPolled(file *os.File, patience time.Duration) (*Polled, error) {
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	// What is not blocking when os.NewFile sees it has the poller wait.
	copied, failed := -1, error(nil)
	err = raw.Control(func(fd uintptr) {
		syscall.ForkLock.RLock()
		defer syscall.ForkLock.RUnlock()
		if copied, failed = unix.Dup(int(fd)); failed == nil {
			unix.CloseOnExec(copied)
			failed = unix.SetNonblock(copied, true)
		}
	})
	if err = errors.Join(err, failed); err != nil {
		if copied >= 0 {
			unix.Close(copied)
		}
		return nil, fmt.Errorf("socket: %w", err)
	}
	p := &Polled{file: os.NewFile(uintptr(copied), file.Name()), patience: patience}
	if p.raw, err = p.file.SyscallConn(); err != nil {
		p.Close()
		return nil, fmt.Errorf("socket: %w", err)
	}
	p.write = p.writeSome
	return p, nil
}

// Close ends what is read and written, also by a call that waits.
func (p *Polled) Close() { _ = p.file.Close() }

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
