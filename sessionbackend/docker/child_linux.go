package docker

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"github.com/webtask-edge/caddy-webtask/sessionbackend/internal/offspring"
)

// A reaper process is taken over before anything of the program has run.
func init() { offspring.TakeOver(argv0, reap) }

// guard is what a reaper process has.
type guard struct {
	node      string
	engines   map[string]*client.Client // by host, of those that have had containers
	deadlines *deadlines

	mu       sync.Mutex
	backends map[string]*ward
}

// ward is a backend, as the reaper process knows it.
type ward struct {
	api   *client.Client
	grace time.Duration
	gone  chan struct{} // closed when nothing is left of it
}

// reap obeys the edge until that is gone, and then ends what is left of its
// backends.
func reap(s settings, socket *os.File) error {
	if !aNode.MatchString(s.Node) {
		return errors.New("started by somebody else")
	}
	g := &guard{node: s.Node, engines: make(map[string]*client.Client), backends: make(map[string]*ward)}
	var err error
	if g.deadlines, err = newDeadlines(g.expire); err != nil {
		return err
	}
	orders, answers := json.NewDecoder(bufio.NewReader(socket)), json.NewEncoder(socket)
	for {
		var o order
		if orders.Decode(&o) != nil {
			return g.finish()
		}
		if o.Ping {
			_ = answers.Encode(pong{}) // an edge that is gone hears nothing
			continue
		}
		if err := g.obey(&o); err != nil {
			return err
		}
	}
}

// obey does what the edge says.
func (g *guard) obey(o *order) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	w := g.backends[o.ID]
	if o.Gone {
		g.deadlines.forget(o.ID)
		if w != nil {
			close(w.gone)
			delete(g.backends, o.ID)
		}
		return nil
	}
	if w == nil {
		if g.engines[o.Engine] == nil {
			api, err := connect(o.Engine)
			if err != nil {
				return err
			}
			g.engines[o.Engine] = api
		}
		g.backends[o.ID] = &ward{api: g.engines[o.Engine], grace: o.Grace, gone: make(chan struct{})}
	}
	if o.Deadline != 0 {
		g.deadlines.set(o.ID, o.Deadline)
	}
	return nil
}

// expire kills a backend whose deadline has passed, and sees to it that it stays
// dead: an edge that was stopped in the middle of a start goes on with it when it
// runs again.
func (g *guard) expire(id string) {
	g.mu.Lock()
	w := g.backends[id]
	g.mu.Unlock()
	if w == nil {
		return
	}
	for {
		_ = w.execute(namePrefix + id) // it is tried again
		select {
		case <-w.gone:
			return
		case <-time.After(executePause):
		}
	}
}

// executePause is how often a backend whose deadline has passed is looked at.
const executePause = 100 * time.Millisecond

// execute kills a container. One that is not started yet is removed.
func (w *ward) execute(name string) error {
	c, err := inspect(context.Background(), w.api, name)
	switch {
	case err != nil || c == nil:
		return err
	case c.State.Running || c.State.Paused || c.State.Restarting:
		return kill(context.Background(), w.api, name, "SIGKILL")
	case c.State.Status == container.StateCreated:
		return remove(context.Background(), w.api, name)
	}
	return nil
}

// An engine that does not answer when the edge is gone is given up after this. The
// next edge removes what is left before it starts anything there.
const unreachable = 10 * time.Second

// finish ends all backends, each with the time it was given, and removes all
// containers of the node.
func (g *guard) finish() error {
	g.mu.Lock()
	left := len(g.backends)
	var stopping sync.WaitGroup
	for id, w := range g.backends {
		stopping.Go(func() { w.stop(namePrefix + id) })
	}
	g.mu.Unlock()
	stopping.Wait()
	var group errgroup.Group
	for host, api := range g.engines {
		group.Go(func() error {
			if err := g.clear(api, left > 0); err != nil {
				return fmt.Errorf("containers of session backends may be left on the Docker Engine %s: %w", host, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// stop asks a backend to end, and waits until it has.
func (w *ward) stop(name string) {
	seconds := int(math.Ceil(w.grace.Seconds()))
	ctx, cancel := context.WithTimeout(context.Background(), w.grace+unreachable)
	defer cancel()
	_, _ = w.api.ContainerStop(ctx, name, client.ContainerStopOptions{Timeout: &seconds}) // else clear kills it
}

// clear removes all containers of the node from an engine. It insists if there
// may be any.
func (g *guard) clear(api *client.Client, insist bool) error {
	began := time.Now()
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		_, err := sweep(ctx, api, g.node)
		cancel()
		if err == nil || !insist || time.Since(began) > unreachable {
			return err
		}
		time.Sleep(pause)
	}
}
