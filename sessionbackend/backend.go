package sessionbackend

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Backend is the process of one key, from before its start until nothing of it
// is left.
type Backend struct {
	Identity

	service   *Service
	client    string // who asked for it, see clients
	spawn     Spawn
	since     time.Time
	fenceText string        // set with Fence
	address   Address       // set before ready is closed
	owned     chan struct{} // closed when the key is this edge's
	ready     chan struct{} // closed when it is
	gone      chan struct{} // closed when nothing of it is left
	failed    error         // set before gone is closed: why it was never ready
	poke      chan struct{} // something has changed that its goroutine should look at

	// Guarded by the service's mutex. Whether a request comes in and whether the
	// backend is ended are decided under one lock.
	tenure    *Tenure // set before the process is started
	holds     int
	opened    time.Time // when it became ready; zero: it never did
	idleSince time.Time // of one that is ready: when the last request ended
	serving   bool      // is ready, and not ending
	ending    bool      // takes no more requests
	evicted   bool      // to make room

	visitors visitors
	kept     kept

	mu      sync.Mutex // guards what follows
	history []Event
	changed chan struct{}
	asked   order
}

// order is what was asked for a backend's end.
type order struct {
	reason Reason
	kind   Kind
}

func newBackend(s *Service, identity Identity, spawn Spawn) *Backend {
	b := &Backend{
		Identity: identity, service: s, spawn: spawn, since: time.Now(),
		owned: make(chan struct{}), ready: make(chan struct{}), gone: make(chan struct{}), poke: make(chan struct{}, 1), changed: make(chan struct{}),
	}
	b.advance(Event{Status: Scheduled})
	if spawn.Static {
		b.makeStatic()
	}
	return b
}

// FenceText returns the fencing token in decimal digits.
func (b *Backend) FenceText() string { return b.fenceText }

// Address returns where the backend listens.
func (b *Backend) Address() Address { return b.address }

// Gone is closed when nothing of the backend is left.
func (b *Backend) Gone() <-chan struct{} { return b.gone }

// Release ends what Acquire began. It has to be called exactly once.
func (b *Backend) Release() {
	s := b.service
	s.mu.Lock()
	b.holds--
	if b.holds == 0 {
		b.idleSince = time.Now()
	}
	s.mu.Unlock()
}

// Terminate asks for the end of the backend, softly or hard, and returns Gone.
func (b *Backend) Terminate(kind Kind) <-chan struct{} {
	b.ask(External, kind)
	return b.gone
}

// Info describes the backend as it is now.
func (b *Backend) Info() Info {
	b.service.mu.Lock()
	defer b.service.mu.Unlock()
	return b.info()
}

// info is Info where the service's mutex is held.
func (b *Backend) info() Info {
	info := Info{Identity: b.Identity, Status: b.Status(), Connections: b.holds, Since: b.since}
	if b.serving && b.holds == 0 {
		info.Idle = time.Since(b.idleSince)
	}
	return info
}

// wake has the backend's goroutine look again.
func (b *Backend) wake() {
	select {
	case b.poke <- struct{}{}:
	default:
	}
}

// ask asks for the end of the backend. A soft end can be made hard.
func (b *Backend) ask(reason Reason, kind Kind) {
	b.mu.Lock()
	if b.asked.reason == "" || b.asked.kind == Soft && kind == Hard {
		b.asked = order{reason, kind}
	}
	b.mu.Unlock()
	b.wake()
}

func (b *Backend) order() order {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.asked
}

// outcome is how a backend ended.
type outcome struct {
	order
	exit    Exit
	started bool          // there was a process
	opened  bool          // it was ready
	waiting bool          // it was not started: others had to go first, or own the key
	timeout time.Duration // it was not ready within this
	err     error         // why it could not be started
}

// held reports whether another edge has it.
func (o *outcome) held() bool {
	var held *HeldError
	return errors.As(o.err, &held)
}

