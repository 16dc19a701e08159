package jsruntime

import (
	"cmp"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/dop251/goja"
	"go.uber.org/zap"
)

// turn guards one entry into JavaScript. The engine's watchdog interrupts turns
// that take too long, from another goroutine, and an interrupt that came late
// would hit the next request; so both sides settle by compare-and-swap whether
// the turn ended first, and an interrupted isolate is never used again.
//
// word holds the number of the turn, shifted, and its phase.
type turn struct {
	word      atomic.Uint64
	request   atomic.Pointer[Request] // the live one
	deadline  atomic.Int64            // wall clock, Unix nanoseconds; 0: none
	cpuLimit  int64                   // nanoseconds of one turn
	wallLimit int64                   // of which deadline is the end
	cause     error                   // of the interrupt; written before the phase that says so

	slotless bool // it gave up its CPU slot and got none again

	// These are the watchdog's: the turn it saw last, when first, and the CPU
	// time of the process then.
	seen     uint64
	since    int64
	sinceCPU time.Duration
}

const (
	turnIdle         = iota // no JavaScript runs
	turnRunning             //
	turnInterrupting        // the watchdog won and is calling Interrupt
	turnInterrupted         // it has called it
	turnPhases       = 4
)

// begin starts a turn.
func (t *turn) begin() { t.word.Store(t.word.Load() + turnPhases + turnRunning) }

// end ends the turn and reports whether it was interrupted.
func (t *turn) end() (interrupted bool) {
	word := t.word.Load()
	if word%turnPhases == turnRunning && t.word.CompareAndSwap(word, word-turnRunning) {
		return false
	}
	for t.word.Load()%turnPhases != turnInterrupted {
		runtime.Gosched()
	}
	t.word.Store(t.word.Load() - turnInterrupted)
	return true
}

// interrupt stops the turn, if it is still running, because of cause.
func (t *turn) interrupt(word uint64, rt *goja.Runtime, cause error) {
	if t.word.CompareAndSwap(word, word-turnRunning+turnInterrupting) {
		t.cause = cause
		rt.Interrupt(cause)
		t.word.Store(word - turnRunning + turnInterrupted)
	}
}

// Turn numbers the turns of the event loop, microtasks included.
func (iso *Isolate) Turn() uint64 { return iso.turn.word.Load() / turnPhases }

// enter runs f, which runs JavaScript, as one turn of the event loop, under a
// CPU slot of the container. Microtasks are done when it returns. What went
// wrong is in iso.live.failure.
func (iso *Isolate) enter(f func()) {
	slots := &iso.pool.container.slots
	if turn := slots.ask(); turn != nil && !iso.awaitSlot(turn) {
		return
	}
	if iso.engine.killed.Load() {
		slots.release()
		iso.live.fatal(ErrClosed)
		return
	}
	iso.live.entered = true
	iso.turn.begin()
	iso.engine.watchdog.notice()
	iso.guarded(f)
	if iso.turn.end() {
		iso.condemn(discardLimit)
		iso.live.fatal(iso.turn.cause)
	}
	if iso.turn.slotless {
		iso.turn.slotless = false
	} else {
		slots.release()
	}
}

// awaitSlot waits for the CPU slot that turn stands for. While the caller waits
// for the head, or for the isolate to be loaded, it gives up when the caller has
// gone or the time is over.
func (iso *Isolate) awaitSlot(turn chan struct{}) bool {
	l := &iso.live
	if l.answered {
		<-turn
		return true
	}
	if l.request == nil && l.giveUp.Before(l.deadline) {
		iso.alarmAt(l.giveUp)
	} else {
		iso.alarmAt(l.deadline)
	}
	for {
		select {
		case <-turn:
			iso.queue.kick() // a wake that was taken here may be the loop's
			return true
		case <-l.caller.Done():
		case <-iso.queue.wake:
		}
		if err := iso.overdue(); err != nil {
			iso.pool.container.slots.withdraw(turn)
			if l.entered {
				iso.condemn(discardPending) // f is not run: as in end
			}
			l.fatal(err)
			return false
		}
	}
}

// aside runs f, which waits for something, in the midst of a turn: without the
// CPU slot, which others need meanwhile. When it cannot have one again in time,
// the turn is ended as by the watchdog, so that no script catches that.
func (iso *Isolate) aside(f func()) {
	c := iso.pool.container
	c.slots.release()
	c.park()
	defer func() {
		c.unpark()
		if turn := c.slots.ask(); turn == nil || iso.awaitSlot(turn) {
			return
		}
		iso.turn.slotless = true
		if word := iso.turn.word.Load(); word%turnPhases == turnRunning { // else the watchdog was faster
			iso.turn.interrupt(word, iso.runtime, iso.live.failure)
		}
	}()
	f()
}

// guarded runs f and then what the turn decided. Exceptions are uncaught, as
// there is no script to catch them; interrupts and panics end the isolate.
func (iso *Isolate) guarded(f func()) {
	defer func() {
		if x := recover(); x != nil {
			iso.crashed(x)
		}
	}()
	if thrown := iso.runtime.Try(f); thrown != nil {
		iso.Uncaught(thrown)
	}
	for {
		// Goja runs microtasks when an outermost call returns, and f need not
		// have ended with one. None may be left to the next request.
		iso.drain()
		if iso.live.request == nil || !iso.settle() {
			return
		}
		if iso.live.failure != nil {
			iso.drain() // reading an error runs its getters
			return
		}
	}
}

// drain runs the microtasks that wait.
func (iso *Isolate) drain() {
	_, err := iso.natives.nothing(goja.Undefined())
	iso.Uncaught(err)
}

// crashed handles a panic that left the engine: an interrupt, a stack overflow,
// or a defect. The runtime's state is unknown after any of them.
func (iso *Isolate) crashed(x any) {
	switch x := x.(type) {
	case *goja.InterruptedError, *goja.StackOverflowError:
		iso.Uncaught(x.(error))
	default:
		iso.panicked(x, debug.Stack())
	}
}

// panicked ends the request after a defect of the engine or the platform.
func (iso *Isolate) panicked(x any, stack []byte) {
	iso.engine.logger.Error("JavaScript engine panicked",
		zap.String("container", iso.spec.Container),
		zap.Any("panic", x),
		zap.ByteString("stack", stack))
	iso.condemn(discardError)
	iso.live.fatal(fmt.Errorf("the JavaScript engine failed: %v", x))
}

// Uncaught reports an error that a goja.Callable returned where no script can
// catch it: an exception fails the request (or is logged, when its response
// was returned already); an interrupt ends it. Nil is ignored.
func (iso *Isolate) Uncaught(err error) {
	switch err := err.(type) {
	case nil:
	case *goja.InterruptedError:
		iso.condemn(discardLimit)
		iso.live.fatal(cmp.Or(errors.Unwrap(err), error(err)))
	case *goja.StackOverflowError:
		iso.condemn(discardError)
		iso.live.fatal(iso.overflowError(err))
	case *goja.Exception:
		iso.fail(iso.thrown(err.Value(), err, iso.throwKind()))
	default:
		iso.fail(err)
	}
}
