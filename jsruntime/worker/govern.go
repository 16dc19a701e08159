//go:build unix

package worker

import (
	"time"

	"go.uber.org/zap"

	"github.com/webtask-edge/caddy-webtask/jsruntime/worker/process"
)

// govern has workers yield the CPU and come back, until the supervisor closes:
// those whose requests compute for long to the edge and to those whose requests
// are short. It looks at what they take, since a worker says nothing of itself
// that can be trusted.
func (s *Supervisor) govern() {
	tick := time.NewTicker(process.PaceTick)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		if s.paceAll() {
			continue
		}
		// Nobody computes: sleep until somebody may.
		tick.Stop()
		select {
		case <-s.stop:
			return
		case <-s.begun:
		}
		tick.Reset(process.PaceTick)
	}
}

// wakeGovernor is called when a worker that had no requests has one.
func (s *Supervisor) wakeGovernor() {
	select {
	case s.begun <- struct{}{}:
	default:
	}
}

// paceAll looks at all workers once, and reports whether there is more to see.
func (s *Supervisor) paceAll() (more bool) {
	now := s.now()
	for _, l := range s.all() {
		more = s.paceOne(l, now) || more
	}
	return more
}

// paceOne looks at a worker, and reports whether there is more to see.
func (s *Supervisor) paceOne(l *link, now time.Time) (more bool) {
	l.mu.Lock()
	open := len(l.calls) > 0
	l.mu.Unlock()
	answers := l.answers.Load()
	if !open && l.pace.Idle() {
		if answers > 0 { // it was seen by no look
			s.yield(l, false)
		}
		return false
	}
	young := now.Sub(l.taken) < process.StartPatience
	select {
	case <-l.ready:
	default:
		if young {
			return true // what it takes until then is nobody's doing
		}
	}
	var cpu time.Duration
	if open {
		var err error
		if cpu, err = l.proc.CPU(); err != nil {
			return true // it has just ended, or this system does not tell
		}
	}
	s.yield(l, l.pace.Look(now, open, cpu, answers) || answers == 0 && young)
	return true
}

// yield has a worker yield, or not. One that cannot be told so goes on as it is,
// and is told again at the next look.
func (s *Supervisor) yield(l *link, yields bool) {
	if yields == l.yields {
		return
	}
	err := l.proc.Yield(yields)
	if err == nil {
		l.yields = yields
	} else if !l.deaf {
		l.deaf = true
		s.options.Logger.Debug("a worker process cannot be told to yield the CPU", zap.Int("pid", l.proc.PID()), zap.Bool("yield", yields), zap.Error(err))
	}
}