// failed reports whether it ended for a fault of its own.
func (o *outcome) failed() bool {
	if o.waiting {
		return false
	}
	if !o.started || o.timeout != 0 {
		return o.err != nil || o.timeout != 0
	}
	return o.reason == "" && (!o.opened || !o.exit.Clean())
}

// cause returns the end as the error of a start.
func (o *outcome) cause(service string) error {
	var unavailable *UnavailableError
	switch {
	case o.held() || errors.As(o.err, &unavailable):
		return o.err
	case o.timeout != 0:
		return &StartError{Service: service, Timeout: o.timeout}
	case o.err != nil:
		return &StartError{Service: service, Cause: o.err}
	default:
		return &StartError{Service: service, Cause: &exitError{o.exit}}
	}
}

// live is the backend's goroutine.
func (b *Backend) live(config Config) {
	end := b.run(config)
	if end.opened = !b.opened.IsZero(); !end.opened {
		cause := end.cause(b.service.name)
		if !end.held() {
			b.service.options.Observer.BackendStarted(b.service.name, time.Since(b.since), cause)
		}
		if end.reason != External {
			b.failed = cause
		}
	}
	b.log(&end)
	b.tenure.release()
	b.service.bury(b, end)
	b.advance(Event{Status: Terminated, Reason: end.reason, Kind: end.kind, ExitError: end.started && !end.exit.Clean()})
	close(b.gone)
}

// run starts the backend, and returns when nothing of it is left.
func (b *Backend) run(config Config) outcome {
	ctx, cancel := context.WithTimeoutCause(context.Background(), config.StartTimeout, errNotReady)
	defer cancel()
	b.advance(Event{Status: Starting})
	tenure, err := b.own(ctx)
	if err != nil {
		return b.unstarted(ctx, config, err, true)
	}
	instance, err := config.Driver.Start(ctx, b.Identity)
	if err != nil && tenure.over() {
		return b.unstarted(ctx, config, &UnavailableError{Cause: err, After: time.Second}, true)
	}
	if err != nil {
		return b.unstarted(ctx, config, err, false)
	}
	b.advance(Event{Status: Waiting})
	address, err := b.await(ctx, instance, config.Ready)
	if err == nil {
		b.address = address
		b.open()
		b.sit(instance)
	} else if context.Cause(ctx) == errNotReady {
		b.ask(StartupTimeout, Hard)
	}
	end := b.end(instance)
	switch {
	case end.reason == StartupTimeout:
		end.timeout = config.StartTimeout
	case end.reason == "" && tenure.over(): // the driver killed it in time
		end.order = order{KeyExpired, Hard}
	}
	return end
}

// unstarted is the end of a backend that could not be started; waiting: it was not
// tried.
func (b *Backend) unstarted(ctx context.Context, config Config, err error, waiting bool) outcome {
	b.close()
	end := outcome{order: order{InternalError, Hard}, err: err, waiting: waiting}
	if context.Cause(ctx) == errNotReady {
		end.reason, end.timeout = StartupTimeout, config.StartTimeout
	}
	return end
}

// own claims the key, and with it a fencing token.
func (b *Backend) own(ctx context.Context) (*Tenure, error) {
	if before := b.service.options.After; before != nil {
		select {
		case <-before:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	tenure, err := b.service.options.Ownership.Claim(ctx, b.Identity)
	if err != nil {
		return nil, err
	}
	b.service.mu.Lock()
	b.tenure = tenure
	b.Fence, b.fenceText, b.Deadline = tenure.fence, strconv.FormatInt(tenure.fence, 10), tenure.Deadline
	b.service.mu.Unlock()
	close(b.owned)
	return tenure, nil
}

// open lets requests in.
func (b *Backend) open() {
	b.advance(Event{Status: Ready})
	s := b.service
	s.mu.Lock()
	b.opened = time.Now()
	b.serving, b.idleSince = !b.ending, b.opened
	s.mu.Unlock()
	close(b.ready)
	s.options.Observer.BackendStarted(s.name, time.Since(b.since), nil)
}

// close lets no more requests in.
func (b *Backend) close() {
	b.service.mu.Lock()
	b.serving, b.ending = false, true
	b.service.mu.Unlock()
}

// sit waits until the backend has ended or is to be ended.
func (b *Backend) sit(instance Instance) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-instance.Done():
			return
		case <-b.tenure.lost:
			b.ask(KeyExpired, Hard)
			return
		case <-b.tenure.extended:
			instance.Extend(b.tenure.Deadline())
		case <-b.poke:
		case <-timer.C:
		}
		if b.order().reason != "" {
			return
		}
		if b.tenure.left() <= 0 {
			b.ask(KeyExpired, Soft)
			return
		}
		wait, over := b.look()
		if over {
			b.ask(Swept, Soft)
			return
		}
		timer.Reset(wait)
	}
}

