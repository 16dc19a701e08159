//go:build unix

package worker

import (
	"sync/atomic"
	"time"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
)

// A turn is the right to read the socket of a worker. The goroutine that has it,
// a lane, serves what it reads at once, on its own stack, and keeps the turn
// meanwhile: most requests are over before the next one comes, and a turn that
// passes to another lane wakes a thread. It passes when the request waits for
// something, and at the latest after two beats.
type turn struct {
	keeper atomic.Uint32 // number of the request that keeps it; 0: none
	lane   func()        // what a new lane does, which has the turn
	next   chan struct{} // an idle lane takes it
	idle   atomic.Int32  // lanes that wait for it

	// The beat goes on while requests come, and a while longer: to wind up a
	// timer may wake a thread as well.
	timer   jsruntime.Timer
	beating atomic.Bool
	latest  atomic.Uint32 // number of the last request that kept the turn
	kept    uint32        // keeper and latest, at the last beat
	seen    uint32
	quiet   int // beats since a request came
}

const (
	never        = 1<<63 - 1
	beatTime     = time.Millisecond
	maxQuiet     = 32 // beats
	maxIdleLanes = 4
)

// newTurn returns a turn that nobody has yet. After is time.AfterFunc.
func newTurn(lane func(), after func(time.Duration, func()) jsruntime.Timer) *turn {
	t := &turn{lane: lane, next: make(chan struct{})}
	// The first request winds it up: by then the timer is where beat looks for it.
	t.timer = after(never, t.beat)
	return t
}

// keep has a request keep the turn, which the caller has.
func (t *turn) keep(number uint32) {
	t.latest.Store(number)
	t.keeper.Store(number)
	if !t.beating.Load() && t.beating.CompareAndSwap(false, true) {
		t.timer.Reset(beatTime)
	}
}

// pass gives the turn to another lane, if the request keeps it still.
func (t *turn) pass(number uint32) {
	if !t.keeper.CompareAndSwap(number, 0) {
		return
	}
	select {
	case t.next <- struct{}{}:
	default:
		go t.lane()
	}
}

// resume is called by a lane whose request has been served. It returns when the
// lane has the turn, again or still; false: there are lanes enough without it.
func (t *turn) resume(number uint32) bool {
	if t.keeper.CompareAndSwap(number, 0) {
		return true
	}
	defer t.idle.Add(-1)
	if t.idle.Add(1) > maxIdleLanes {
		return false
	}
	<-t.next
	return true
}

// beat passes the turn on when a request has kept it since the last one.
func (t *turn) beat() {
	kept, latest := t.keeper.Load(), t.latest.Load()
	if kept != 0 && kept == t.kept {
		t.pass(kept)
	}
	if t.quiet++; latest != t.seen {
		t.quiet = 0
	}
	t.kept, t.seen = kept, latest
	if t.quiet > maxQuiet {
		t.beating.Store(false)
		// A request that came before that relies on the beat.
		if t.keeper.Load() == 0 || !t.beating.CompareAndSwap(false, true) {
			return
		}
	}
	t.timer.Reset(beatTime)
}
