package sessionstore

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// breakerOf returns the breaker of the server that key is on. Each node of a
// Cluster has its own, so that one that is down costs only its own sessions.
func (s *Redis) breakerOf(ctx context.Context, key string) (*breaker, error) {
	if s.cluster == nil {
		return &s.whole, nil
	}
	if err := s.whole.allow(); err != nil {
		return nil, err
	}
	// The Cluster's layout is known to the client; it asks for it only at first
	// and from time to time.
	node, err := s.cluster.MasterForKey(ctx, key)
	if err != nil {
		s.whole.report(err)
		return nil, err
	}
	s.whole.report(nil)

	addr := node.Options().Addr
	s.mu.RLock()
	b := s.breakers[addr]
	s.mu.RUnlock()
	if b != nil {
		return b, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if b = s.breakers[addr]; b == nil {
		b = &breaker{now: time.Now, onChange: s.logChange(addr)}
		s.breakers[addr] = b
	}
	return b, nil
}

// isDown reports whether err says that the server cannot be reached or does not
// answer, as against an answer that is an error.
func isDown(err error) bool {
	var answered redis.Error
	if err == nil || errors.As(err, &answered) || errors.Is(err, redis.ErrClosed) {
		return false
	}
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.EOF) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, redis.ErrPoolTimeout)
}

func (s *Redis) logChange(addr string) func(bool, error) {
	return func(down bool, cause error) {
		if down {
			s.logger.Warn("session store is unreachable", zap.String("address", addr), zap.NamedError("error", s.fail(cause)))
		} else {
			s.logger.Info("session store is reachable again", zap.String("address", addr))
		}
	}
}

// silenceClientLog keeps go-redis from writing lines of its own to stderr, past
// the server's log. What they say is in the errors of calls, and in logChange.
var silenceClientLog = sync.OnceFunc(func() { redis.SetLogger(silent{}) })

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}
