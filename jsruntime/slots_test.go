package jsruntime

import (
	"runtime"
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
				if turn := s.ask(); turn != nil {
					<-turn
				}
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

// Some of those who wait give up, before their slot comes or as it does.
func TestSlotsThatAreGivenUp(t *testing.T) {
	var s slots
	s.init(2)
	var inside, most atomic.Int64
	var group sync.WaitGroup
	for worker := range 16 {
		group.Go(func() {
			for i := range 2000 {
				if turn := s.ask(); turn != nil {
					if (worker+i)%3 == 0 {
						s.withdraw(turn)
						continue
					}
					<-turn
				}
				now := inside.Add(1)
				for seen := most.Load(); now > seen && !most.CompareAndSwap(seen, now); {
					seen = most.Load()
				}
				runtime.Gosched()
				inside.Add(-1)
				s.release()
			}
		})
	}
	group.Wait()
	if most.Load() > 2 {
		t.Errorf("%d held a slot of 2 at once", most.Load())
	}
	if s.free.Load() != 2 || len(s.waiting) != 0 || s.granted != 0 {
		t.Errorf("left behind: %d free, %d waiting, %d granted", s.free.Load(), len(s.waiting), s.granted)
	}
}
