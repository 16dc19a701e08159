package jsruntime

import (
	"slices"
	"sync"
	"sync/atomic"
)

// slots is a counting semaphore whose uncontended way is one atomic operation.
// It hands slots over in order of arrival.
type slots struct {
	free atomic.Int64 // below zero: how many wait

	mu      sync.Mutex
	waiting []chan struct{}
	granted int // slots given up for one that has not queued yet
}

func (s *slots) init(n int) { s.free.Store(int64(n)) }

// ask takes a slot and returns nil, or else a channel that is closed once the
// slot is the caller's.
func (s *slots) ask() (turn chan struct{}) {
	if s.free.Add(-1) >= 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.granted > 0 {
		s.granted--
		return nil
	}
	turn = make(chan struct{})
	s.waiting = append(s.waiting, turn)
	return turn
}

// withdraw gives up what ask returned, be it a slot by now or not.
func (s *slots) withdraw(turn chan struct{}) {
	if !s.leave(turn) {
		<-turn
		s.release()
	}
}

// leave takes one that waits out of the line; false: it has a slot, or one is
// on its way to it.
func (s *slots) leave(turn chan struct{}) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.waiting, turn)
	if i < 0 {
		return false
	}
	for {
		// As many wait as free is below zero, and one more for each slot that
		// was released, but is not handed over yet.
		free := s.free.Load()
		if free >= 0 {
			return false
		}
		if s.free.CompareAndSwap(free, free+1) {
			s.waiting = slices.Delete(s.waiting, i, i+1)
			return true
		}
	}
}

func (s *slots) release() {
	if s.free.Add(1) > 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) == 0 {
		s.granted++
		return
	}
	close(s.waiting[0])
	s.waiting = s.waiting[1:]
}
