package sessionbackend

import (
	"context"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// localDriver starts backends that are sockets of the test's own process. They
// do what a test says.
type localDriver struct {
	dir    string
	mute   bool          // they never listen
	stuck  chan struct{} // it does not answer before this is closed
	fails  error         // they cannot be started
	exit   *Exit         // they end at once
	ending time.Duration // how long they take to end

	mu      sync.Mutex
	started []*localInstance
	alive   map[string]string // id of the backend of each key
	twice   bool              // there were two of a key
}

type localInstance struct {
	Identity
	driver   *localDriver
	listener net.Listener
	notified chan struct{}
	done     chan struct{}
	once     sync.Once
	exit     Exit
	soft     atomic.Bool // was asked to end

	mu     sync.Mutex
	killer *time.Timer // at its deadline
	stops  atomic.Int32
}

func newLocalDriver(t *testing.T) *localDriver {
	return &localDriver{dir: t.TempDir(), alive: map[string]string{}}
}

// Start implements Driver.
func (d *localDriver) Start(ctx context.Context, identity Identity) (Instance, error) {
	if d.stuck != nil {
		<-d.stuck
		return nil, context.Cause(ctx)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fails != nil {
		return nil, d.fails
	}
	i := &localInstance{Identity: identity, driver: d, notified: make(chan struct{}), done: make(chan struct{})}
	if !d.mute {
		var err error
		if i.listener, err = net.Listen("unix", filepath.Join(d.dir, identity.ID)); err != nil {
			return nil, err
		}
	}
	if d.alive[identity.Key] != "" {
		d.twice = true
	}
	d.alive[identity.Key] = identity.ID
	d.started = append(d.started, i)
	if identity.Deadline != nil {
		i.Extend(identity.Deadline())
	}
	if d.exit != nil {
		go i.end(*d.exit)
	}
	return i, nil
}

func (d *localDriver) starts() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.started)
}

// killAll ends all backends.
func (d *localDriver) killAll() {
	d.mu.Lock()
	all := slices.Clone(d.started)
	d.mu.Unlock()
	for _, i := range all {
		i.end(Exit{Code: -1, Signal: "SIGKILL"})
	}
}

func (d *localDriver) last() *localInstance {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.started[len(d.started)-1]
}

func (i *localInstance) end(exit Exit) {
	i.once.Do(func() {
		if i.listener != nil {
			i.listener.Close()
		}
		i.driver.mu.Lock()
		delete(i.driver.alive, i.Key)
		i.driver.mu.Unlock()
		i.exit = exit
		close(i.done)
	})
}

func (i *localInstance) Address() Address {
	return Address{"unix", filepath.Join(i.driver.dir, i.ID)}
}
func (i *localInstance) Notified() <-chan struct{} { return i.notified }
func (i *localInstance) Done() <-chan struct{}     { return i.done }
func (i *localInstance) Exit() Exit                { return i.exit }

// Extend implements Instance.
func (i *localInstance) Extend(deadline BootTime) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if deadline == 0 || i.killer != nil && !i.killer.Stop() {
		return // there is none, or it has passed
	}
	i.killer = time.AfterFunc(deadline.Until(Now()), func() { i.end(Exit{Code: -1, Signal: "SIGKILL"}) })
}

// Stop implements Instance: they take their time to end.
func (i *localInstance) Stop(grace time.Duration) {
	i.stops.Add(1)
	if grace == 0 {
		i.end(Exit{Code: -1, Signal: "SIGKILL"})
		return
	}
	i.soft.Store(true)
	time.AfterFunc(min(i.driver.ending, grace), func() { i.end(Exit{}) })
}

// counter owns all keys.
type counter struct{ last atomic.Int64 }

func (c *counter) Claim(context.Context, Identity) (*Tenure, error) {
	return &Tenure{fence: c.last.Add(1)}, nil
}
func (*counter) Elsewhere(string, string) *HeldError            { return nil }
func (*counter) Ask(context.Context, string, string) *HeldError { return nil }
