//go:build !unix

package process

import "errors"

// ErrUnsupported is what Start and Layers return on this system, where the
// package merely compiles.
var ErrUnsupported = errors.New("worker process: this system has none: use Linux or macOS, or `isolation none`")

// Main is what a worker process does.
type Main func(fd int) error

// Register names the Main of a kind of worker process.
func Register(string, Main) {}

// IsWorker reports whether this process is a worker process.
func IsWorker() bool { return false }

// Options say how to start a worker process.
type Options struct {
	Kind   string
	Memory int64
	Strict bool
}

// Process is a running worker process.
type Process struct{}

// Start starts a worker process.
func Start(Options) (*Process, error) { return nil, ErrUnsupported }

// Layers says which layers hold for worker processes on this host.
func Layers() (Report, error) { return Report{}, ErrUnsupported }
