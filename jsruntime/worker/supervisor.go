//go:build unix

// Package worker runs webtasks in sandboxed processes: this binary again, one
// process per container and kind of task, which reaches the world only over
// one socket.
//
//	supervisor, err := worker.New(worker.Options{Memory: 128 << 20})
//	program, err := supervisor.Compile(ctx, script)        // by the worker, when it is first run
//	spec := jsruntime.NewSpec(key, program, options)
//	resp, err := supervisor.Do(ctx, spec, request)         // as jsruntime.Engine.Do
//	err = supervisor.Close(ctx)
//
// In the worker runs the engine of package jsruntime, unchanged; its Host is
// the edge's, called over the socket. The edge trusts nothing that a worker
// sends: a call names a live request, whose rights are looked up on this side
// and end with it. A worker that breaks the protocol, or in which a script
// cannot be interrupted, is killed.
package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/jsruntime/worker/process"
)

// Options configure a Supervisor. All may be left zero.
type Options struct {
	// Memory is how many bytes a worker may take above what it takes by
	// itself; default 128 MiB. A webtask's limit memory narrows it.
	Memory int64

	// Strict refuses to start a worker when a layer of its sandbox is missing.
	Strict bool

	// MaxWorkers bounds the workers in use; default 100. The one that was idle
	// longest makes room. Spares is how many blank ones are kept ready, so that
	// no request waits for a process to start; default 1, negative: none.
	MaxWorkers int
	Spares     int

	// IdleTimeout is after how long without a request a worker ends; default
	// 5m.
	IdleTimeout time.Duration

	// Grace is how long after its limit a request may go on before its caller is
	// told so; default 1s, since on a busy machine a worker that is niced may not
	// even get to say that it has ended the request itself. It is killed when it
	// has taken as much CPU time again, or after five times as long.
	Grace time.Duration

	// QueueLength and QueueWait are those of jsruntime.Options, per worker.
	QueueLength int
	QueueWait   time.Duration

	Logger   *zap.Logger        // default: none
	Observer jsruntime.Observer // default: none
}

// key tells workers apart. Nothing of two containers is ever in one.
type key struct {
	container string
	group     string // jsruntime.SpecOptions.Group
	memory    int64
}

// Supervisor starts workers, hands requests to them and ends them. It is safe
// for concurrent use.
type Supervisor struct {
	options Options
	layers  process.Report
	now     func() time.Time
	stop    chan struct{}
	owned   sync.WaitGroup
	want    chan struct{} // a spare was taken
	begun   chan struct{} // a worker that had no requests has one

	mu         sync.Mutex
	closed     bool
	workers    map[key]*entry
	links      map[*link]struct{} // also those that retire
	spares     []*process.Process
	quarantine map[string]*record
}

// entry is a worker that is there or being made.
type entry struct {
	made chan struct{} // closed when link or err is set
	link *link
	err  error
}

// New returns a Supervisor that runs until Close.
func New(options Options) (*Supervisor, error) {
	s := unstarted(options)
	layers, err := process.Layers()
	if err != nil {
		return nil, fmt.Errorf("worker processes cannot be started: %w", err)
	}
	if options.Strict {
		if err := layers.Complete(); err != nil {
			return nil, err
		}
	}
	s.layers = layers
	s.owned.Go(s.keepSpares)
	s.owned.Go(s.watch)
	s.owned.Go(s.govern)
	return s, nil
}

// unstarted returns a Supervisor that does nothing by itself.
func unstarted(options Options) *Supervisor {
	options.Memory = cmp.Or(options.Memory, 128<<20)
	options.MaxWorkers = cmp.Or(options.MaxWorkers, 100)
	options.Spares = cmp.Or(options.Spares, 1)
	options.IdleTimeout = cmp.Or(options.IdleTimeout, 5*time.Minute)
	options.Grace = cmp.Or(options.Grace, time.Second)
	if options.Observer == nil {
		options.Observer = nobody{}
	}
	if options.Logger == nil {
		options.Logger = zap.NewNop()
	}
	return &Supervisor{
		options: options, now: time.Now, stop: make(chan struct{}), want: make(chan struct{}, 1), begun: make(chan struct{}, 1),
		workers: make(map[key]*entry), links: make(map[*link]struct{}), quarantine: make(map[string]*record),
	}
}

