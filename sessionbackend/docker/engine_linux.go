package docker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

// engine is a Docker Engine.
type engine struct {
	host   string
	api    *client.Client
	logger *zap.Logger
	turn   chan struct{} // a place for who prepares it
	ready  bool          // nothing is left of edges before this one; guarded by turn

	mu    sync.Mutex
	pulls map[string]*pull // by image, of those that go on
}

func newEngine(host string, logger *zap.Logger) (*engine, error) {
	api, err := connect(host)
	if err != nil {
		return nil, fmt.Errorf("driver docker: host %s: %w", host, err)
	}
	return &engine{host: host, api: api, logger: logger, turn: make(chan struct{}, 1), pulls: make(map[string]*pull)}, nil
}

// connect returns a client of an engine, which is not asked anything yet. It goes
// to it directly: a proxy of the environment would be the edge's only, for the
// reaper process has no environment.
func connect(host string) (*client.Client, error) {
	url, err := client.ParseHostURL(host)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, url.Scheme, url.Host)
		},
		MaxIdleConns: atOnce, IdleConnTimeout: callTimeout,
	}
	return client.New(client.WithHost(host), client.WithHTTPClient(&http.Client{Transport: transport, CheckRedirect: client.CheckRedirect}))
}

// close closes the connections to it.
func (e *engine) close() {
	_ = e.api.Close() // closes connections that nobody uses, and cannot fail
}

// callTimeout is how long an engine may take for what takes it no time.
const callTimeout = 30 * time.Second

// An engine that cannot do what it is asked is asked again, soon at first.
const (
	firstPause = 10 * time.Millisecond
	lastPause  = time.Second
)

// failed is the error of something that an engine was asked.
func (e *engine) failed(what string, err error) error {
	if client.IsErrConnectionFailed(err) {
		return fmt.Errorf("driver docker: %s: %w; start the Docker Engine, name it with the option host, and let this server's user open its socket (on most systems, in the group docker)", what, err)
	}
	return fmt.Errorf("driver docker: %s: %w", what, err)
}

// prepare makes sure that nothing is left of edges before this one.
func (e *engine) prepare(ctx context.Context, node string) error {
	select {
	case e.turn <- struct{}{}:
		defer func() { <-e.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if e.ready {
		return nil
	}
	removed, err := sweep(ctx, e.api, node)
	if err != nil {
		return e.failed("removing the containers that a server before this one has left", err)
	}
	if removed > 0 {
		e.logger.Warn("session backends of a server before this one were still there, and are removed", zap.Int("containers", removed), zap.String("host", e.host))
	}
	e.ready = true
	return nil
}

// sweep kills and removes all containers of a node, and returns when there are
// none.
func sweep(ctx context.Context, api *client.Client, node string) (removed int, err error) {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		left, err := api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: make(client.Filters).Add("label", LabelNode+"="+node)})
		if err != nil {
			return removed, err
		}
		if len(left.Items) == 0 {
			return removed, nil
		}
		removed = max(removed, len(left.Items))
		var group errgroup.Group
		group.SetLimit(atOnce)
		for _, c := range left.Items {
			group.Go(func() error { return remove(ctx, api, c.ID) })
		}
		err = group.Wait()
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return removed, errors.Join(err, context.Cause(ctx))
		}
	}
}

// atOnce is how many containers an engine is asked to end at once.
const atOnce = 16

// remove kills and removes a container, by ID or name, and what it has written.
// One that is not there is no error.
func remove(ctx context.Context, api *client.Client, name string) error {
	_, err := api.ContainerRemove(ctx, name, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// kill kills a container, by ID or name. One that does not run is no error.
func kill(ctx context.Context, api *client.Client, name, signal string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := api.ContainerKill(ctx, name, client.ContainerKillOptions{Signal: signal})
	if errdefs.IsNotFound(err) || errdefs.IsConflict(err) {
		return nil
	}
	return err
}

// inspect returns what a container is; nil for one that is not there.
func inspect(ctx context.Context, api *client.Client, name string) (*container.InspectResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	found, err := api.ContainerInspect(ctx, name, client.ContainerInspectOptions{})
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	if err == nil && found.Container.State == nil {
		err = errors.New("the engine does not say how the container is")
	}
	if err != nil {
		return nil, err
	}
	return &found.Container, nil
}
