//go:build unix

package wire

import (
	"errors"
	"fmt"
	"io"

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
