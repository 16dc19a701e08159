//go:build unix

package sessionbackend

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// errLocked says that somebody else has a lock.
var errLocked error = unix.EWOULDBLOCK

// lockFile locks a file without waiting. The lock belongs to the open file, and
// so to all processes that inherit it.
func lockFile(file *os.File) error {
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
