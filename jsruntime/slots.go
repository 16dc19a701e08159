package jsruntime

import (
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

func (s *slots) acquire() {
	if s.free.Add(-1) >= 0 {
		return
	}
	s.mu.Lock()
	if s.granted > 0 {
		s.granted--
		s.mu.Unlock()
		return
	}
	turn := make(chan struct{})
	s.waiting = append(s.waiting, turn)
	s.mu.Unlock()
	<-turn
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
