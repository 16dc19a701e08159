package caddymodule

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/webtask-edge/caddy-webtask/sessionbackend"
	"github.com/webtask-edge/caddy-webtask/sessionbackend/peer"
	"github.com/webtask-edge/caddy-webtask/sessionstore"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

// backendCluster is this edge as one of several that share session backends.
type backendCluster struct {
	*sessionbackend.Cluster
	settings clusterSettings
	leases   *sessionstore.Leases
	start    sync.Once

	mu        sync.Mutex
	secrets   [][]byte // of authority
	authority *peer.Authority
	server    *peer.Server // nil before there is a life, as client
	client    *peer.Client
}

// clusterSettings are what all configurations of a process have alike, as long as
// it has session backends.
type clusterSettings struct {
	Node, Listen, Advertise string
	Lease                   time.Duration
	Store                   Store // as resolved
}

// checkCluster reports what is wrong with the options about several edges.
func (a *App) checkCluster() error {
	if a.PeerListen == "" {
		if a.Node != "" || a.Lease != 0 || a.PeerAddress != "" {
			return errors.New("node, lease: are for several servers that share session backends; write peer_listen, too, as in `peer_listen :7946`")
		}
		return nil
	}
	if a.Store == nil || a.Store.Engine != "redis" {
		return errors.New("peer_listen: servers learn of each other's session backends in Redis; write `store redis`, too")
	}
	if a.Node != "" && !strings.Contains(a.Node, "{") {
		if err := sessionbackend.CheckNodeName(a.Node); err != nil {
			return fmt.Errorf("node: %w", err)
		}
	}
	if lease := time.Duration(a.Lease); lease != 0 && (lease < sessionbackend.MinLease || lease > sessionbackend.MaxLease) {
		return fmt.Errorf("lease: %v is out of range; it can be %v to %v", lease, sessionbackend.MinLease, sessionbackend.MaxLease)
	}
	for option, address := range map[string]string{"peer_listen": a.PeerListen, "the address of peer_listen for others": a.PeerAddress} {
		if address == "" || strings.Contains(address, "{") {
			continue
		}
		if _, _, err := net.SplitHostPort(address); err != nil {
			return fmt.Errorf("%s: %q is no address; write host:port, or :port for all of this machine's", option, address)
		}
	}
	return nil
}

// clusterSettings returns the settings of this configuration; nil: it is alone.
func (a *App) clusterSettings() (*clusterSettings, error) {
	if a.PeerListen == "" {
		return nil, nil
	}
	store, err := a.Store.resolve()
	if err != nil {
		return nil, err
	}
	s := &clusterSettings{Node: a.Node, Listen: a.PeerListen, Advertise: a.PeerAddress, Lease: cmp.Or(time.Duration(a.Lease), sessionbackend.DefaultLease), Store: store}
	repl := caddy.NewReplacer()
	for option, value := range map[string]*string{"node": &s.Node, "peer_listen": &s.Listen, "peer_listen (for others)": &s.Advertise} {
		if err := ResolvePlaceholders(repl, value); err != nil {
			return nil, fmt.Errorf("%s: %w", option, err)
		}
	}
	if s.Node == "" {
		if s.Node, err = os.Hostname(); err != nil {
			return nil, fmt.Errorf("node: the name of this machine is unknown; write one: %w", err)
		}
	}
	return s, nil
}

// newBackendCluster returns the cluster of a host. It connects to nothing yet.
func newBackendCluster(host *BackendHost, settings clusterSettings) (*backendCluster, error) {
	options, err := settings.Store.redisOptions(host.Logger)
	if err != nil {
		return nil, err
	}
	c := &backendCluster{settings: settings}
	if c.leases, err = sessionstore.NewLeases(options, settings.Lease); err != nil {
		return nil, err
	}
	c.Cluster, err = sessionbackend.NewCluster(sessionbackend.ClusterOptions{
		Name: settings.Node, Node: host.Node, Store: c.leases, Lease: settings.Lease, Logger: host.Logger,
		Settle: host.settle,
		Begin: func(ctx context.Context, life string) (string, error) {
			return c.begin(ctx, host, peer.Identity{Node: settings.Node, Life: life})
		},
	})
	return c, err
}

