//go:build unix

package bundler

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/webtask-edge/caddy-webtask/jsruntime/source"
	"github.com/webtask-edge/caddy-webtask/jsruntime/worker/internal/wire"
	"github.com/webtask-edge/caddy-webtask/jsruntime/worker/process"
)

// resolvers is how many imports of one job are looked for at a time.
const resolvers = 32

// pace has the process yield the CPU to what is done sooner, until the session is
// over: for a while, in which most code is bundled where the CPU has room, and then
// as long as it computes. It ends where processes cannot be told to.
func (s *session) pace() {
	if s.process.Yield(true) != nil {
		return
	}
	tick := time.NewTicker(process.PaceTick)
	defer tick.Stop()
	var pace process.Pace
	since := time.Now()
	for yielded := true; ; {
		select {
		case <-tick.C:
		case <-s.ctx.Done():
			return
		}
		cpu, err := s.process.CPU()
		if err != nil {
			return
		}
		now := time.Now()
		if yields := pace.Look(now, true, cpu, 0) || now.Sub(since) < process.StartPatience; yields != yielded {
			yielded = yields
			if s.process.Yield(yields) != nil {
				return
			}
		}
	}
}

// starvation is how much longer a process may take because it gets too little of
// the CPU.
const starvation = 30 * time.Second

// session is one job of a process: the edge's side of it.
type session struct {
	*worker
	job    *source.Job
	ctx    context.Context // ends with the session
	cancel context.CancelFunc
	clock  stopwatch
	begun  bool
	asked  int // imports
	bytes  int // of their specifiers
	places chan struct{}
	wg     sync.WaitGroup

	mu      sync.Mutex
	names   []string          // of the modules that were sent, by number
	ids     map[string]uint64 // the reverse
	pending [][]byte          // frames to be written
	more    sync.Cond         // pending or over has changed
	over    bool
}

// bundle has the process do a job, and kills it; its end is awaited by close.
// Besides what is wrong with the code, the error is errNotBegun, errDied,
// errTimeout, errStarved, a violation of the protocol, or ctx's.
func (w *worker) bundle(ctx context.Context, job *source.Job, options *Options) (*source.Output, error) {
	s := &session{
		worker: w,
		job:    job,
		places: make(chan struct{}, resolvers),
		names:  []string{job.Entry.Name},
		ids:    map[string]uint64{job.Entry.Name: 0},
	}
	s.more.L = &s.mu
	// Numbers and lengths take up to ten bytes each.
	w.largest = uint32(min(job.MaxCode+job.MaxMap+10*(source.MaxNames+source.MaxImports)+1024, math.MaxUint32))
	s.ctx, s.cancel = context.WithCancel(ctx)
	defer context.AfterFunc(ctx, func() { w.kill(context.Cause(ctx)) })()
	patience := time.Now().Add(starvation + options.Timeout)
	s.clock.start(options.Timeout, func() {
		cpu, err := w.process.CPU()
		switch {
		case err != nil || cpu >= options.Timeout:
			w.kill(errTimeout)
		case time.Now().After(patience):
			w.kill(errStarved)
		default:
			s.clock.again(options.Timeout - cpu)
		}
	})
	s.send(frame(frameJob, encodeJob(job, options.Memory)))
	s.wg.Go(s.write)
	s.wg.Go(s.pace)

	out, err := s.serve()

	s.clock.stop()
	w.kill(nil)
	s.cancel()
	s.mu.Lock()
	s.over = true
	s.more.Broadcast()
	s.mu.Unlock()
	s.wg.Wait()
	if ctx.Err() != nil {
		// Imports end with ctx too, and the process may have blamed the code.
		return nil, context.Cause(ctx)
	}
	return out, err
}

