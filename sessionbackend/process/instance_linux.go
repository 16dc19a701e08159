package process

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/webtask-edge/caddy-webtask/sessionbackend"
	"github.com/webtask-edge/caddy-webtask/sessionbackend/internal/environ"
	"github.com/webtask-edge/caddy-webtask/sessionbackend/internal/output"
)

// Driver returns the driver that runs a Spec.
func (s *Supervisor) Driver(spec Spec) (sessionbackend.Driver, error) {
	if err := spec.Check(); err != nil {
		return nil, err
	}
	return &driver{s, spec}, nil
}

type driver struct {
	supervisor *Supervisor
	spec       Spec
}

// Start implements sessionbackend.Driver.
func (d *driver) Start(ctx context.Context, identity sessionbackend.Identity) (sessionbackend.Instance, error) {
	l, err := d.supervisor.running(ctx)
	if err != nil {
		return nil, err
	}
	i := &instance{
		id: identity.ID, link: l, spec: &d.spec,
		logger:  l.logger.With(zap.String("service", identity.Service), zap.String("id", identity.ID)),
		started: make(chan struct{}), notified: make(chan struct{}), done: make(chan struct{}),
	}
	start := d.spec.order(identity)
	if identity.Deadline != nil {
		start.Deadline = identity.Deadline()
		if start.Deadline != 0 {
			i.enforce(start.Deadline)
		}
	}
	l.mu.Lock()
	if l.instances == nil {
		l.mu.Unlock()
		i.enforce(0)
		return nil, errSupervisorDied
	}
	l.instances[i.id] = i
	l.mu.Unlock()
	if err := l.send(&order{ID: i.id, Start: start}); err != nil {
		<-i.done // the link ends, and with it all instances
		return nil, fmt.Errorf("%w: %w", errSupervisorDied, err)
	}
	select {
	case <-i.started:
		return i, nil
	case <-i.done:
		if i.failed != nil {
			return nil, i.failed
		}
		return i, nil
	case <-ctx.Done():
		i.Stop(0)
		<-i.done
		return nil, context.Cause(ctx)
	}
}

// order returns what the supervisor process is told of a backend.
func (s *Spec) order(identity sessionbackend.Identity) *start {
	home := os.Getenv("HOME")
	if s.User != nil {
		home = s.User.Home
	}
	all := map[string]string{"PATH": os.Getenv("PATH"), "HOME": home}
	maps.Copy(all, s.Env)
	var about []string
	for name, value := range identity.Env {
		delete(all, name) // of a name that is there twice, programs see either
		about = append(about, name+"="+value)
	}
	env := make([]string, 0, len(all))
	for name, value := range all {
		env = append(env, name+"="+value)
	}
	return &start{
		Command: s.Command, Args: s.Args, Dir: s.Dir, User: s.User, Limits: s.Limits, Grace: cmp.Or(s.Grace, sessionbackend.DefaultStopGrace),
		Env:   env,
		About: append(about, environ.About(identity)...),
	}
}

// instance is a backend that the supervisor process runs. It implements
// sessionbackend.Instance.
type instance struct {
	id     string
	link   *link
	spec   *Spec
	logger *zap.Logger

	deadline sync.Mutex  // guards what follows
	enforcer *time.Timer // nil: there is no deadline
	over     bool        // it has ended, and keeps none

	pidfd    int           // of the process; 0: unknown
	started  chan struct{} // closed when address is set
	address  sessionbackend.Address
	notified chan struct{}
	ready    sync.Once     // closes notified
	done     chan struct{} // closed when failed or exit is set
	failed   error
	exit     sessionbackend.Exit
}

// take is called with each report of the backend, one after the other.
func (i *instance) take(r *report) {
	switch {
	case r.Started != nil:
		i.hold(r.Started.PID)
		i.address = i.spec.address(r.Started.Socket, r.Started.Port)
		close(i.started)
	case r.Failed != "":
		i.enforce(0)
		i.failed = errors.New(r.Failed)
		close(i.done)
	case r.Notified:
		i.ready.Do(func() { close(i.notified) })
	case r.Exit != nil:
		i.end(sessionbackend.Exit{Code: r.Exit.Code, Signal: r.Exit.Signal, Output: r.Exit.Output})
	default:
		output.Log(i.logger, r.Line, r.Dropped)
	}
}

func (i *instance) end(exit sessionbackend.Exit) {
	i.drop()
	i.enforce(0)
	i.exit = exit
	close(i.done)
}

// Address implements sessionbackend.Instance.
func (i *instance) Address() sessionbackend.Address { return i.address }

// Notified implements sessionbackend.Instance.
func (i *instance) Notified() <-chan struct{} { return i.notified }

// Stop implements sessionbackend.Instance.
func (i *instance) Stop(grace time.Duration) {
	// If the supervisor process is gone, so is the backend.
	_ = i.link.send(&order{ID: i.id, Stop: true, Grace: grace})
}

// Extend implements sessionbackend.Instance.
func (i *instance) Extend(deadline sessionbackend.BootTime) {
	i.enforce(deadline)
	_ = i.link.send(&order{ID: i.id, Extend: deadline}) // likewise
}

// enforce kills the supervisor process, should it not have reported the end of the
// backend a while after its deadline: one that stands still keeps no deadlines. 0:
// the backend has ended.
func (i *instance) enforce(deadline sessionbackend.BootTime) {
	i.deadline.Lock()
	defer i.deadline.Unlock()
	if i.enforcer != nil {
		i.enforcer.Stop()
	}
	i.over = i.over || deadline == 0
	if i.over {
		return
	}
	i.enforcer = time.AfterFunc(deadline.Until(sessionbackend.Now())+i.link.overdue, func() {
		i.logger.Error("the supervisor process of session backends keeps no deadline, and is killed")
		_ = i.link.command.Process.Kill() // it may have ended
	})
}

// Done implements sessionbackend.Instance.
func (i *instance) Done() <-chan struct{} { return i.done }

// Exit implements sessionbackend.Instance.
func (i *instance) Exit() sessionbackend.Exit { return i.exit }
