//go:build unix

package caddymodule

import (
	"errors"
	"time"

	"github.com/webtask-edge/caddy-webtask/jsruntime/worker"
	"github.com/webtask-edge/caddy-webtask/jsruntime/worker/bundler"
)

func (k engineKey) openWorkers() (isolateRunner, codeParser, error) {
	parser, err := bundler.New(bundler.Options{Strict: k.Strict, Logger: sharedLog.logger("bundler")})
	if err != nil {
		return nil, nil, err
	}
	workers, err := worker.New(worker.Options{
		Memory:      k.Memory,
		Strict:      k.Strict,
		QueueLength: k.Queue.Length,
		QueueWait:   time.Duration(k.Queue.Wait),
		Logger:      sharedLog.logger("workers"),
		Observer:    metrics,
	})
	if err != nil {
		return nil, nil, errors.Join(err, parser.Close())
	}
	return workers, parser, nil
}