// nobody is an Observer.
type nobody struct{}

func (nobody) QueueWaited(string, time.Duration)    {}
func (nobody) Compiled(time.Duration, error)        {}
func (nobody) IsolateCreated(string, time.Duration) {}
func (nobody) IsolateDiscarded(string, string)      {}

// Sandbox returns the layers that lock workers up, in words, and an error if one
// is missing that is known for this system.
func (s *Supervisor) Sandbox() (layers string, missing error) {
	return s.layers.String(), s.layers.Complete()
}

// Compile implements edge.Runner. Nothing is compiled in this process: the
// worker does, when the program is first run.
func (s *Supervisor) Compile(ctx context.Context, script jsruntime.Script) (*jsruntime.Program, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return jsruntime.NewProgram(script), nil
}

// Do runs a request as jsruntime.Engine.Do does. Its errors are those, and
// *jsruntime.CrashError and *jsruntime.QuarantineError. A request whose worker died for another's
// fault is run once more, if nothing of it had left the edge.
func (s *Supervisor) Do(ctx context.Context, spec *jsruntime.Spec, req *jsruntime.Request) (*jsruntime.Response, error) {
	for attempt := 1; ; attempt++ {
		l, err := s.worker(ctx, spec)
		if err != nil {
			return nil, err
		}
		resp, err := l.do(ctx, spec, req)
		if err == errRetired {
			s.retire(l)
			attempt--
			continue
		}
		var crash *jsruntime.CrashError
		if attempt == 1 && errors.As(err, &crash) && crash.Unharmed {
			continue
		}
		return resp, err
	}
}