// forever is longer than anything runs.
const forever = 100 * 365 * 24 * time.Hour

// look decides whether the backend's time is over, and if not, when to look
// again. One that has requests is looked at after its idle time, for that they
// end wakes nobody.
func (b *Backend) look() (wait time.Duration, over bool) {
	s := b.service
	s.mu.Lock()
	defer s.mu.Unlock()
	wait = forever
	if limit := shorter(s.config.Lifetime, b.spawn.Lifetime); limit > 0 {
		wait = limit - time.Since(b.since)
	}
	if idle := shorter(s.config.Idle, b.spawn.Idle); idle >= 0 {
		left := idle
		if b.holds == 0 {
			left -= time.Since(b.idleSince)
		}
		wait = min(wait, left)
	}
	if b.evicted || wait <= 0 {
		b.serving, b.ending = false, true
		return 0, true
	}
	return min(wait, b.tenure.left()), false
}

// shorter returns a limit as one that may be narrowed; neither zero nor negative
// ones are limits.
func shorter(limit, narrowed time.Duration) time.Duration {
	if narrowed > 0 && (limit <= 0 || narrowed < limit) {
		return narrowed
	}
	return limit
}

// end ends the backend, as it was asked, and waits until nothing of it is left.
func (b *Backend) end(instance Instance) outcome {
	b.close()
	// It is asked once: to many programs a second SIGTERM means to end at once.
	for obeyed := (order{}); ; {
		asked := b.order()
		switch {
		case asked == obeyed:
		case asked.kind == Hard:
			b.advance(Event{Status: HardTerminating, Reason: asked.reason, Kind: Hard})
			instance.Stop(0)
		case asked.kind == Soft:
			b.advance(Event{Status: Terminating, Reason: asked.reason, Kind: Soft})
			instance.Stop(b.service.StopGrace())
		}
		obeyed = asked
		lost := b.tenure.lost
		if asked.kind == Hard {
			lost = nil // it was killed
		}
		select {
		case <-instance.Done():
			return outcome{order: asked, exit: instance.Exit(), started: true}
		case <-lost:
			b.ask(KeyExpired, Hard)
		case <-b.tenure.extended:
			instance.Extend(b.tenure.Deadline())
		case <-b.poke:
		}
	}
}

// log says how the backend ended.
func (b *Backend) log(end *outcome) {
	fields := []zap.Field{
		zap.String("service", b.Service), zap.String("key", b.Key), zap.String("id", b.ID),
		zap.Duration("age", time.Since(b.since)),
	}
	if end.started {
		fields = append(fields, zap.Stringer("exit", end.exit))
	}
	logger := b.service.options.Logger
	switch {
	case end.held(): // it is nothing to anybody but the requests that waited
	case end.err != nil && (end.timeout == 0 || end.waiting):
		logger.Error("a session backend could not be started", append(fields, zap.Error(end.err))...)
	case end.timeout != 0:
		logger.Error(fmt.Sprintf("a session backend was not ready within %v; it has to accept connections where it is told to listen, or start_timeout has to be longer", end.timeout),
			append(fields, zap.String("output", end.exit.Output))...)
	case end.failed():
		logger.Error("a session backend ended by itself", append(fields, zap.String("output", end.exit.Output))...)
	default:
		logger.Info("a session backend ended", append(fields, zap.String("reason", string(end.reason)))...)
	}
}