// serve reads until the process has answered.
func (s *session) serve() (*source.Output, error) {
	for {
		k, payload, err := s.conn.read()
		if err != nil {
			return nil, s.broken(err)
		}
		if !s.begun && k != frameBegun {
			return nil, wire.Violation("frame of kind %d before the job has begun", k)
		}
		switch k {
		case frameBegun:
			if s.begun {
				return nil, wire.Violation("the job begins twice")
			}
			s.begun = true
		case frameResolve:
			m, err := decodeResolve(payload)
			if err == nil {
				err = s.ask(m)
			}
			if err != nil {
				return nil, err
			}
		case frameOutput:
			return decodeOutput(payload, s.job, s.sent())
		case frameProblem:
			problem, err := decodeProblem(payload, s.sent())
			if err != nil {
				return nil, err
			}
			return nil, problem
		default:
			return nil, wire.Violation("frame of kind %d", k)
		}
	}
}

// broken says why nothing more can be read.
func (s *session) broken(err error) error {
	switch err := s.ended(err); {
	case !isEnd(err):
		return err
	case s.begun:
		return s.died(errDied)
	default:
		return s.died(errNotBegun)
	}
}

func (s *session) sent() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.names
}

// ask has an import looked for. Only what this process was given imports
// anything.
func (s *session) ask(m resolveMessage) error {
	names := s.sent()
	s.asked++
	s.bytes += len(m.text)
	switch {
	case m.importer >= uint64(len(names)):
		return wire.Violation("an import of a module that it was not given")
	case len(m.text) > source.MaxSpecifier, s.asked > source.MaxImports, s.bytes > source.MaxSpecifierBytes:
		return wire.Violation("too many imports")
	}
	s.clock.pause()
	s.wg.Go(func() {
		defer s.clock.resume()
		s.places <- struct{}{}
		defer func() { <-s.places }()
		found, err := s.job.Resolve(s.ctx, names[m.importer], m.text)
		if err != nil && source.IsFinal(err) {
			s.kill(err)
			return
		}
		s.answer(m.request, found, err)
	})
	return nil
}

// answer sends a module, once however often it is asked for.
func (s *session) answer(request uint64, m *source.Module, err error) {
	message := moduleMessage{request: request, answer: answerBare}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err != nil:
		message.answer, message.text = answerFailed, err.Error()
	case m != nil:
		id, known := s.ids[m.Name]
		message.answer, message.id = answerKnown, id
		if !known {
			id = uint64(len(s.names))
			s.names = append(s.names, m.Name)
			s.ids[m.Name] = id
			message.answer, message.id, message.module = answerNew, id, m
		}
	}
	s.pending = append(s.pending, frame(frameModule, encodeAnswer(message)))
	s.more.Signal()
}

func (s *session) send(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = append(s.pending, b)
	s.more.Signal()
}

// write writes what is sent until the session is over. A process that does not
// read holds up nobody but itself.
func (s *session) write() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.over {
		if len(s.pending) == 0 {
			s.more.Wait()
			continue
		}
		batch := s.pending
		s.pending = nil
		s.mu.Unlock()
		var err error
		for _, b := range batch {
			if err = s.conn.write(b); err != nil {
				break
			}
		}
		s.mu.Lock()
		if err != nil {
			return // the reader sees why
		}
	}
}

// stopwatch limits the time that a process takes for itself: it stands still
// while the edge looks for imports.
type stopwatch struct {
	mu      sync.Mutex
	timer   *time.Timer
	left    time.Duration
	since   time.Time // when it began to run
	pauses  int
	stopped bool
}

func (w *stopwatch) start(left time.Duration, over func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.left, w.since = left, time.Now()
	w.timer = time.AfterFunc(left, over)
}

// again, called when the time is over, grants more of it.
func (w *stopwatch) again(left time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.left, w.since = left, time.Now()
	if w.pauses == 0 && !w.stopped {
		w.timer.Reset(left)
	}
}

func (w *stopwatch) pause() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pauses++; w.pauses == 1 && w.timer.Stop() {
		w.left -= time.Since(w.since)
	}
}

func (w *stopwatch) resume() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pauses--; w.pauses == 0 && !w.stopped {
		w.since = time.Now()
		w.timer.Reset(max(w.left, 0))
	}
}

func (w *stopwatch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	w.timer.Stop()
}
