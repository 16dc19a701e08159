// Package process starts worker processes: this binary again, taken over
// before it does anything else, with nothing inherited but one socket.
//
// A package that has work for such a process names it in an init function, and
// starts it anywhere:
//
//	func init() { process.Register("bundler", serve) } // serve(fd int) error
//
//	p, err := process.Start(process.Options{Kind: "bundler", Memory: 256 << 20})
//	defer p.Kill()
//	unix.Write(p.FD(), …)
//
// Both ends of the socket are blocking stream sockets (AF_UNIX).
package process

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// argvPrefix begins argument 0 of every worker process; its kind follows.
const argvPrefix = "webtask-worker:"

// childFD is the descriptor of the socket in a worker process.
const childFD = 3

// Main is what a worker process does. fd is its socket; when Main returns, the
// process exits, with status 1 after an error.
type Main func(fd int) error

// Register names the Main of a kind of worker process. In a process that was
// started as one of that kind it does not return. It is for init functions
// only: then nothing of the program has run yet.
func Register(kind string, main Main) {
	if len(os.Args) == 0 || os.Args[0] != argvPrefix+kind {
		return
	}
	// The goroutine of init functions is bound to the main thread; the work
	// shall be done by one that is not.
	go func() {
		if err := main(childFD); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[0], err)
			os.Exit(1)
		}
		os.Exit(0)
	}()
	select {}
}

// IsWorker reports whether this process is a worker process of any kind.
func IsWorker() bool {
	return len(os.Args) > 0 && strings.HasPrefix(os.Args[0], argvPrefix)
}

// Options say how to start a worker process.
type Options struct {
	Kind string // as registered

	// Memory is how many bytes the process may take above what it takes by
	// itself; 0: no limit.
	Memory int64
}

// Process is a running worker process.
type Process struct {
	fd   int
	cmd  *exec.Cmd
	done chan struct{}

	mu     sync.Mutex
	closed bool
}

// Start starts a worker process.
func Start(options Options) (*Process, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, fmt.Errorf("worker process: socketpair: %w", err)
	}
	unix.CloseOnExec(pair[0])
	unix.CloseOnExec(pair[1])
	child := os.NewFile(uintptr(pair[1]), "worker socket")
	defer child.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{argvPrefix + options.Kind}
	cmd.Env = []string{}
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{child}
	if err := cmd.Start(); err != nil {
		unix.Close(pair[0])
		return nil, fmt.Errorf("worker process: %w", err)
	}
	p := &Process{fd: pair[0], cmd: cmd, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how it ended is in ProcessState
		close(p.done)
	}()
	return p, nil
}

// FD returns this side's end of the socket. Whoever reads from it closes it
// with Close once nobody uses it any more.
func (p *Process) FD() int { return p.fd }

// PID returns the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Kill ends the process at once. Reads and writes on the socket then fail.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended by itself
}

// Done is closed when the process has ended and was waited for.
func (p *Process) Done() <-chan struct{} { return p.done }

// Close kills the process, if it still runs, and closes the socket. No other
// call may use the socket meanwhile.
func (p *Process) Close() {
	p.Kill()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.closed = true
		unix.Close(p.fd)
	}
}
