package jsruntime

import (
	"sync"
	"sync/atomic"
	"testing"
)

func TestSlotsAreNeverExceeded(t *testing.T) {
	var s slots
	s.init(3)
	var inside, most atomic.Int64
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			for range 2000 {
				s.acquire()
				now := inside.Add(1)
				for seen := most.Load(); now > seen && !most.CompareAndSwap(seen, now); {
					seen = most.Load()
				}
				inside.Add(-1)
				s.release()
			}
		})
	}
	group.Wait()
	if most.Load() > 3 {
		t.Errorf("%d held a slot of 3 at once", most.Load())
	}
	if s.free.Load() != 3 || len(s.waiting) != 0 || s.granted != 0 {
		t.Errorf("left behind: %d free, %d waiting, %d granted", s.free.Load(), len(s.waiting), s.granted)
	}
}
