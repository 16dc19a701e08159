//go:build unix

// Package process starts worker processes: this binary again, taken over
// before it does anything else, with nothing inherited but one socket, and
// locked up as tightly as the host allows.
//
// A package that has work for such a process names it in an init function, and
// starts it anywhere:
//
//	func init() { process.Register("bundler", serve) } // serve(fd int) error
//
//	p, err := process.Start(process.Options{Kind: "bundler", Memory: 256 << 20})
//	defer p.Close()
//	p.Socket().Write(…)
//
//	<-p.Done()
//	var end *process.ExitError
//	if errors.As(p.Err(), &end) && end.Reason == process.OutOfMemory { … }
//
// Both ends of the socket are stream sockets (AF_UNIX); the process's own end is a
// blocking descriptor.
//
// Which layers of the sandbox hold says Layers, for the host, or
// Process.Report, for one process. What a process still can do: compute, read
// the clock and random bytes, start threads, and use its one socket.
package process

import (
	"fmt"
	"os"
	"sync/atomic"
	"time"
)

// Options say how to start a worker process.
type Options struct {
	Kind string // as registered

	// Memory is how many bytes the process may take above what it takes by
	// itself; 0: no limit. At three quarters of it the garbage collector starts
	// to work harder; beyond it the process dies (OutOfMemory).
	Memory int64

	// Yield has the process yield from its first moment (see Process.Yield), where
	// that is possible.
	Yield bool

	// Strict makes Start fail when a layer of the sandbox is missing that this
	// package knows for the platform. Start then waits until the process is
	// locked up.
	Strict bool
}

// reportTimeout is how long Start waits for a strict process, which takes some
// ten milliseconds, to lock itself up.
const reportTimeout = 30 * time.Second

// Process is a running worker process.
type Process struct {
	socket  *os.File
	process *os.Process
	spawned *spawned
	asked   atomic.Bool // to die, by Kill

	reported chan struct{} // closed when report and failed are set
	report   Report
	failed   error

	done  chan struct{} // closed when err and state are set
	err   error
	state *os.ProcessState
}

// Start starts a worker process. It returns as soon as the process exists; what
// is written to the socket meanwhile waits there.
func Start(options Options) (*Process, error) {
	if !registered[options.Kind] {
		return nil, fmt.Errorf("worker process: nobody registered the kind %q", options.Kind)
	}
	pair, err := socketpair()
	if err != nil {
		return nil, fmt.Errorf("worker process: socketpair: %w", err)
	}
	child := os.NewFile(uintptr(pair[1]), "worker's socket")
	defer child.Close()
	p := &Process{
		socket:   os.NewFile(uintptr(pair[0]), "socket of a worker"),
		reported: make(chan struct{}), done: make(chan struct{}),
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		p.socket.Close()
		return nil, fmt.Errorf("worker process: %w", err)
	}
	defer null.Close()
	voice, mouth, err := pipe()
	if err != nil {
		p.socket.Close()
		return nil, fmt.Errorf("worker process: pipe: %w", err)
	}
	defer mouth.Close()

	s, err := spawn(options, []*os.File{null, null, mouth, child})
	if err != nil {
		p.socket.Close()
		voice.Close()
		return nil, fmt.Errorf("worker process: %w", err)
	}
	p.process, p.spawned = s.process, s
	if options.Yield {
		s.tellYielding(p.Yield(true))
	}
	go p.watch(voice, s)
	if options.Strict {
		if err := p.insist(); err != nil {
			p.Close()
			return nil, err
		}
	}
	return p, nil
}

// insist waits for the report and fails if a layer is missing.
func (p *Process) insist() error {
	late := time.AfterFunc(reportTimeout, p.Kill)
	defer late.Stop()
	report, err := p.Report()
	if err != nil {
		return err
	}
	return report.Complete()
}

// Socket returns this side's end of the socket, a blocking one. Close closes it.
func (p *Process) Socket() *os.File { return p.socket }

// PID returns the process id.
func (p *Process) PID() int { return p.process.Pid }

// Kill ends the process at once. Reads and writes on the socket then fail.
func (p *Process) Kill() {
	p.asked.Store(true)
	_ = p.process.Kill() // it may have ended by itself
}

// Done is closed when the process has ended and was waited for.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err says why the process ended: nil while it runs and after Main returned
// nil, else an *ExitError.
func (p *Process) Err() error {
	select {
	case <-p.done:
		return p.err
	default:
		return nil
	}
}

// Report says which layers hold for this process. It waits until the process
// has locked itself up, or has died before.
func (p *Process) Report() (Report, error) {
	<-p.reported
	return p.report, p.failed
}

// Close kills the process, if it still runs, and closes the socket. Who waits for
// the socket in a poller has to be told before. It may be called again.
func (p *Process) Close() {
	p.Kill()
	_ = p.socket.Close() // nothing is buffered, and it may be closed already
}
