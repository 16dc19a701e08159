package caddymodule

import (
	"context"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/webtask-edge/caddy-webtask/sessionbackend"
)

// slowDriver starts backends that end when a test lets them.
type slowDriver struct {
	dir   string
	alive chan struct{} // one token for each that is
	end   chan struct{} // closed: they may
}

type slowBackend struct {
	driver   *slowDriver
	listener net.Listener
	done     chan struct{}
	stopped  sync.Once
}

func (d *slowDriver) Start(_ context.Context, identity sessionbackend.Identity) (sessionbackend.Instance, error) {
	listener, err := net.Listen("unix", filepath.Join(d.dir, identity.ID))
	if err != nil {
		return nil, err
	}
	d.alive <- struct{}{}
	return &slowBackend{driver: d, listener: listener, done: make(chan struct{})}, nil
}

func (b *slowBackend) Address() sessionbackend.Address {
	return sessionbackend.Address{Network: "unix", Address: b.listener.Addr().String()}
}
func (b *slowBackend) Notified() <-chan struct{}      { return nil }
func (b *slowBackend) Done() <-chan struct{}          { return b.done }
func (b *slowBackend) Extend(sessionbackend.BootTime) {}
func (b *slowBackend) Exit() sessionbackend.Exit      { return sessionbackend.Exit{} }

func (b *slowBackend) Stop(time.Duration) {
	b.stopped.Do(func() {
		go func() {
			<-b.driver.end
			b.listener.Close()
			<-b.driver.alive
			close(b.done)
		}()
	})
}

// TestServiceFollowsItsNamesakes drops a service and brings it back twice while the
// backend of the first still ends: no other starts before.
func TestServiceFollowsItsNamesakes(t *testing.T) {
	d := &slowDriver{t.TempDir(), make(chan struct{}, 2), make(chan struct{})}
	host := &BackendHost{Node: sessionbackend.NewNode(t.TempDir(), nil), Logger: zap.NewNop()}
	defer host.Node.Close()
	config := sessionbackend.Config{Driver: d}
	open := func() (*holdings, *sharedService) {
		h := new(holdings)
		service, err := holdService(h, t.Name(), host)
		if err != nil {
			t.Fatal(err)
		}
		if err := service.apply(nil, nil, config); err != nil {
			t.Fatal(err)
		}
		return h, service
	}
	first, service := open()
	backend, err := service.Acquire(t.Context(), "a", sessionbackend.Caller{})
	if err != nil {
		t.Fatal(err)
	}
	backend.Release()
	dropped := make(chan struct{})
	go func() {
		first.drop(zap.NewNop())
		close(dropped)
	}()
	await(t, func() bool { return countOf(services) == 0 })
	second, _ := open() // gets no request
	second.drop(zap.NewNop())
	third, service := open()
	served := make(chan error)
	go func() {
		backend, err := service.Acquire(t.Context(), "a", sessionbackend.Caller{})
		if err == nil {
			backend.Release()
		}
		served <- err
	}()
	select {
	case err := <-served:
		t.Errorf("a request was served (%v) while the first backend was there", err)
	case <-time.After(100 * time.Millisecond): // which is many times what a start takes
	}
	close(d.end)
	<-dropped
	if err := <-served; err != nil {
		t.Error(err)
	}
	third.drop(zap.NewNop())
}
