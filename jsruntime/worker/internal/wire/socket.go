//go:build unix

package wire

import (
	"fmt"
	"io"

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
