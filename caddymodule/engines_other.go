//go:build !unix

package caddymodule

import "errors"

func (k engineKey) openWorkers() (isolateRunner, codeParser, error) {
	return nil, nil, errors.New("isolation: this system has no worker processes; write `isolation none`, which is for code that one trusts, or run the server on Linux or macOS")
}
