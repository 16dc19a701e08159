package sessionstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"go.uber.org/zap"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// DefaultRedisTimeout is RedisOptions.Timeout where that is zero.
const DefaultRedisTimeout = 2 * time.Second

// DefaultKeyPrefix is RedisOptions.KeyPrefix where that is empty.
const DefaultKeyPrefix = "webtask"

// RedisOptions say which Redis to use and how. The zero value is the server
// at 127.0.0.1:6379.
type RedisOptions struct {
	// Addresses are host:port; the port may be left out (6379, under Sentinel
	// 26379). One is a standalone server, or the path of a Unix socket; several
	// are seeds of a Cluster; with MasterName they are the Sentinels.
	Addresses []string

	// MasterName is the name under which the Sentinels know the master.
	MasterName string

	// Cluster makes a single address the seed, or configuration endpoint, of a
	// Cluster.
	Cluster bool

	// Username (an ACL user; empty: "default") and Password are those of the
	// data servers, SentinelUsername and SentinelPassword those of the Sentinels.
	// An ACL user needs no more than this (Cluster: `+cluster|slots
	// +cluster|shards` besides; db other than 0: `+select`):
	//
	//	ACL SETUSER edge on >… ~webtask:* -@all +eval +evalsha +exists
	//	  +hget +hgetall +hmget +hset +hsetnx +hdel +del +rename +time
	//	  +pexpire +pexpireat +pttl +zadd +zrem +zcount +zrangebyscore +zscore
	//	  +get +incr +info +hscan
	//
	// The last two are for Leases only.
	Username, Password                 string
	SentinelUsername, SentinelPassword string

	// DB is the database to select. A Cluster has none but 0.
	DB int

	// KeyPrefix begins every key, so that edges which are to share nothing can
	// share a server. Default: "webtask".
	KeyPrefix string

	// TLS, if set, is used for connections to data servers and Sentinels; see
	// RedisTLS.
	TLS *tls.Config

	// Timeout bounds every call, connecting included. Default: 2 s.
	Timeout time.Duration

	// PoolSize bounds the connections to one server. Default: 10 per CPU.
	PoolSize int

	// Logger is told when a server becomes unreachable and when it is back.
	// Default: none.
	Logger *zap.Logger
}

// Redis is a store in Redis 6.2 or later, or a server compatible with it. It
// is safe for concurrent use.
//
// Redis acknowledges a write once it is in its memory. What survives a crash of
// it is decided by its persistence (`appendonly yes` with `appendfsync always`:
// every acknowledged write) and what survives a failover by its replication,
// which is asynchronous.
type Redis struct {
	client  redis.UniversalClient
	cluster *redis.ClusterClient // client, where it is one
	prefix  string
	timeout time.Duration
	secrets []string // never shown in an error
	logger  *zap.Logger

	whole    breaker // of the server, or of the Cluster's layout
	mu       sync.RWMutex
	breakers map[string]*breaker // of a Cluster's nodes, by address
}

// NewRedis returns a store. It does not connect; the first call does. It fails
// if options contradict each other.
func NewRedis(options RedisOptions) (*Redis, error) {
	universal, err := options.universal()
	if err != nil {
		return nil, fmt.Errorf("redis store: %w", err)
	}
	return newRedis(options, universal), nil
}

func newRedis(options RedisOptions, universal *redis.UniversalOptions) *Redis {
	silenceClientLog()
	s := &Redis{
		client:   redis.NewUniversalClient(universal),
		prefix:   options.KeyPrefix,
		timeout:  universal.DialTimeout,
		logger:   options.Logger,
		breakers: map[string]*breaker{},
	}
	s.cluster, _ = s.client.(*redis.ClusterClient)
	if s.prefix == "" {
		s.prefix = DefaultKeyPrefix
	}
	if s.logger == nil {
		s.logger = zap.NewNop()
	}
	for _, secret := range []string{options.Password, options.SentinelPassword} {
		if secret != "" {
			s.secrets = append(s.secrets, secret)
		}
	}
	s.whole = breaker{now: time.Now, onChange: s.logChange(strings.Join(universal.Addrs, " "))}
	return s
}

