//go:build !unix

package sessionbackend

import (
	"errors"
	"os"
)

var errLocked = errors.New("locked by somebody else")

func lockFile(*os.File) error {
	return errors.New("session backends need a Unix system")
}
