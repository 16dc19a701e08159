//go:build unix

package wire

import (
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"
)

// Read reads from a blocking descriptor what there is, and waits if that is
// nothing; io.EOF when the peer has closed.
func Read(fd int, p []byte) (int, error) {
	for {
		n, err := unix.Read(fd, p)
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

// Write writes all of b to a blocking descriptor.
func Write(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
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

// Bound has WriteWithin return when the peer of a socket does not read.
func Bound(fd int, patience time.Duration) error {
	limit := unix.NsecToTimeval(int64(patience))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit); err != nil {
		return fmt.Errorf("time limit of the socket: %w", err)
	}
	return nil
}

// WriteWithin is Write for a socket with a Bound: it fails with ErrUnread once
// the peer has taken longer than that for b.
func WriteWithin(fd int, b []byte, patience time.Duration) error {
	var end time.Time // found out when one call was not enough
	for {
		n, err := unix.Write(fd, b)
		if err != nil && err != unix.EINTR && err != unix.EAGAIN {
			return fmt.Errorf("writing to the socket: %w", err)
		}
		if b = b[max(n, 0):]; len(b) == 0 {
			return nil
		}
		now := time.Now()
		if end.IsZero() {
			end = now.Add(patience)
		}
		if err == unix.EAGAIN || now.After(end) {
			return ErrUnread
		}
	}
}
