//go:build unix

// Package bundler bundles and compiles each piece of code in a process of its
// own, which is thrown away after that: parsers recurse as deeply as their input
// nests, fold constants for as long as these take, and die with their process.
//
//	pool, err := bundler.New(bundler.Options{Logger: log})
//	defer pool.Close()
//	loader, err := source.NewLoader(source.Options{Bundler: pool, …})
//
// A process gets the text of modules and asks for imports by what stands in
// them; it names no files, and has no network. What it sends is not to be
// trusted: it is checked and bounded, and a process that does not keep to the
// protocol is killed, as is one that takes too long. That is an error of the
// code, a *source.CompileError. A process that cannot be started is none, but a
// *source.BusyError.
package bundler

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/webtask-edge/caddy-webtask/jsruntime/internal/places"
	"github.com/webtask-edge/caddy-webtask/jsruntime/source"
	"github.com/webtask-edge/caddy-webtask/jsruntime/worker/internal/wire"
	"github.com/webtask-edge/caddy-webtask/jsruntime/worker/process"
)

// kind is the kind of worker process that this package is the main of.
const kind = "bundler"

func init() { process.Register(kind, serve) }

// Options of a Pool. Every zero field has a default.
type Options struct {
	// Memory is how many bytes a process may take above what it takes by
	// itself. Code that needs more does not compile. Default: 512 MiB.
	Memory int64

	// Timeout is how much CPU time bundling and compiling may take. Code that
	// needs more does not compile. A process that gets too little of the CPU has
	// half a minute besides. Default: 10 s.
	Timeout time.Duration

	// Processes is how many may exist at once, those that wait for imports
	// included, but not the spare. How many may compute at once is up to
	// source.Options.Bundlers. One container has half of them at most, so that
	// code which takes long, or imports that do, are in the way of its own only.
	// Default: 16.
	Processes int

	// Wait is how long code waits for one of them. Default: 5 s.
	Wait time.Duration

	// NoSpare says to keep no process ready. Each piece of code then waits for
	// one to start, some 30 ms.
	NoSpare bool

	// Strict says to use no process that lacks a layer of the sandbox.
	Strict bool

	Logger *zap.Logger // default: none
}

// startTimeout is how long a process may take until it can be used. It has
// seen no code by then, so that what takes longer is the machine.
const startTimeout = 10 * time.Second

// errClosed is why a closed Pool bundles nothing.
var errClosed = errors.New("the pool of bundlers is closed")

// Pool is a source.Bundler whose every bundle has its own process. It is safe
// for concurrent use.
type Pool struct {
	kind    string
	options Options
	log     *zap.Logger
	places  *places.Places
	spare   chan *worker  // offers the process that is ready
	want    chan struct{} // asks for the next one

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	mu     sync.Mutex // orders the start of bundles and Close
	wg     sync.WaitGroup
}

// New starts a pool, and a process that is ready for the first piece of code.
func New(options Options) (*Pool, error) { return newPool(kind, options) }

func newPool(kind string, options Options) (*Pool, error) {
	switch {
	case options.Memory < 0:
		return nil, fmt.Errorf("bundler: Memory is negative (%d bytes)", options.Memory)
	case options.Timeout < 0:
		return nil, fmt.Errorf("bundler: Timeout is negative (%v)", options.Timeout)
	case options.Processes < 0:
		return nil, fmt.Errorf("bundler: Processes is negative (%d)", options.Processes)
	case options.Wait < 0:
		return nil, fmt.Errorf("bundler: Wait is negative (%v)", options.Wait)
	}
	if options.Memory == 0 {
		options.Memory = 512 << 20
	}
	if options.Timeout == 0 {
		options.Timeout = 10 * time.Second
	}
	if options.Processes == 0 {
		options.Processes = 16
	}
	if options.Wait == 0 {
		options.Wait = 5 * time.Second
	}
	if options.Logger == nil {
		options.Logger = zap.NewNop()
	}
	p := &Pool{
		kind:    kind,
		options: options,
		log:     options.Logger,
		places:  places.New(options.Processes),
		spare:   make(chan *worker),
		want:    make(chan struct{}, 1),
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	if !options.NoSpare {
		p.wg.Go(p.keepSpare)
	}
	return p, nil
}

// Close kills all processes and waits for their end. Bundles under way fail.
func (p *Pool) Close() error {
	p.mu.Lock()
	p.cancel()
	p.mu.Unlock()
	p.wg.Wait()
	return nil
}

// enter counts a bundle under way, unless the pool is closed.
func (p *Pool) enter() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil {
		return false
	}
	p.wg.Add(1)
	return true
}

