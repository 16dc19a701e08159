//go:build linux && !amd64 && !arm64

package process

import "errors"

func filterSyscalls() error {
	return errors.New("there is a filter for amd64 and arm64 only")
}
