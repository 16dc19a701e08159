package docker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/webtask-edge/caddy-webtask/sessionbackend"
	"github.com/webtask-edge/caddy-webtask/sessionbackend/internal/ports"
)

// Fleet has the containers of a node, on any number of engines. Nothing is
// started, and no engine is asked, before the first backend. It is safe for
// concurrent use.
type Fleet struct {
	options Options
	turn    chan struct{}      // a place for who starts a reaper process
	life    context.Context    // of what goes on behind requests
	end     context.CancelFunc // of it

	mu        sync.Mutex
	node      string  // "": it is not known yet
	reaper    *reaper // nil: there is none
	closed    bool
	hosts     map[string]bool    // of all engines that drivers have named
	engines   map[string]*engine // by host
	instances map[string]*instance
	ports     ports.Ports
	deadlines *deadlines // nil: there is none yet
}

// NewFleet returns a Fleet.
func NewFleet(options Options) *Fleet {
	options.Patience = cmp.Or(options.Patience, 30*time.Second)
	if options.Logger == nil {
		options.Logger = zap.NewNop()
	}
	f := &Fleet{
		options: options, turn: make(chan struct{}, 1), hosts: make(map[string]bool), engines: make(map[string]*engine), instances: make(map[string]*instance),
	}
	f.life, f.end = context.WithCancel(context.Background())
	return f
}

var (
	errFleetClosed = errors.New("driver docker: is closed")
	errReaperDied  = errors.New("driver docker: the reaper process died")
)

// running makes sure that there is a reaper process, and so that the node's lock
// is held.
func (f *Fleet) running(ctx context.Context) error {
	select {
	case f.turn <- struct{}{}:
		defer func() { <-f.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	f.mu.Lock()
	closed, there := f.closed, f.reaper != nil
	f.mu.Unlock()
	switch {
	case closed:
		return errFleetClosed
	case there:
		return nil
	}
	lock, err := f.options.Lock(ctx)
	if err != nil {
		return err
	}
	return f.launch(lock)
}

// launch starts a reaper process, and tells it what there is.
func (f *Fleet) launch(lock *os.File) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var err error
	if f.node == "" {
		if f.node, err = nodeOf(lock); err != nil {
			return err
		}
	}
	if f.deadlines == nil {
		if f.deadlines, err = newDeadlines(f.expire); err != nil {
			return err
		}
	}
	r, err := startReaper(f.node, lock, &f.options)
	if err != nil {
		return err
	}
	go r.watch()
	go func() {
		r.listen()
		f.lost(r)
	}()
	if f.closed {
		r.leave()
		return errFleetClosed
	}
	f.reaper = r
	for _, i := range f.instances {
		f.tell(i.order())
	}
	return nil
}

// tell gives the reaper process an order. One that cannot be told is dying, and
// its successor will be told all. The mutex is held.
func (f *Fleet) tell(o *order) {
	if f.reaper != nil {
		_ = f.reaper.tell(o)
	}
}

// lost is called when a reaper process has ended.
func (f *Fleet) lost(r *reaper) {
	f.mu.Lock()
	if f.reaper == r {
		f.reaper = nil
	}
	closed, left := f.closed, len(f.instances)
	f.mu.Unlock()
	if closed || left == 0 { // the next start needs one
		return
	}
	f.options.Logger.Error("the reaper process of session backends died; another takes its place", zap.Int("backends", left))
	// One that dies at once is not started again and again without a pause.
	select {
	case <-time.After(minLife - time.Since(r.began)):
	case <-f.life.Done():
		return
	}
	ctx, cancel := context.WithTimeout(f.life, callTimeout)
	defer cancel()
	err := f.running(ctx)
	if err == nil || errors.Is(err, errFleetClosed) {
		return
	}
	f.options.Logger.Error("session backends are killed, since no reaper process can be started that would end them with the server", zap.Error(err))
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, i := range f.instances {
		i.Stop(0)
	}
}

// minLife is how long a reaper process lives before it has a successor.
const minLife = time.Second

// Settle returns when nothing is left of edges before this one on the engines that
// drivers have named.
func (f *Fleet) Settle(ctx context.Context) error {
	f.mu.Lock()
	hosts := slices.Sorted(maps.Keys(f.hosts))
	f.mu.Unlock()
	for _, host := range hosts {
		if _, err := f.engine(ctx, host); err != nil {
			return err
		}
	}
	return nil
}

// engine returns an engine on which nothing is left of edges before this one.
func (f *Fleet) engine(ctx context.Context, host string) (*engine, error) {
	if err := f.running(ctx); err != nil {
		return nil, err
	}
	f.mu.Lock()
	e := f.engines[host]
	if e == nil {
		var err error
		if e, err = newEngine(host, f.options.Logger); err != nil {
			f.mu.Unlock()
			return nil, err
		}
		f.engines[host] = e
	}
	node := f.node
	f.mu.Unlock()
	if err := e.prepare(ctx, node); err != nil {
		return nil, err
	}
	return e, nil
}

// enlist makes a backend known to the reaper process, before there is anything of
// it.
func (f *Fleet) enlist(e *engine, spec *Spec, identity *sessionbackend.Identity) (*instance, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.reaper == nil {
		return nil, errReaperDied
	}
	i := &instance{
		id: identity.ID, name: namePrefix + identity.ID, fleet: f, engine: e, spec: spec, port: cmp.Or(spec.Port, DefaultPort),
		logger: f.options.Logger.With(zap.String("service", identity.Service), zap.String("id", identity.ID)),
		done:   make(chan struct{}),
	}
	if spec.Network == HostNetwork {
		var err error
		if i.port, err = f.ports.Take(); err != nil {
			return nil, fmt.Errorf("driver docker: network host: %w", err)
		}
	}
	f.instances[i.id] = i
	if identity.Deadline != nil {
		if deadline := identity.Deadline(); deadline != 0 {
			f.deadlines.set(i.id, deadline)
		}
	}
	f.tell(i.order())
	return i, nil
}

// discharge forgets a backend of which nothing is left.
func (f *Fleet) discharge(i *instance) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.instances, i.id)
	f.deadlines.forget(i.id)
	if i.spec.Network == HostNetwork {
		f.ports.Release(i.port)
	}
	f.tell(&order{ID: i.id, Gone: true})
}

// expire is called when the deadline of a backend has passed.
func (f *Fleet) expire(id string) {
	f.mu.Lock()
	i := f.instances[id]
	f.mu.Unlock()
	if i != nil {
		i.Stop(0)
	}
}

// Close asks all backends to end, and waits until nothing is left of any. When ctx
// ends, it gives up: the next edge removes what is left.
func (f *Fleet) Close(ctx context.Context) error {
	f.mu.Lock()
	f.closed = true
	r := f.reaper
	all := make([]*instance, 0, len(f.instances))
	for _, i := range f.instances {
		all = append(all, i)
	}
	f.mu.Unlock()
	var err error
	for _, i := range all {
		i.Stop(i.spec.grace())
	}
	for _, i := range all {
		select {
		case <-i.done:
		case <-ctx.Done():
			err = fmt.Errorf("driver docker: containers may be left: %w", context.Cause(ctx))
		}
	}
	if r != nil {
		r.leave()
		select {
		case <-r.dead:
		case <-ctx.Done():
			r.kill()
			<-r.dead
			err = fmt.Errorf("driver docker: containers may be left: %w", context.Cause(ctx))
		}
	}
	f.end()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.deadlines != nil {
		f.deadlines.close()
	}
	for _, e := range f.engines {
		e.close()
	}
	return err
}
