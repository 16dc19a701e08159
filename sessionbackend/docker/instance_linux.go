package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/webtask-edge/caddy-webtask/sessionbackend"
	"github.com/webtask-edge/caddy-webtask/sessionbackend/internal/output"
)

// Driver returns the driver that runs a Spec.
func (f *Fleet) Driver(spec Spec) (sessionbackend.Driver, error) {
	if err := spec.Check(); err != nil {
		return nil, err
	}
	f.mu.Lock()
	f.hosts[spec.host()] = true
	f.mu.Unlock()
	return &driver{f, spec}, nil
}

type driver struct {
	fleet *Fleet
	spec  Spec
}

// Start implements sessionbackend.Driver.
func (d *driver) Start(ctx context.Context, identity sessionbackend.Identity) (sessionbackend.Instance, error) {
	e, err := d.fleet.engine(ctx, d.spec.host())
	if err != nil {
		return nil, err
	}
	if err := e.provide(ctx, d.fleet.life, d.spec.Image, d.spec.Pull); err != nil {
		return nil, err
	}
	i, err := d.fleet.enlist(e, &d.spec, &identity)
	if err != nil {
		return nil, err
	}
	if err := i.launch(ctx, &identity); err != nil {
		i.remove()
		if i.output != nil {
			i.output.Close()
		}
		d.fleet.discharge(i)
		close(i.done)
		return nil, err
	}
	go i.live()
	return i, nil
}

// instance is a container. It implements sessionbackend.Instance.
type instance struct {
	id, name string
	fleet    *Fleet
	engine   *engine
	spec     *Spec
	logger   *zap.Logger
	port     int // where it listens

	// Set by launch.
	address sessionbackend.Address
	output  *output.Output

	mu        sync.Mutex
	signal    string      // that asks it to end; "": it is not known to run
	condemned bool        // it is to be killed, and not to be started if it is not yet
	killer    *time.Timer // of Stop

	done chan struct{} // closed when exit is set
	exit sessionbackend.Exit
}

// order is what the reaper process is told of the backend.
func (i *instance) order() *order {
	return &order{Engine: i.engine.host, ID: i.id, Grace: i.spec.grace(), Deadline: i.fleet.deadlines.get(i.id)}
}

// launch creates and starts the container. When it fails, there may be one.
func (i *instance) launch(ctx context.Context, identity *sessionbackend.Identity) error {
	api := i.engine.api
	// What the engine was asked is waited for even if ctx ends: it may do it, and
	// then it has to be undone.
	call, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	if _, err := api.ContainerCreate(call, i.spec.container(i.fleet.node, identity, i.port)); err != nil {
		return i.engine.failed("the container cannot be created; see the options runtime, user, mount, memory, cpus and processes", err)
	}
	// Before the start, so that nothing of what it writes is missed.
	attached, err := api.ContainerAttach(call, i.name, client.ContainerAttachOptions{Stream: true, Stdout: true, Stderr: true})
	if err != nil {
		return i.engine.failed("reading the output of the container", err)
	}
	i.output = output.New(newVoice(attached.HijackedResponse))
	go i.output.Read(func(line string, dropped int) { output.Log(i.logger, line, dropped) })
	if err := i.mayRun(ctx); err != nil {
		return err
	}
	if _, err := api.ContainerStart(call, i.name, client.ContainerStartOptions{}); err != nil {
		return i.engine.failed("the container cannot be started; see the options network, mount and user, and the arguments after the image", err)
	}
	c, err := inspect(call, api, i.name)
	switch {
	case err != nil:
		return i.engine.failed("looking at the container", err)
	case c == nil:
		return errRemoved
	case c.State.Running: // else live says how it ended
		if i.address, err = i.spec.addressOf(c, i.port); err != nil {
			return err
		}
	}
	i.mu.Lock()
	i.signal = "SIGTERM"
	if c.Config != nil && c.Config.StopSignal != "" {
		i.signal = c.Config.StopSignal
	}
	i.mu.Unlock()
	return i.mayRun(ctx)
}

// mayRun reports why the container may not run, now that it is there.
func (i *instance) mayRun(ctx context.Context) error {
	i.mu.Lock()
	condemned := i.condemned
	i.mu.Unlock()
	if condemned || i.fleet.deadlines.passed(i.id) {
		return errors.New("driver docker: it was to be killed before it had started")
	}
	return context.Cause(ctx)
}

// errRemoved says that a container is gone, and nobody here has removed it.
var errRemoved = errors.New("its container was removed by somebody else")

// voice is what a container writes.
type voice struct {
	*io.PipeReader
	attached client.HijackedResponse
}

