//go:build unix

package worker

import (
	"runtime"
	"testing"
	"time"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
)

// metronome is the timer of a turn: it beats when it is told to.
type metronome struct{ wound int }

func (m *metronome) Reset(time.Duration) bool { m.wound++; return true }
func (m *metronome) Stop() bool               { return true }

// newTestTurn returns a turn whose new lanes are told of in a channel.
func newTestTurn() (*turn, *metronome, chan bool) {
	m, lanes := new(metronome), make(chan bool, 10)
	t := newTurn(func() { lanes <- true }, func(time.Duration, func()) jsruntime.Timer { return m })
	return t, m, lanes
}

func TestTurnIsKept(t *testing.T) {
	turn, _, lanes := newTestTurn()
	for number := uint32(1); number < 10; number++ {
		turn.keep(number)
		turn.beat() // it is shorter than two
		if !turn.resume(number) {
			t.Fatal("the lane lost its turn")
		}
	}
	if len(lanes) != 0 {
		t.Errorf("%d more lanes", len(lanes))
	}
}

func TestTurnPasses(t *testing.T) {
	turn, _, lanes := newTestTurn()
	turn.keep(1)
	turn.pass(1)
	turn.pass(1) // it has passed already
	<-lanes
	turn.keep(2)
	turn.pass(1) // it is that of another
	turn.beat()
	turn.beat()
	<-lanes
	if len(lanes) != 0 {
		t.Errorf("%d lanes too many", len(lanes))
	}
}

// TestIdleLanes has lanes whose turn has passed wait for it, but not too many.
func TestIdleLanes(t *testing.T) {
	turn, _, lanes := newTestTurn()
	back := make(chan bool)
	for range maxIdleLanes {
		go func() { back <- turn.resume(1) }()
	}
	for turn.idle.Load() < maxIdleLanes {
		runtime.Gosched()
	}
	if turn.resume(1) {
		t.Error("one more lane waits")
	}
	for passed, number := 0, uint32(2); passed < maxIdleLanes; number++ {
		turn.keep(number)
		turn.pass(number)
		select {
		case got := <-back:
			passed++
			if !got {
				t.Error("a lane that had waited was sent away")
			}
		case <-lanes: // it was not waiting yet
		}
	}
}

// TestBeatEnds: without requests nothing wakes the worker, and the first one, and
// the next after a silence, wind the timer up.
func TestBeatEnds(t *testing.T) {
	turn, m, _ := newTestTurn()
	if turn.beating.Load() || m.wound != 0 {
		t.Error("it beats before any request")
	}
	for number := uint32(1); number < 4; number++ {
		turn.keep(number)
		turn.resume(number)
	}
	if m.wound != 1 {
		t.Errorf("three requests wound it up %d times", m.wound)
	}
	for turn.beating.Load() {
		turn.beat()
	}
	if m.wound != maxQuiet+2 {
		t.Errorf("it was wound up %d times after the requests, want %d", m.wound-1, maxQuiet+1)
	}
	turn.keep(4)
	if !turn.beating.Load() || m.wound != maxQuiet+3 {
		t.Error("a request after the silence did not wind it up")
	}
}