// use has the cluster take part, with the keys of a configuration that starts.
func (c *backendCluster) use(ring *webtask.Keyring) error {
	secrets, err := ring.Secrets("webtask/peer/1")
	if err != nil {
		return err
	}
	c.mu.Lock()
	same := slices.EqualFunc(secrets, c.secrets, bytes.Equal)
	c.mu.Unlock()
	if same {
		return nil
	}
	authority, err := peer.NewAuthority(secrets)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.secrets, c.authority = secrets, authority
	server, client := c.server, c.client
	c.mu.Unlock()
	if server != nil {
		err = errors.Join(server.SetAuthority(authority), client.SetAuthority(authority))
	}
	c.start.Do(c.Start)
	return err
}

// begin listens to other edges, and returns where.
func (c *backendCluster) begin(ctx context.Context, host *BackendHost, self peer.Identity) (address string, err error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", c.settings.Listen)
	if err != nil {
		return "", fmt.Errorf("peer_listen: %w", err)
	}
	if address, err = c.reachedAt(ctx, listener.Addr()); err != nil {
		listener.Close()
		return "", err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	server, err := peer.NewServer(peer.ServerOptions{Self: self, Authority: c.authority, Serve: servePeer, Logger: host.Logger})
	if err != nil {
		listener.Close()
		return "", err
	}
	client, err := peer.NewClient(peer.ClientOptions{Self: self, Authority: c.authority, Silence: c.settings.Lease})
	if err != nil {
		listener.Close()
		return "", err
	}
	c.server, c.client = server, client
	go func() {
		if err := server.Serve(listener); err != nil {
			host.Logger.Error("other servers cannot reach the session backends of this one any more", zap.Error(err))
		}
	}()
	host.Logger.Info("this server shares session backends with others", zap.String("node", self.Node), zap.String("address", address))
	return address, nil
}

// reachedAt returns where other edges reach this one: unless it is configured, the
// address by which this machine reaches the store.
func (c *backendCluster) reachedAt(ctx context.Context, listening net.Addr) (string, error) {
	if c.settings.Advertise != "" {
		return c.settings.Advertise, nil
	}
	host, port, err := net.SplitHostPort(listening.String())
	if err != nil {
		return "", fmt.Errorf("peer_listen: %w", err)
	}
	if ip := net.ParseIP(host); ip != nil && !ip.IsUnspecified() {
		return listening.String(), nil
	}
	store := "127.0.0.1:6379"
	if len(c.settings.Store.Addresses) > 0 {
		store = c.settings.Store.Addresses[0]
	}
	if strings.HasPrefix(store, "/") {
		store = "127.0.0.1:6379" // a socket of this machine
	}
	if _, _, err := net.SplitHostPort(store); err != nil {
		store = net.JoinHostPort(strings.Trim(store, "[]"), "6379")
	}
	conn, err := new(net.Dialer).DialContext(ctx, "udp", store) // sends nothing
	if err != nil {
		return "", fmt.Errorf("peer_listen: where others reach this server is unknown, for the store is; write it as a second argument, as in `peer_listen :7946 10.0.0.1:7946`: %w", err)
	}
	defer conn.Close()
	own, _, err := net.SplitHostPort(conn.LocalAddr().String())
	if err != nil {
		return "", fmt.Errorf("peer_listen: %w", err)
	}
	return net.JoinHostPort(own, port), nil
}

// Close ends the connections to other edges and to Redis. The Cluster has been closed
// before.
func (c *backendCluster) Close(ctx context.Context) error {
	c.mu.Lock()
	server, client := c.server, c.client
	c.mu.Unlock()
	errs := []error{c.leases.Close()}
	if server != nil {
		_ = server.Close(ctx) // requests that go on are of backends that are gone
		client.Close()
	}
	return errors.Join(errs...)
}

// peers returns the client of other edges.
func (c *backendCluster) peers() *peer.Client {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.client
}
