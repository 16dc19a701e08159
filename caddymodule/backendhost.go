package caddymodule

import (
	"context"
	"errors"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/webtask-edge/caddy-webtask/sessionbackend"
)

// BackendDriver is what a guest module in the namespace `webtask.drivers` is:
// it starts the processes of session backends.
type BackendDriver interface {
	// OpenDriver checks the driver's configuration and returns the driver. It
	// starts nothing: configurations are opened to validate them, too. grace is
	// how long a backend may take to end.
	OpenDriver(host *BackendHost, grace time.Duration) (sessionbackend.Driver, error)
}

// MuteDriver is a BackendDriver whose backends have nowhere to say that they are
// ready: `ready notify` is refused with it.
type MuteDriver interface {
	BackendDriver
	CannotNotify()
}

// BackendHost is what the drivers of this process share for as long as any of
// their backends may be there.
type BackendHost struct {
	Node   *sessionbackend.Node // proves that no other process has backends here
	Logger *zap.Logger

	cluster *backendCluster // nil: this edge is alone

	mu    sync.Mutex
	parts map[string]BackendPart
}

// BackendPart is what a driver keeps for all services that it runs.
type BackendPart interface {
	// Close ends what is left; it kills it when ctx ends.
	Close(ctx context.Context) error
}

// BackendSettler may be implemented by a BackendPart that starts what outlives this
// process.
type BackendSettler interface {
	// Settle returns when nothing is left of what a process before had started.
	Settle(ctx context.Context) error
}

// settle has all drivers settle.
func (h *BackendHost) settle(ctx context.Context) error {
	for _, part := range h.allParts() {
		if settler, ok := part.(BackendSettler); ok {
			if err := settler.Settle(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

func (h *BackendHost) allParts() []BackendPart {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Values(h.parts))
}

// Overdue returns how long after its deadline a backend may be there, as far as a
// driver knows, before the driver has to give up what keeps it; 0: backends have no
// deadlines.
func (h *BackendHost) Overdue() time.Duration {
	if h.cluster == nil {
		return 0
	}
	return h.cluster.Overdue()
}

// nodeName returns the name of this edge, "" if it is alone.
func (h *BackendHost) nodeName() string {
	if h.cluster == nil {
		return ""
	}
	return h.cluster.Name()
}

// ownership returns what decides who has a backend.
func (h *BackendHost) ownership() sessionbackend.Ownership {
	if h.cluster == nil {
		return h.Node
	}
	return h.cluster
}

// Part returns the part of that name, made if it is not there.
func (h *BackendHost) Part(name string, make func() BackendPart) BackendPart {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.parts == nil {
		h.parts = map[string]BackendPart{}
	}
	if h.parts[name] == nil {
		h.parts[name] = make()
	}
	return h.parts[name]
}

// Destruct implements caddy.Destructor: services have closed by now.
func (h *BackendHost) Destruct() error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	var errs []error
	if h.cluster != nil {
		h.cluster.Cluster.Close(ctx) // which may wait for the lock still, as a part does with it
	}
	for _, part := range h.allParts() {
		errs = append(errs, part.Close(ctx))
	}
	if h.cluster != nil {
		errs = append(errs, h.cluster.Close(ctx))
	}
	return errors.Join(append(errs, h.Node.Close())...)
}

var (
	backendHosts = caddy.NewUsagePool() // *BackendHost, of which there is one
	services     = caddy.NewUsagePool() // *sharedService, by name
)

func holdBackendHost(h *holdings, settings *clusterSettings) (*BackendHost, error) {
	host, err := hold(h, backendHosts, "local", func() (*BackendHost, error) {
		logger := sharedLog.logger("session_backends")
		host := &BackendHost{
			Node:   sessionbackend.NewNode(filepath.Join(caddy.AppDataDir(), "webtask", "backends"), logger),
			Logger: logger,
		}
		if settings == nil {
			return host, nil
		}
		var err error
		host.cluster, err = newBackendCluster(host, *settings)
		return host, err
	})
	if err != nil {
		return nil, err
	}
	if settings == nil && host.cluster != nil || settings != nil && (host.cluster == nil || !reflect.DeepEqual(*settings, host.cluster.settings)) {
		return nil, errors.New("peer_listen, node, lease and store cannot change while there are session backends; restart the server, or load a configuration without session_backend first")
	}
	return host, nil
}

// sharedService has the backends of one name, over all configurations that have
// that name: a reload changes none of them.
type sharedService struct {
	*sessionbackend.Service
	before <-chan struct{} // closed when nothing is left of those of the same name before
	ended  chan struct{}   // closed when nothing is left of its backends, and of those

	mu      sync.Mutex
	configs []appliedConfig // of apps that run, the last of which is in force
}

// appliedConfig is how an app treats the backends of a service.
type appliedConfig struct {
	app       *App
	directive *SessionBackend
	config    sessionbackend.Config
}

// apply puts the configuration of an app in force, until it is retracted.
func (s *sharedService) apply(app *App, directive *SessionBackend, config sessionbackend.Config) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.configs = append(s.configs, appliedConfig{app, directive, config})
	return s.Configure(config)
}

// retract takes the configuration of an app back: one that did not start after
// all, or that was replaced. The last of all stays in force.
func (s *sharedService) retract(app *App) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.configs = slices.DeleteFunc(s.configs, func(applied appliedConfig) bool { return applied.app == app })
	if len(s.configs) > 0 {
		_ = s.Configure(s.configs[len(s.configs)-1].config) // which was in force before
	}
}

// inForce returns the directive of the configuration in force, or nil.
func (s *sharedService) inForce() *SessionBackend {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.configs) == 0 {
		return nil
	}
	return s.configs[len(s.configs)-1].directive
}

// serviceNamed returns the service of a name, or nil.
func serviceNamed(name string) (found *sharedService) {
	services.Range(func(_, value any) bool {
		if service := value.(*sharedService); service.Name() == name {
			found = service
		}
		return found == nil
	})
	return found
}

// lastServices has, by name, when the last service that was made has ended: one
// that a configuration dropped may still be ending when another brings it back.
var lastServices = struct {
	sync.Mutex
	ended map[string]chan struct{}
}{ended: map[string]chan struct{}{}}

func holdService(h *holdings, name string, host *BackendHost) (*sharedService, error) {
	return hold(h, services, name, func() (*sharedService, error) {
		lastServices.Lock()
		defer lastServices.Unlock()
		before, ended := lastServices.ended[name], make(chan struct{})
		lastServices.ended[name] = ended
		return &sharedService{
			Service: sessionbackend.NewService(name, sessionbackend.ServiceOptions{
				Ownership: host.ownership(), After: before, Logger: host.Logger, Observer: metrics,
			}),
			before: before, ended: ended,
		}, nil
	})
}

// Destruct implements caddy.Destructor: no configuration has the service any
// more.
func (s *sharedService) Destruct() error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout+s.StopGrace())
	defer cancel()
	err := s.Close(ctx)
	go func() {
		if s.before != nil {
			<-s.before
		}
		<-s.Gone()
		close(s.ended)
	}()
	return err
}

// eachService calls f with every service there is.
func eachService(f func(*sessionbackend.Service)) {
	var all []*sharedService
	services.Range(func(_, value any) bool {
		all = append(all, value.(*sharedService))
		return true
	})
	for _, service := range all {
		f(service.Service)
	}
}