func (o RedisOptions) universal() (*redis.UniversalOptions, error) {
	addresses, err := o.addresses()
	if err != nil {
		return nil, err
	}
	cluster := o.MasterName == "" && (o.Cluster || len(addresses) > 1)
	switch {
	case o.Cluster && o.MasterName != "":
		return nil, errors.New("cluster and a Sentinel master name exclude each other; name one of them")
	case cluster && o.DB != 0:
		return nil, fmt.Errorf("db %d: a Redis Cluster has only db 0; use key_prefix to keep edges apart", o.DB)
	case o.DB < 0:
		return nil, fmt.Errorf("db %d: must not be negative", o.DB)
	case strings.ContainsAny(o.KeyPrefix, "{}"):
		return nil, fmt.Errorf("key_prefix %q: must have no braces, which decide where a Cluster keeps a key", o.KeyPrefix)
	case o.Timeout < 0:
		return nil, fmt.Errorf("timeout %v: must not be negative", o.Timeout)
	}
	timeout := o.Timeout
	if timeout == 0 {
		timeout = DefaultRedisTimeout
	}
	return &redis.UniversalOptions{
		Addrs:            addresses,
		MasterName:       o.MasterName,
		IsClusterMode:    cluster,
		Username:         o.Username,
		Password:         o.Password,
		SentinelUsername: o.SentinelUsername,
		SentinelPassword: o.SentinelPassword,
		DB:               o.DB,
		TLSConfig:        o.TLS,
		PoolSize:         o.PoolSize,

		// One call takes at most timeout, for its context says so; these keep
		// what the client does beside calls within the same bound.
		ContextTimeoutEnabled: true,
		DialTimeout:           timeout,
		ReadTimeout:           timeout,
		WriteTimeout:          timeout,
		PoolTimeout:           timeout,

		// A write whose answer was lost must not be sent again: it could apply
		// twice. And a server that cannot be dialed is left to the breaker.
		MaxRetries:    -1,
		DialerRetries: 1,

		// Nothing that RESP3 adds is used, and an ACL user need not be allowed
		// to name the client or to subscribe to maintenance.
		Protocol:                 2,
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}, nil
}

func (o RedisOptions) addresses() ([]string, error) {
	port := "6379"
	if o.MasterName != "" {
		port = "26379"
	}
	if len(o.Addresses) == 0 {
		return []string{net.JoinHostPort("127.0.0.1", port)}, nil
	}
	addresses := make([]string, len(o.Addresses))
	for i, address := range o.Addresses {
		switch {
		case address == "":
			return nil, errors.New("address: must not be empty; write host:port")
		case strings.ContainsAny(address, "@") || strings.Contains(address, "://"):
			// Not shown: a URL may carry the password.
			return nil, errors.New("address: is a URL; write host:port, and user name, password and db as options of their own")
		case strings.HasPrefix(address, "/"):
			if len(o.Addresses) > 1 || o.MasterName != "" || o.Cluster {
				return nil, fmt.Errorf("address %s: a Unix socket is one standalone server; name it alone", address)
			}
			addresses[i] = address
			continue
		}
		if _, _, err := net.SplitHostPort(address); err != nil {
			host := strings.TrimSuffix(strings.TrimPrefix(address, "["), "]")
			if _, err := netip.ParseAddr(host); err != nil && strings.ContainsAny(host, "[]:") {
				return nil, fmt.Errorf("address %q: write host:port", address)
			}
			address = net.JoinHostPort(host, port)
		}
		addresses[i] = address
	}
	return addresses, nil
}

// Engine is the name of the engine, as metrics have it.
func (s *Redis) Engine() string { return "redis" }

// Ping asks whether the store can be reached.
func (s *Redis) Ping(ctx context.Context) error {
	// PING would go to any node of a Cluster, and its answer mean nothing.
	key := s.prefix + ":ping"
	return s.call(ctx, key, func(ctx context.Context) error {
		return s.client.Exists(ctx, key).Err()
	})
}

// Close closes all connections. Calls made later fail.
func (s *Redis) Close() error {
	if err := s.client.Close(); err != nil && !errors.Is(err, redis.ErrClosed) {
		return fmt.Errorf("closing the redis store: %w", err)
	}
	return nil
}

// call runs do, bounded in time and, while the server that has key is down, not
// at all. The caller's deadline and cancellation do not reach into it: they
// would break a connection in the middle of an answer and leave open what
// became of a write, and all they could save is what is left of the timeout.
func (s *Redis) call(ctx context.Context, key string, do func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.timeout)
	defer cancel()
	b, err := s.breakerOf(ctx, key)
	if err != nil {
		return s.fail(err)
	}
	if err := b.allow(); err != nil {
		return s.fail(err)
	}
	err = do(ctx)
	if isDown(err) {
		b.report(err)
	} else {
		b.report(nil)
	}
	if err == nil || errors.Is(err, redis.Nil) {
		return err
	}
	return s.fail(err)
}

// fail makes err one of an unavailable store, without what it must not show.
func (s *Redis) fail(err error) error {
	if errors.Is(err, redis.ErrClosed) {
		err = errClosed
	}
	text := err.Error()
	shown := text
	for _, secret := range s.secrets {
		shown = strings.ReplaceAll(shown, secret, "[redacted]")
	}
	if strings.HasPrefix(shown, "WRONGPASS") || strings.HasPrefix(shown, "NOAUTH") || strings.HasPrefix(shown, "NOPERM") {
		shown += " (check the store's username and password, and what the ACL lets that user do)"
	}
	if shown != text {
		return fmt.Errorf("%w: redis: %s", webtask.ErrStoreUnavailable, shown)
	}
	return fmt.Errorf("%w: redis: %w", webtask.ErrStoreUnavailable, err)
}
