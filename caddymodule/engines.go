package caddymodule

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/webtask-edge/caddy-webtask/edge"
	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/jsruntime/nodeapi"
	"github.com/webtask-edge/caddy-webtask/jsruntime/source"
	"github.com/webtask-edge/caddy-webtask/jsruntime/webapi"
)

// sharedEngine is a runtime with its isolates, the programs that it has, what
// parses their source, and what their scripts have fetched.
type sharedEngine struct {
	isolateRunner
	programs *edge.Programs
	traffic  *edge.Traffic
	bundler  codeParser
	said     sync.Once // how it is sandboxed
}

// isolateRunner runs isolates, in this process or in workers.
type isolateRunner interface {
	edge.Runner
	Stats() []jsruntime.PoolStats
	Flush(container, key string) (flushed int)
	Close(ctx context.Context) error
}

// codeParser parses what authors wrote, in this process or in ones that are
// thrown away.
type codeParser interface {
	source.Bundler
	Close() error
}

type inProcess struct{ source.InProcess }

// Close implements codeParser; there is nothing to end.
func (inProcess) Close() error { return nil }

type engineKey struct {
	Queue   Queue
	Workers bool
	Strict  bool
	Memory  int64 // of a worker
}

// open starts what runs isolates and what parses code.
func (k engineKey) open() (isolateRunner, codeParser, error) {
	if k.Workers {
		return k.openWorkers()
	}
	return jsruntime.NewEngine(jsruntime.Options{
		Web:         webapi.New(),
		Node:        nodeapi.New(),
		QueueLength: k.Queue.Length,
		QueueWait:   time.Duration(k.Queue.Wait),
		Logger:      sharedLog.logger("isolates"),
		Observer:    metrics,
	}), inProcess{}, nil
}

func holdEngine(h *holdings, key engineKey) (*sharedEngine, error) {
	return hold(h, engines, key, func() (*sharedEngine, error) {
		engine, bundler, err := key.open()
		if err != nil {
			return nil, err
		}
		shared := &sharedEngine{isolateRunner: engine, bundler: bundler, traffic: edge.NewTraffic()}
		if shared.programs, err = edge.NewPrograms(engine, 0); err != nil {
			return nil, errors.Join(err, shared.Destruct())
		}
		return shared, nil
	})
}

// announce says once how the workers of this engine are locked up: what a host
// allows differs, and an operator has to see it.
func (e *sharedEngine) announce(logger *zap.Logger) {
	workers, ok := e.isolateRunner.(interface {
		Sandbox() (layers string, missing error)
	})
	if !ok {
		return
	}
	e.said.Do(func() {
		layers, missing := workers.Sandbox()
		if missing != nil {
			logger.Warn("worker processes are sandboxed, but this host or build lacks a layer", zap.String("layers", layers))
			return
		}
		logger.Info("worker processes are sandboxed", zap.String("layers", layers))
	})
}

// Destruct implements caddy.Destructor: requests have ended by now, but what
// they left behind may go on for a while.
func (e *sharedEngine) Destruct() error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	return errors.Join(e.Close(ctx), e.bundler.Close())
}
