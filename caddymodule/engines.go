package caddymodule

import (
	"context"
	"errors"
	"time"

	"github.com/webtask-edge/caddy-webtask/edge"
	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/jsruntime/nodeapi"
	"github.com/webtask-edge/caddy-webtask/jsruntime/source"
	"github.com/webtask-edge/caddy-webtask/jsruntime/webapi"
)

// sharedEngine is a runtime with its isolates, the programs that it has, and
// what parses their source.
type sharedEngine struct {
	isolateRunner
	programs *edge.Programs
	bundler  codeParser
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
		shared := &sharedEngine{isolateRunner: engine, bundler: bundler}
		if shared.programs, err = edge.NewPrograms(engine, 0); err != nil {
			return nil, errors.Join(err, shared.Destruct())
		}
		return shared, nil
	})
}

// Destruct implements caddy.Destructor: requests have ended by now, but what
// they left behind may go on for a while.
func (e *sharedEngine) Destruct() error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	return errors.Join(e.Close(ctx), e.bundler.Close())
}
