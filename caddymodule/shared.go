package caddymodule

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/webtask-edge/caddy-webtask/edge"
	"github.com/webtask-edge/caddy-webtask/egress"
	"github.com/webtask-edge/caddy-webtask/jsruntime/source"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

// What outlives a configuration is kept here, each keyed by the configuration
// that it was made of: a reload that does not change that keeps isolates warm,
// code loaded, tokens verified and the store open. A value is destructed when
// the last configuration that used it is done with its requests.
var (
	stores    = caddy.NewUsagePool() // *sharedStore
	engines   = caddy.NewUsagePool() // *sharedEngine
	loaders   = caddy.NewUsagePool() // *sharedLoader
	verifiers = caddy.NewUsagePool() // *sharedVerifier
)

// drainTimeout is how long an engine that nobody uses any more may take to
// finish work that outlives its request: streams and waitUntil.
const drainTimeout = 30 * time.Second

// holdings are the references that one configuration holds.
type holdings struct {
	release []func() error
}

// hold takes the value of key out of a pool, making it if it is not there.
func hold[T caddy.Destructor](h *holdings, pool *caddy.UsagePool, key any, make func() (T, error)) (T, error) {
	value, _, err := pool.LoadOrNew(key, func() (caddy.Destructor, error) { return make() })
	if err != nil {
		// A constructor that failed left nothing in the pool to delete.
		var none T
		return none, err
	}
	h.release = append(h.release, func() error {
		_, err := pool.Delete(key)
		return err
	})
	return value.(T), nil
}

// drop gives all references back, the last one taken first.
func (h *holdings) drop(logger *zap.Logger) {
	for _, release := range slices.Backward(h.release) {
		if err := release(); err != nil {
			logger.Error("releasing what a configuration shared", zap.Error(err))
		}
	}
	h.release = nil
}

// contentKey is the identity of a configuration in a pool. It is a digest, for
// a store's configuration holds passwords.
func contentKey(config any) (string, error) {
	text, err := json.Marshal(config)
	if err != nil {
		return "", fmt.Errorf("describing the configuration: %w", err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(text)), nil
}

// sharedStore is a store, and the revoked tokens that were read from it.
type sharedStore struct {
	storeEngine
	revocations *edge.Revocations
}

type storeKey struct {
	Store  Store
	Strict time.Duration
}

func holdStore(h *holdings, config storeKey) (*sharedStore, error) {
	key, err := contentKey(config)
	if err != nil {
		return nil, err
	}
	return hold(h, stores, key, func() (*sharedStore, error) {
		engine, err := config.Store.open(sharedLog.logger("store"))
		if err != nil {
			return nil, err
		}
		return &sharedStore{
			storeEngine: engine,
			revocations: edge.NewRevocations(engine, edge.RevocationOptions{
				StrictAfter: config.Strict,
				Logger:      sharedLog.logger("revocations"),
				Observer:    metrics,
			}),
		}, nil
	})
}

// Destruct implements caddy.Destructor.
func (s *sharedStore) Destruct() error {
	if err := s.revocations.Close(); err != nil {
		return err
	}
	return s.Close()
}

// sharedLoader fetches code; its transport sends the fetches of scripts too.
type sharedLoader struct {
	*source.Loader
	transport *egress.Transport
	policy    *egress.Policy
}

type loaderKey struct {
	Engine      engineKey // identifies the engine that compiles
	CodeAllow   []string
	CodeMaxAge  caddy.Duration
	CodeSize    int64
	EgressAllow []string
	CacheDir    string
}

func holdLoader(h *holdings, config loaderKey, engine *sharedEngine) (*sharedLoader, error) {
	key, err := contentKey(config)
	if err != nil {
		return nil, err
	}
	return hold(h, loaders, key, func() (*sharedLoader, error) {
		policy, err := egress.ParsePolicy(config.EgressAllow)
		if err != nil {
			return nil, fmt.Errorf("egress: %w", err)
		}
		transport := egress.NewTransport(policy, egress.TransportOptions{Forbidden: ownListeners.isPrivate})
		loader, err := source.NewLoader(source.Options{
			Transport: transport,
			CacheDir:  config.CacheDir,
			Allow:     config.CodeAllow,
			MaxAge:    time.Duration(config.CodeMaxAge),
			CodeSize:  config.CodeSize,
			Check:     engine.programs.Check,
			Bundler:   engine.bundler,
			Observe:   metrics.codeLoaded,
			Logger:    sharedLog.logger("code"),
		})
		if err != nil {
			transport.Close()
			return nil, err
		}
		return &sharedLoader{loader, transport, policy}, nil
	})
}

// Destruct implements caddy.Destructor.
func (l *sharedLoader) Destruct() error {
	err := l.Close()
	l.transport.Close()
	return err
}

// codeCacheDir is where fetched code is kept, so that a restart survives a
// dead origin.
func codeCacheDir() string { return filepath.Join(caddy.AppDataDir(), "webtask", "code") }

// sharedVerifier opens tokens and remembers those it has verified. Its key is
// the content of the keyring: changed keys start with nothing verified.
type sharedVerifier struct {
	*webtask.Verifier
}

func holdVerifier(h *holdings, ring *webtask.Keyring) (*sharedVerifier, error) {
	text, err := ring.JWKS()
	if err != nil {
		return nil, err
	}
	return hold(h, verifiers, sha256.Sum256(text), func() (*sharedVerifier, error) {
		verifier, err := webtask.NewVerifier(ring, webtask.VerifierOptions{})
		if err != nil {
			return nil, err
		}
		return &sharedVerifier{verifier}, nil
	})
}

// Destruct implements caddy.Destructor; a verifier owns nothing.
func (*sharedVerifier) Destruct() error { return nil }