// newVoice merges what the engine sends apart.
func newVoice(attached client.HijackedResponse) *voice {
	reader, writer := io.Pipe()
	go func() {
		_, err := stdcopy.StdCopy(writer, writer, attached.Reader)
		_ = writer.CloseWithError(err) // never fails
	}()
	return &voice{reader, attached}
}

// Close ends reading.
func (v *voice) Close() error {
	v.attached.Close()
	return v.PipeReader.Close()
}

// live waits for the end of the container.
func (i *instance) live() {
	i.exit = i.await()
	i.mu.Lock()
	if i.killer != nil {
		i.killer.Stop()
	}
	i.mu.Unlock()
	i.exit.Output = i.output.Close()
	i.remove()
	i.fleet.discharge(i)
	close(i.done)
}

// waitTimeout is after how long an engine is asked whether a container is there
// though it has not said that it is not.
const waitTimeout = time.Minute

// await waits until the container has ended. That may be never, if the engine does
// not answer any more: the backend's key then gets no successor.
func (i *instance) await() sessionbackend.Exit {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		ctx, cancel := context.WithTimeout(context.Background(), waitTimeout)
		waiting := i.engine.api.ContainerWait(ctx, i.name, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
		select {
		case <-waiting.Result:
		case <-waiting.Error:
		}
		inTime := ctx.Err() == nil
		cancel()
		// What it says of the end is believed only when it shows it.
		c, err := inspect(context.Background(), i.engine.api, i.name)
		switch {
		case err == nil && c == nil:
			return sessionbackend.Exit{Code: -1, Err: errRemoved}
		case err != nil || c.State.Running || c.State.Restarting || c.State.Paused:
			if inTime { // it was wrong, or does not answer
				time.Sleep(pause)
				continue
			}
			pause = firstPause
		default:
			return i.exitOf(c.State)
		}
	}
}

// exitOf returns how a container ended.
func (i *instance) exitOf(state *container.State) sessionbackend.Exit {
	exit := sessionbackend.Exit{Code: state.ExitCode}
	// What a signal has ended, the container's process 1 says as shells do.
	if name := unix.SignalName(syscall.Signal(state.ExitCode - 128)); state.ExitCode > 128 && name != "" {
		exit.Code, exit.Signal = -1, name
	}
	if state.OOMKilled && state.ExitCode != 0 {
		hint := "the machine has too little for it"
		if i.spec.Limits.Memory != 0 {
			hint = fmt.Sprintf("the option memory of driver docker allows %d bytes", i.spec.Limits.Memory)
		}
		exit.Err = fmt.Errorf("was killed for want of memory; %s", hint)
	}
	return exit
}

// remove removes the container, and returns when it is gone.
func (i *instance) remove() {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		err := remove(ctx, i.engine.api, i.name)
		cancel()
		if err == nil {
			return
		}
		if pause == lastPause {
			i.logger.Error("the container of a session backend cannot be removed; its key gets no other before it is", zap.String("container", i.name), zap.Error(err))
		}
		time.Sleep(pause)
	}
}

// Address implements sessionbackend.Instance.
func (i *instance) Address() sessionbackend.Address { return i.address }

// Notified implements sessionbackend.Instance. No container has a socket where it
// could say that it is ready.
func (*instance) Notified() <-chan struct{} { return nil }

// Stop implements sessionbackend.Instance.
func (i *instance) Stop(grace time.Duration) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if grace <= 0 || i.signal == "" {
		i.condemned = true
		go i.strike("SIGKILL")
		return
	}
	go i.strike(i.signal)
	if i.killer == nil {
		i.killer = time.AfterFunc(grace, func() { i.strike("SIGKILL") })
	}
}

// strike has the engine send a signal. It insists.
func (i *instance) strike(signal string) {
	for pause := firstPause; kill(context.Background(), i.engine.api, i.name, signal) != nil; pause = min(2*pause, lastPause) {
		select {
		case <-i.done:
			return
		case <-time.After(pause):
		}
	}
}

// Extend moves the deadline of the backend to a later time. It does nothing for
// one that has none, and for one whose deadline has passed.
func (i *instance) Extend(deadline sessionbackend.BootTime) {
	if !i.fleet.deadlines.extend(i.id, deadline) {
		return
	}
	i.fleet.mu.Lock()
	defer i.fleet.mu.Unlock()
	if i.fleet.instances[i.id] == i {
		i.fleet.tell(i.order())
	}
}

// Done implements sessionbackend.Instance.
func (i *instance) Done() <-chan struct{} { return i.done }

// Exit implements sessionbackend.Instance.
func (i *instance) Exit() sessionbackend.Exit { return i.exit }