// worker returns the worker of a webtask, started if need be.
func (s *Supervisor) worker(ctx context.Context, spec *jsruntime.Spec) (*link, error) {
	k := key{spec.Container, spec.Group, s.options.Memory}
	if m := spec.Limits.Memory; m > 0 && m < k.memory {
		k.memory = m
	}
	s.mu.Lock()
	e := s.workers[k]
	if e == nil {
		if err := s.admit(k.container); err != nil {
			s.mu.Unlock()
			return nil, err
		}
		e = &entry{made: make(chan struct{})}
		s.workers[k] = e
		s.owned.Go(func() { s.make(k, e) })
	}
	s.mu.Unlock()
	select {
	case <-e.made:
	default:
		select {
		case <-e.made:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return e.link, e.err
}

// admit reports whether a worker of a container may be started now. The mutex
// is held.
func (s *Supervisor) admit(container string) error {
	if s.closed {
		return jsruntime.ErrClosed
	}
	if err := s.quarantined(container); err != nil {
		return err
	}
	if len(s.workers) < s.options.MaxWorkers {
		return nil
	}
	var oldest *link
	var longest time.Duration
	for _, e := range s.workers {
		if e.link == nil {
			continue
		}
		if idle, ok := e.link.idle(); ok && idle >= longest {
			oldest, longest = e.link, idle
		}
	}
	if oldest == nil {
		return &jsruntime.QueueError{Container: container, RetryAfter: time.Second}
	}
	delete(s.workers, oldest.key)
	oldest.abort(nil, nil, errEvicted)
	return nil
}

// Why workers end without anybody's fault.
var (
	errEvicted = errors.New("evicted")
	errIdle    = errors.New("idle")
	errClosing = errors.New("closing")
)

// make starts the worker of k.
func (s *Supervisor) make(k key, e *entry) {
	l, err := s.start(k)
	s.mu.Lock()
	if err == nil && s.closed {
		l.abort(nil, nil, errClosing)
	}
	// links may be read without waiting for made.
	e.link, e.err = l, err
	if err != nil {
		delete(s.workers, k)
	}
	s.mu.Unlock()
	close(e.made)
}

func (s *Supervisor) start(k key) (*link, error) {
	proc := s.takeSpare(k)
	if proc == nil {
		var err error
		if proc, err = process.Start(process.Options{Kind: Kind, Memory: k.memory, Yield: true, Strict: s.options.Strict}); err != nil {
			return nil, fmt.Errorf("starting a worker of container %q: %w", k.container, err)
		}
	}
	l, err := newLink(s, k, proc)
	if err != nil {
		proc.Close()
		return nil, fmt.Errorf("starting a worker of container %q: %w", k.container, err)
	}
	s.mu.Lock()
	s.links[l] = struct{}{}
	s.mu.Unlock()
	s.owned.Go(l.read)
	settings := mustJSON(&hello{
		Version: version, Memory: k.memory * 7 / 10,
		QueueLength: s.options.QueueLength, QueueWait: s.options.QueueWait,
	})
	if err := l.out.send(kindHello, 0, func(b []byte) []byte { return append(b, settings...) }); err != nil {
		l.abort(nil, nil, err)
		<-l.gone
		return nil, fmt.Errorf("greeting a worker of container %q: %w", k.container, err)
	}
	// Requests may follow at once: the worker reads them after the greeting.
	return l, nil
}

// retire takes a worker that accepts no more requests out of use.
func (s *Supervisor) retire(l *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.workers[l.key]; e != nil && e.link == l {
		delete(s.workers, l.key)
	}
}

// left is told by a link that its worker has ended.
func (s *Supervisor) left(l *link, reason error, inUse bool) {
	s.retire(l)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.links, l)
	if !inUse || s.closed {
		return
	}
	s.options.Logger.Warn("a worker process ended while it was in use",
		zap.String("container", l.key.container), zap.Int("pid", l.proc.PID()), zap.Error(reason))
	s.died(l.key.container)
}

// Stats returns the pools of all workers, ordered as jsruntime.Engine.Stats.
func (s *Supervisor) Stats() []jsruntime.PoolStats {
	var all []jsruntime.PoolStats
	for _, answer := range s.askAll(control{}) {
		all = append(all, answer.Pools...)
	}
	slices.SortFunc(all, func(a, b jsruntime.PoolStats) int {
		return cmp.Or(strings.Compare(a.Container, b.Container), strings.Compare(a.Name, b.Name), strings.Compare(a.Key, b.Key))
	})
	return all
}

// Flush discards isolates as jsruntime.Engine.Flush does. Without a key, the
// workers that held them end too, once their requests are done.
func (s *Supervisor) Flush(container, key string) (flushed int) {
	for _, answer := range s.askAll(control{Flush: true, Container: container, Key: key}) {
		flushed += answer.Flushed
	}
	if key == "" {
		for _, l := range s.all() {
			if container == "" || l.key.container == container {
				l.retire()
				s.retire(l)
			}
		}
	}
	return flushed
}

// askAll asks all workers at once. What does not answer in a second has
// nothing to say.
func (s *Supervisor) askAll(question control) []controlAnswer {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var answers []controlAnswer
	for _, l := range s.all() {
		wg.Go(func() {
			if answer, err := l.ask(ctx, question); err == nil {
				mu.Lock()
				answers = append(answers, answer)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return answers
}

func (s *Supervisor) all() []*link {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*link, 0, len(s.links))
	for l := range s.links {
		all = append(all, l)
	}
	return all
}

// Close refuses new requests, waits until those that run have ended, and ends
// all workers; those that are still busy when ctx ends too.
func (s *Supervisor) Close(ctx context.Context) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return jsruntime.ErrClosed
	}
	s.closed = true
	s.mu.Unlock()
	busy := s.drain(ctx)
	close(s.stop)
	for _, l := range s.all() {
		l.abort(nil, nil, errClosing)
	}
	s.owned.Wait()
	if busy > 0 {
		return fmt.Errorf("closing the workers: %d were still busy: %w", busy, context.Cause(ctx))
	}
	return nil
}

// drainTick is how often Close looks whether workers are idle.
const drainTick = 10 * time.Millisecond

func (s *Supervisor) drain(ctx context.Context) (busy int) {
	tick := time.NewTicker(drainTick)
	defer tick.Stop()
	for {
		busy = 0
		for _, l := range s.all() {
			if _, idle := l.idle(); !idle {
				busy++
			}
		}
		if busy == 0 {
			return 0
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return busy
		}
	}
}
