//go:build unix

package worker

import (
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/jsruntime/worker/process"
)

// watchTick is how often the supervisor looks after its workers.
const watchTick = 50 * time.Millisecond

// watch ends workers whose requests are over their limits and do not end by
// themselves, and those that are idle.
func (s *Supervisor) watch() {
	tick := time.NewTicker(watchTick)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		for _, l := range s.all() {
			s.tend(l)
		}
	}
}

// tend ends the worker of l if it has to.
func (s *Supervisor) tend(l *link) {
	c, first := l.overdue()
	switch {
	case first:
		// It may only have been kept from the CPU, by others: its caller is
		// answered, and others are served elsewhere, but it is not killed yet.
		if err := c.unfinished(); err != nil {
			c.finish(err)
		}
		l.retire()
		s.retire(l)
	case c != nil:
		l.abort(c, errOverdue, errOverdue)
	default:
		if idle, ok := l.idle(); ok && idle >= s.options.IdleTimeout || l.retired() {
			s.retire(l)
			l.abort(nil, nil, errIdle)
		}
	}
}

// unfinished returns the error of a call whose caller still waits, for the head
// or for more of the body; nil: it has all.
func (c *call) unfinished() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !c.answered:
		return timeLimit(c.spec, true)
	case c.reply != nil && !c.bodyOver:
		value := c.spec.Limits.StreamTimeout.String()
		return &jsruntime.LimitError{Limit: "stream_timeout", Value: value, Option: "stream_timeout", Status: http.StatusGatewayTimeout}
	}
	return nil
}

var errOverdue = errors.New("a request went on after its limit")

// starvation is how many times its grace a worker has that does not get the
// CPU, or does not want it: one that is stopped takes none.
const starvation = 5

// overdue returns a call that the worker should have ended by now: one that is
// found so for the first time, or one that went on although the worker had its
// grace since then, in CPU time. Nil: there is none.
func (l *link) overdue() (late *call, first bool) {
	now, grace := l.now(), l.owner.options.Grace
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.calls {
		c.mu.Lock()
		over := c.over(now)
		c.mu.Unlock()
		switch {
		case c.late.IsZero() && !over:
		case c.late.IsZero():
			c.late = now
			// Where it cannot be read, time alone counts.
			c.lateCPU, c.lateErr = l.proc.CPU()
			return c, true
		case now.Sub(c.late) < grace:
		case now.Sub(c.late) >= starvation*grace || c.lateErr != nil:
			return c, false
		default:
			if cpu, err := l.proc.CPU(); err != nil || cpu-c.lateCPU >= grace {
				return c, false
			}
		}
	}
	return nil, false
}

// over reports whether the worker should have ended the call by now. The mutex is
// held.
func (c *call) over(now time.Time) bool {
	switch {
	case !c.answered:
		return now.After(c.deadline.Add(c.link.owner.options.Grace))
	case !c.endBy.IsZero():
		return now.After(c.endBy)
	default:
		// What is all here already, and not read yet, is not the worker's matter.
		return !c.streamBy.IsZero() && !c.bodySent && !c.doneSent && now.After(c.streamBy)
	}
}

// retire has the worker take no new requests.
func (l *link) retire() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.retiring = true
}

// timeLimit is the error of a request that exceeded its whole time, or that of
// one turn.
func timeLimit(spec *jsruntime.Spec, whole bool) *jsruntime.LimitError {
	limit, value := "cpu_time", spec.Limits.CPUTime
	if whole {
		limit, value = "timeout", spec.Limits.Timeout
	}
	return &jsruntime.LimitError{Limit: limit, Value: value.String(), Option: limit, Status: http.StatusGatewayTimeout}
}

// idle returns for how long the worker has had no request; false: it has one.
func (l *link) idle() (time.Duration, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now().Sub(l.idleSince), len(l.calls) == 0
}

// retired reports whether the worker takes no requests and has none.
func (l *link) retired() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.retiring && len(l.calls) == 0
}

// record is what is known of a container whose workers died.
type record struct {
	deaths int
	last   time.Time
	until  time.Time // no worker is started before
}

// Of a container, this many workers may die, each within forgetAfter of the one
// before, until it is made to wait: a second first, twice as long after each
// further death.
const (
	freeDeaths    = 3
	forgetAfter   = time.Minute
	maxQuarantine = time.Minute
)

// died counts a death. The mutex is held.
func (s *Supervisor) died(container string) {
	now := s.now()
	r := s.quarantine[container]
	if r == nil || now.Sub(r.last) > forgetAfter && now.Sub(r.until) > forgetAfter {
		r = &record{}
		s.quarantine[container] = r
	}
	r.deaths++
	r.last = now
	if over := r.deaths - freeDeaths; over > 0 {
		r.until = now.Add(min(time.Second<<min(over-1, 10), maxQuarantine))
	}
	if len(s.quarantine) > 10_000 { // forget those that have been well
		for name, other := range s.quarantine {
			if now.Sub(other.last) > forgetAfter+maxQuarantine {
				delete(s.quarantine, name)
			}
		}
	}
}

// quarantined reports, as an error, that a container has to wait. The mutex is
// held.
func (s *Supervisor) quarantined(container string) error {
	r := s.quarantine[container]
	if r == nil {
		return nil
	}
	if wait := r.until.Sub(s.now()); wait > 0 {
		return &jsruntime.QuarantineError{Container: container, RetryAfter: max(wait, time.Second)}
	}
	return nil
}

// takeSpare returns a blank process for k, if there is one that fits. It yields.
func (s *Supervisor) takeSpare(k key) *process.Process {
	if k.memory != s.options.Memory {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.spares) > 0 {
		last := len(s.spares) - 1
		spare := s.spares[last]
		s.spares = s.spares[:last]
		select {
		case s.want <- struct{}{}:
		default:
		}
		select {
		case <-spare.Done():
			spare.Close() // it died while it waited
		default:
			return spare
		}
	}
	return nil
}

// spareRetry is how long to wait after a process could not be started.
const spareRetry = time.Second

// keepSpares keeps blank processes ready until the supervisor closes.
func (s *Supervisor) keepSpares() {
	defer s.dropSpares()
	retry := time.NewTimer(0) // the first are started at once
	defer retry.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-s.want:
		case <-retry.C:
		}
		if err := s.startSpares(); err != nil {
			s.options.Logger.Error("a spare worker process cannot be started", zap.Error(err))
			retry.Reset(spareRetry)
		}
	}
}

func (s *Supervisor) startSpares() error {
	for {
		s.mu.Lock()
		missing := !s.closed && len(s.spares) < s.options.Spares
		s.mu.Unlock()
		if !missing {
			return nil
		}
		spare, err := process.Start(process.Options{Kind: Kind, Memory: s.options.Memory, Yield: true, Strict: s.options.Strict})
		if err != nil {
			return err
		}
		s.mu.Lock()
		s.spares = append(s.spares, spare)
		s.mu.Unlock()
	}
}

func (s *Supervisor) dropSpares() {
	s.mu.Lock()
	spares := s.spares
	s.spares = nil
	s.mu.Unlock()
	for _, spare := range spares {
		spare.Close()
		<-spare.Done()
	}
}
