//go:build unix

package bundler

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// How long a spare that could not be started is not tried again.
const (
	firstPause = time.Second
	lastPause  = time.Minute
)

// take returns a process that is ready: the spare, or a new one.
func (p *Pool) take(ctx context.Context) (*worker, error) {
	select {
	case w := <-p.spare:
		return w, nil
	default:
	}
	w, err := start(ctx, p.kind, &p.options, false)
	if err != nil {
		return nil, fmt.Errorf("starting a bundler: %w", err)
	}
	return w, nil
}

func (p *Pool) wantSpare() {
	select {
	case p.want <- struct{}{}:
	default:
	}
}

// keepSpare keeps one process ready, until Close.
func (p *Pool) keepSpare() {
	pause := firstPause
	for p.ctx.Err() == nil {
		w, err := start(p.ctx, p.kind, &p.options, true)
		if err == nil && p.offer(w) {
			pause = firstPause
			continue
		}
		if p.ctx.Err() != nil {
			return
		}
		p.log.Warn("no bundler can be kept ready", zap.Error(err), zap.Duration("retry_in", pause))
		select {
		case <-time.After(pause):
		case <-p.ctx.Done():
		}
		pause = min(2*pause, lastPause)
	}
}

// offer waits until somebody has taken the process and wants the next one. It
// reports false when the process died, or the pool was closed.
func (p *Pool) offer(w *worker) bool {
	select {
	case p.spare <- w:
	case <-w.process.Done():
		w.close()
		return false
	case <-p.ctx.Done():
		w.close()
		return false
	}
	select {
	case <-p.want:
	case <-p.ctx.Done():
	}
	return true
}
