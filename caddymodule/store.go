package caddymodule

import (
	"crypto/tls"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/webtask-edge/caddy-webtask/edge"
	"github.com/webtask-edge/caddy-webtask/sessionstore"
)

// Store says where session state, revoked tokens and rate windows are kept.
type Store struct {
	// The engine: `file`, an embedded database for one process, or `redis`,
	// shared by all edges that name the same servers. Default: `file`.
	Engine string `json:"engine,omitempty"`

	// `file`: the database. Default: `webtask/store.db` in Caddy's data
	// directory.
	Path string `json:"path,omitempty"`

	// `redis`: the servers, as host:port. One is a standalone server, several
	// are seeds of a Cluster, or with `sentinel` the Sentinels. Default:
	// `127.0.0.1:6379`.
	Addresses []string `json:"addresses,omitempty"`

	// `redis`: the name of the master that the Sentinels watch.
	Sentinel string `json:"sentinel,omitempty"`

	// `redis`: whether a single address is the seed of a Cluster.
	Cluster bool `json:"cluster,omitempty"`

	// `redis`: the ACL user and the password. Both may be a global
	// placeholder, {env.NAME} or {file./path}, resolved when the server starts.
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`

	// `redis`: the user and the password of the Sentinels; the same.
	SentinelUsername string `json:"sentinel_username,omitempty"`
	SentinelPassword string `json:"sentinel_password,omitempty"`

	// `redis`: the database to select. Default: 0. A Cluster has no other.
	DB int `json:"db,omitempty"`

	// `redis`: what every key begins with. Default: `webtask`.
	KeyPrefix string `json:"key_prefix,omitempty"`

	// `redis`: how long a call may take, connecting included. Default: 2s.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// `redis`: use TLS; the zero value verifies with the system's roots.
	TLS *StoreTLS `json:"tls,omitempty"`
}

// StoreTLS names the files of the TLS configuration of a Redis client.
type StoreTLS struct {
	// PEM certificates that the servers' must chain to. Default: the system's.
	CA string `json:"ca,omitempty"`

	// PEM certificate and key to show to servers that ask for one.
	Cert string `json:"cert,omitempty"`
	Key  string `json:"key,omitempty"`

	// The name that the servers' certificate must have. Default: the host of
	// the address.
	ServerName string `json:"server_name,omitempty"`
}

// storeEngine is what both engines are.
type storeEngine interface {
	edge.SessionStore
	edge.RevocationStore
	edge.RateStore
	Engine() string
	Close() error
}

// parseStore reads the option store.
func parseStore(d *caddyfile.Dispenser) (*Store, error) {
	args, err := someArgs(d)
	if err != nil {
		return nil, err
	}
	store := &Store{Engine: args[0]}
	switch args[0] {
	case "file":
		if len(args) > 2 {
			return nil, d.Err("store file takes at most a path")
		}
		if len(args) == 2 {
			if store.Path, err = FilePath(d, args[1]); err != nil {
				return nil, err
			}
		}
		return store, parseBlock(d, "store file", nil, store)
	case "redis":
		if len(args) > 1 {
			return nil, d.Err("store redis takes a block; write the server as `address <host:port>` in it")
		}
		return store, parseBlock(d, "store redis", redisOptions, store)
	}
	return nil, d.Errf("unknown store %q; it is file or redis", args[0])
}

// redisOptions are the options of `store redis`.
var redisOptions = []option[*Store]{
	{
		name: "address", syntax: "<host:port...>", dflt: "127.0.0.1:6379", repeats: true,
		parse: func(d *caddyfile.Dispenser, s *Store) error {
			addresses, err := someArgs(d)
			s.Addresses = append(s.Addresses, addresses...)
			return err
		},
	},
	{name: "sentinel", syntax: "<master name>", dflt: "none", parse: stringOption(func(s *Store) *string { return &s.Sentinel })},
	{
		name: "cluster", dflt: "when there are several addresses and no sentinel",
		parse: func(d *caddyfile.Dispenser, s *Store) error { return flagArg(d, &s.Cluster) },
	},
	{name: "username", syntax: "<user>", dflt: "the default user", parse: stringOption(func(s *Store) *string { return &s.Username })},
	{name: "password", syntax: "<password>", dflt: "none", parse: stringOption(func(s *Store) *string { return &s.Password })},
	{name: "sentinel_username", syntax: "<user>", dflt: "the default user", parse: stringOption(func(s *Store) *string { return &s.SentinelUsername })},
	{name: "sentinel_password", syntax: "<password>", dflt: "none", parse: stringOption(func(s *Store) *string { return &s.SentinelPassword })},
	{
		name: "db", syntax: "<number>", dflt: "0",
		parse: func(d *caddyfile.Dispenser, s *Store) error {
			value, err := oneArg(d)
			if err != nil {
				return err
			}
			if s.DB, err = strconv.Atoi(value); err != nil || s.DB < 0 {
				return d.Errf("db: %q is not the number of a database; write 0 or more", value)
			}
			return nil
		},
	},
	{name: "key_prefix", syntax: "<text>", dflt: sessionstore.DefaultKeyPrefix, parse: stringOption(func(s *Store) *string { return &s.KeyPrefix })},
	{
		name: "timeout", syntax: "<duration>", dflt: sessionstore.DefaultRedisTimeout.String(),
		parse: func(d *caddyfile.Dispenser, s *Store) error {
			value, err := oneArg(d)
			if err != nil {
				return err
			}
			if s.Timeout, err = parseDuration("timeout", value); err != nil {
				return d.WrapErr(err)
			}
			return nil
		},
	},
	{
		name: "tls", syntax: "[{ … }]", dflt: "no TLS",
		parse: func(d *caddyfile.Dispenser, s *Store) error {
			var on bool
			if err := flagArg(d, &on); err != nil {
				return err
			}
			s.TLS = new(StoreTLS)
			return parseBlock(d, "tls", tlsOptions, s.TLS)
		},
	},
}

// tlsOptions are the options of `tls` in `store redis`.
var tlsOptions = []option[*StoreTLS]{
	{
		name: "ca", syntax: "<file>", dflt: "the system's certificates",
		parse: func(d *caddyfile.Dispenser, t *StoreTLS) (err error) {
			t.CA, err = pathArg(d)
			return err
		},
	},
	{
		name: "cert", syntax: "<certificate file> <key file>", dflt: "none",
		parse: func(d *caddyfile.Dispenser, t *StoreTLS) (err error) {
			var cert, key string
			if !d.AllArgs(&cert, &key) {
				return d.Err("option cert takes a certificate file and a key file")
			}
			if t.Cert, err = FilePath(d, cert); err != nil {
				return err
			}
			t.Key, err = FilePath(d, key)
			return err
		},
	},
	{
		name: "server_name", syntax: "<name>", dflt: "the host of the address",
		parse: func(d *caddyfile.Dispenser, t *StoreTLS) (err error) {
			t.ServerName, err = oneArg(d)
			return err
		},
	},
}

func stringOption[T any](at func(T) *string) func(*caddyfile.Dispenser, T) error {
	return func(d *caddyfile.Dispenser, target T) (err error) {
		*at(target), err = oneArg(d)
		return err
	}
}

// resolve returns the store with placeholders replaced and defaults filled in.
// The result never goes back into a configuration.
func (s *Store) resolve() (Store, error) {
	var resolved Store
	if s != nil {
		resolved = *s
	}
	if resolved.TLS != nil {
		files := *resolved.TLS
		resolved.TLS = &files
	}
	repl := caddy.NewReplacer()
	values := map[string]*string{
		"path": &resolved.Path, "sentinel": &resolved.Sentinel, "username": &resolved.Username,
		"password": &resolved.Password, "sentinel_username": &resolved.SentinelUsername,
		"sentinel_password": &resolved.SentinelPassword, "key_prefix": &resolved.KeyPrefix,
	}
	if resolved.TLS != nil {
		values["tls.ca"], values["tls.cert"] = &resolved.TLS.CA, &resolved.TLS.Cert
		values["tls.key"], values["tls.server_name"] = &resolved.TLS.Key, &resolved.TLS.ServerName
	}
	for name, value := range values {
		if err := ResolvePlaceholders(repl, value); err != nil {
			return Store{}, fmt.Errorf("store: %s: %w", name, err)
		}
	}
	var addresses []string
	for _, address := range resolved.Addresses {
		if err := ResolvePlaceholders(repl, &address); err != nil {
			return Store{}, fmt.Errorf("store: address: %w", err)
		}
		// One placeholder may bring several addresses.
		addresses = append(addresses, strings.Fields(strings.ReplaceAll(address, ",", " "))...)
	}
	resolved.Addresses = addresses
	switch resolved.Engine {
	case "", "file":
		resolved.Engine = "file"
		if resolved.Path == "" {
			resolved.Path = filepath.Join(caddy.AppDataDir(), "webtask", "store.db")
		}
	case "redis":
	default:
		return Store{}, fmt.Errorf("store: engine %q is unknown; it is file or redis", resolved.Engine)
	}
	return resolved, nil
}

// ResolvePlaceholders replaces the global placeholders of *value; one that is
// unknown or empty is an error, which names it but no value. The result never
// goes back into a configuration.
func ResolvePlaceholders(repl *caddy.Replacer, value *string) error {
	if !strings.Contains(*value, "{") {
		return nil
	}
	replaced, err := repl.ReplaceOrErr(*value, true, true)
	if err != nil {
		return fmt.Errorf("%w; set it before the server starts ({env.NAME} takes an environment variable, {file./absolute/path} the text of a file)", err)
	}
	*value = replaced
	return nil
}

// open returns the engine of a resolved store. It opens and connects nothing.
func (s *Store) open(logger *zap.Logger) (storeEngine, error) {
	if s.Engine == "file" {
		return sessionstore.NewFile(s.Path, sessionstore.FileOptions{Logger: logger}), nil
	}
	options, err := s.redisOptions(logger)
	if err != nil {
		return nil, err
	}
	return sessionstore.NewRedis(options)
}

// redisOptions returns how a resolved store reaches Redis.
func (s *Store) redisOptions(logger *zap.Logger) (sessionstore.RedisOptions, error) {
	options := sessionstore.RedisOptions{
		Addresses:        s.Addresses,
		MasterName:       s.Sentinel,
		Cluster:          s.Cluster,
		Username:         s.Username,
		Password:         s.Password,
		SentinelUsername: s.SentinelUsername,
		SentinelPassword: s.SentinelPassword,
		DB:               s.DB,
		KeyPrefix:        s.KeyPrefix,
		Timeout:          time.Duration(s.Timeout),
		Logger:           logger,
	}
	if s.TLS != nil {
		config, err := s.TLS.config()
		if err != nil {
			return options, err
		}
		options.TLS = config
	}
	return options, nil
}

func (t *StoreTLS) config() (*tls.Config, error) {
	return sessionstore.RedisTLS{CAFile: t.CA, CertFile: t.Cert, KeyFile: t.Key, ServerName: t.ServerName}.Config()
}