// Bundle implements source.Bundler. The script that it returns compiles; when
// it does not, the error is what jsruntime.CheckScript returns.
func (p *Pool) Bundle(ctx context.Context, job *source.Job) (*source.Output, error) {
	name := job.Entry.Name
	if !p.enter() {
		return nil, &source.BusyError{Name: name, Err: errClosed}
	}
	defer p.wg.Done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(p.ctx, func() { cancel(&source.BusyError{Name: name, Err: errClosed}) })()

	if err := p.places.Take(ctx, job.Container, p.options.Wait); errors.Is(err, places.ErrBusy) {
		return nil, &source.BusyError{Name: name, Wait: p.options.Wait}
	} else if err != nil {
		return nil, err
	}
	var w *worker
	defer func() {
		// Nobody waits for the end of the process but whoever wants its place.
		p.wg.Go(func() {
			if w != nil {
				w.close()
			}
			p.wantSpare() // now, so that its start does not slow down this bundle
			p.places.Free(job.Container)
		})
	}()
	if job.Begin != nil {
		if err := job.Begin(); err != nil {
			return nil, err
		}
	}
	var err error
	for range 2 {
		if w, err = p.take(ctx); err != nil {
			break
		}
		var out *source.Output
		if out, err = w.bundle(ctx, job, &p.options); !errors.Is(err, errNotBegun) {
			if errors.Is(err, wire.ErrProtocol) {
				p.log.Error("a bundler does not keep to the protocol, so that its code may have taken it over", zap.String("code", name), zap.Error(err))
			}
			return out, p.reason(err, job)
		}
		// It died before it saw the code, perhaps while it was a spare.
		w.close()
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return nil, &source.BusyError{Name: name, Err: err}
}

// reason words how a process ended for the author of the code.
func (p *Pool) reason(err error, job *source.Job) error {
	message := ""
	switch {
	case errors.Is(err, errTimeout):
		message = fmt.Sprintf("the compiler ran out of time (%v)", p.options.Timeout)
	case errors.Is(err, errStarved):
		return &source.BusyError{Name: job.Entry.Name, Err: err}
	case errors.Is(err, errDied):
		switch reason, _ := process.ReasonOf(err); reason {
		case process.KilledOutside:
			return &source.BusyError{Name: job.Entry.Name, Err: err}
		case process.OutOfMemory:
			message = fmt.Sprintf("the compiler ran out of memory (%d MiB)", p.options.Memory>>20)
		case process.Crashed:
			// So does Go's collector where memory ends while it works.
			message = fmt.Sprintf("the compiler crashed, as it may when it runs out of memory (%d MiB)", p.options.Memory>>20)
		case process.StackOverflow:
			message = "the compiler ran out of stack"
		default:
			p.log.Error("a bundler failed", zap.String("code", job.Entry.Name), zap.Error(err))
			message = "the compiler failed on it"
		}
	case errors.Is(err, wire.ErrProtocol):
		message = "the compiler failed on it"
	default:
		return err
	}
	return &source.CompileError{
		File:      job.Entry.Name,
		Message:   "the code could not be compiled: " + message + "; make it simpler, split it up, or load large data as JSON",
		Exhausted: true,
	}
}
