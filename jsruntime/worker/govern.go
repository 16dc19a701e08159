//go:build unix

package worker

import (
	"time"

	"go.uber.org/zap"
)

// A worker whose requests compute for long yields the CPU to the edge and to
// those whose requests are short, until it is done with that. The edge looks at
// what it takes, since a script says nothing of itself that can be trusted.
const (
	// governTick is how often the edge looks at workers that have requests.
	governTick = 10 * time.Millisecond

	// A worker is judged each time it has taken burst: it yields if that was
	// heavy or more for each answer that it gave meanwhile. One that answers
	// thousands of small requests takes as much, and does not.
	burst = 10 * time.Millisecond
	heavy = 5 * time.Millisecond

	// One that takes less than calm in calmWindow waits for something, or does
	// not get the CPU at all; it yields no more, so that whoever computes gets on
	// even where nothing is ever left over.
	calm       = 5 * time.Millisecond
	calmWindow = 250 * time.Millisecond
)

// pace judges whether a worker is to yield.
type pace struct {
	began   bool // the rest is set
	yields  bool
	since   time.Time
	cpu     time.Duration
	answers uint64
}

// look tells it of a worker that has, or has not, open requests, of the CPU time
// that it took since its start, and of how many answers it gave.
func (p *pace) look(now time.Time, open bool, cpu time.Duration, answers uint64) {
	took, given, passed := cpu-p.cpu, answers-p.answers, now.Sub(p.since)
	switch {
	case !open:
		*p = pace{}
		return
	case !p.began:
	case took >= burst:
		p.yields = took/time.Duration(1+given) >= heavy
	case passed < calmWindow:
		return
	case took < calm:
		p.yields = false
	}
	p.began, p.since, p.cpu, p.answers = true, now, cpu, answers
}

// govern has workers yield and come back, until the supervisor closes.
func (s *Supervisor) govern() {
	tick := time.NewTicker(governTick)
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
		tick.Reset(governTick)
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
		l.mu.Lock()
		open := len(l.calls) > 0
		l.mu.Unlock()
		if !open && !l.pace.began {
			continue
		}
		more = true
		var cpu time.Duration
		if open {
			var err error
			if cpu, err = l.proc.CPU(); err != nil {
				continue // it has just ended, or this system does not tell
			}
		}
		yielded := l.pace.yields
		l.pace.look(now, open, cpu, l.answers.Load())
		if l.pace.yields == yielded {
			continue
		}
		s.yield(l.proc, l.pace.yields)
	}
	return more
}

// yield has a worker yield, or not. One that cannot be told so goes on as it is.
func (s *Supervisor) yield(p proc, yields bool) {
	if err := p.Yield(yields); err != nil {
		s.options.Logger.Debug("a worker process cannot be told to yield the CPU", zap.Int("pid", p.PID()), zap.Bool("yield", yields), zap.Error(err))
	}
}
