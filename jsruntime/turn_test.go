package jsruntime

import (
	"testing"

	"github.com/dop251/goja"
)

// However the end of a turn and an interrupt of it race, a turn that was said
// to have ended undisturbed leaves no interrupt for the next.
func TestTurnAndInterruptRace(t *testing.T) {
	rt := goja.New()
	program := goja.MustCompile("one", "1", false)
	var turn turn
	words, done := make(chan uint64), make(chan struct{})
	go func() {
		defer close(done)
		for word := range words {
			turn.interrupt(word, rt, limitError("cpu_time", "1s", statusTimeout))
		}
	}()
	interrupted := 0
	for i := range 20_000 {
		turn.begin()
		words <- turn.word.Load()
		for range i % 50 {
			if _, err := rt.RunProgram(program); err != nil {
				break
			}
		}
		if turn.end() {
			interrupted++
			rt.ClearInterrupt()
		} else if _, err := rt.RunProgram(program); err != nil {
			t.Fatalf("turn %d was not interrupted, yet the next run is: %v", i, err)
		}
	}
	close(words)
	<-done
	if interrupted == 0 || interrupted == 20_000 {
		t.Errorf("%d of 20000 turns were interrupted: the race was not run", interrupted)
	}
}
