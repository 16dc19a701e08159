package jsruntime

import (
	"sync"
	"sync/atomic"
	"time"
)

// The watchdog looks every tick, as long as there is anything to look at; it
// sleeps after restTicks without.
const (
	watchdogTick = 5 * time.Millisecond
	restTicks    = 200
)

// stuckAfter is how long an interrupted turn may go on before it is given up.
// Goja stops within a millisecond wherever it looks at interrupts; a regular
// expression is matched to its own limit of 100 ms or two.
const stuckAfter = 300 * time.Millisecond

// watchdog is the one goroutine of an engine that enforces time: it interrupts
// turns that take too long, fails requests that queue too long, and drops what
// is idle. A request pays an atomic operation or two for it, where a timer of
// its own would cost three allocations.
type watchdog struct {
	engine *Engine
	now    atomic.Int64 // coarse time, Unix nanoseconds
	asleep atomic.Bool
	wake   chan struct{}
	stop   chan struct{}
	done   chan struct{}

	mu       sync.Mutex
	isolates []*Isolate

	sweep time.Time // when idle isolates are looked for next
}

func newWatchdog(e *Engine) *watchdog {
	w := &watchdog{
		engine: e,
		wake:   make(chan struct{}, 1),
		stop:   make(chan struct{}),
		done:   make(chan struct{}),
	}
	now := e.clock.Now()
	w.now.Store(now.UnixNano())
	w.sweep = now.Add(w.sweepEvery())
	go w.run()
	return w
}

func (w *watchdog) sweepEvery() time.Duration { return w.engine.options.IdleTimeout / 8 }

// notice wakes the watchdog if it sleeps.
func (w *watchdog) notice() {
	if w.asleep.Load() {
		w.kick()
	}
}

func (w *watchdog) kick() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *watchdog) add(iso *Isolate) {
	w.mu.Lock()
	defer w.mu.Unlock()
	iso.position = len(w.isolates)
	w.isolates = append(w.isolates, iso)
}

func (w *watchdog) remove(iso *Isolate) {
	w.mu.Lock()
	defer w.mu.Unlock()
	last := len(w.isolates) - 1
	w.isolates[iso.position] = w.isolates[last]
	w.isolates[iso.position].position = iso.position
	w.isolates[last] = nil
	w.isolates = w.isolates[:last]
}

func (w *watchdog) run() {
	defer close(w.done)
	timer := w.engine.clock.AfterFunc(watchdogTick, w.kick)
	defer timer.Stop()
	for quiet := 0; ; {
		select {
		case <-w.wake:
		case <-w.stop:
			return
		}
		w.asleep.Store(false)
		if w.tick() {
			quiet = 0
		} else {
			quiet++
		}
		if quiet < restTicks {
			timer.Reset(watchdogTick)
			continue
		}
		w.asleep.Store(true)
		// A turn that began before asleep was set did not notice.
		if w.tick() {
			w.asleep.Store(false)
			quiet = 0
			timer.Reset(watchdogTick)
			continue
		}
		timer.Reset(max(w.sweep.Sub(w.engine.clock.Now()), watchdogTick))
	}
}

// tick looks once and reports whether there was anything to watch.
func (w *watchdog) tick() (busy bool) {
	e := w.engine
	now := e.clock.Now()
	w.now.Store(now.UnixNano())
	busy = w.scan(now.UnixNano())
	if e.starved.Swap(false) {
		e.reclaim()
	}
	if e.queued.Load() > 0 {
		busy = true
		for _, c := range e.allContainers() {
			c.tend(now)
		}
	}
	if !now.Before(w.sweep) {
		w.sweep = now.Add(w.sweepEvery())
		e.shrink(now.Add(-e.options.IdleTimeout).UnixNano())
	}
	return busy
}

// scan interrupts the turns that are over their limits.
func (w *watchdog) scan(now int64) (busy bool) {
	var cpu time.Duration
	measured := false
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, iso := range w.isolates {
		t := &iso.turn
		word := t.word.Load()
		if word%turnPhases == turnIdle {
			continue
		}
		busy = true
		if !measured {
			cpu, measured = w.cpuTime(now), true
		}
		if word != t.seen {
			t.seen, t.since, t.sinceCPU = word, now, cpu
		}
		took := min(time.Duration(now-t.since), cpu-t.sinceCPU)
		if word%turnPhases != turnRunning {
			if stuck := w.engine.options.Stuck; stuck != nil && took >= stuckAfter {
				t.since, t.sinceCPU = now, cpu
				stuck(t.request.Load())
			}
			continue
		}
		deadline := t.deadline.Load()
		switch {
		case took >= time.Duration(t.cpuLimit):
			t.interrupt(word, iso.runtime, limitError("cpu_time", time.Duration(t.cpuLimit).String(), statusTimeout))
		case deadline != 0 && now >= deadline:
			t.interrupt(word, iso.runtime, limitError("timeout", time.Duration(t.wallLimit).String(), statusTimeout))
		case w.engine.killed.Load():
			t.interrupt(word, iso.runtime, ErrClosed)
		}
	}
	return busy
}

// cpuTime is the process's, or the time itself.
func (w *watchdog) cpuTime(now int64) time.Duration {
	if f := w.engine.options.CPUTime; f != nil {
		return f()
	}
	return time.Duration(now)
}

// kickAll has all event loops look again.
func (w *watchdog) kickAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, iso := range w.isolates {
		iso.queue.kick()
	}
}

func (w *watchdog) close() {
	close(w.stop)
	<-w.done
}
