package sessionbackend

import (
	"context"
	"errors"
	"time"
)

// ErrGone is the error of requests for a backend that has ended, or was never
// there.
var ErrGone = errors.New("the session backend has ended")

// Backends that have ended are remembered for a while, so that whoever follows
// one can still be told how it ended.
const (
	historyTime   = time.Hour
	historyLength = 1000
)

// history has the backends of a service by id. The service's mutex guards it.
type history struct {
	byID map[string]*Backend
	past []pastBackend // in the order in which they ended
}

type pastBackend struct {
	id string
	at time.Time
}

func (h *history) add(b *Backend) {
	if h.byID == nil {
		h.byID = map[string]*Backend{}
	}
	h.byID[b.ID] = b
}

// ended keeps what there is to tell of a backend, and no more.
func (h *history) ended(b *Backend, now time.Time) {
	b.Env, b.spawn.Env = nil, nil
	b.kept.forget()
	h.past = append(h.past, pastBackend{b.ID, now})
	h.forget(now)
}

// forget drops those that ended long ago, or that are too many.
func (h *history) forget(now time.Time) {
	n := max(0, len(h.past)-historyLength)
	for n < len(h.past) && now.Sub(h.past[n].at) > historyTime {
		n++
	}
	for _, past := range h.past[:n] {
		delete(h.byID, past.id)
	}
	h.past = append(h.past[:0], h.past[n:]...)
}

// ByID returns the backend of that id, also one that has ended within the last
// hour, unless a thousand ended after it. It is nil if there is none.
func (s *Service) ByID(id string) *Backend {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history.forget(time.Now())
	return s.history.byID[id]
}

// ByKey returns the backend of a key that takes requests, or nil.
func (s *Service) ByKey(key string) *Backend {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.backends[key]; b != nil && !b.ending {
		return b
	}
	return nil
}

// AcquireBackend is Acquire for one backend, and none that comes after it: once
// that takes no more requests, the error is ErrGone.
func (s *Service) AcquireBackend(ctx context.Context, id string) (*Backend, error) {
	s.mu.Lock()
	b := s.history.byID[id]
	if b == nil || b.ending {
		s.mu.Unlock()
		return nil, ErrGone
	}
	b.holds++
	ready := b.serving
	s.mu.Unlock()
	if ready {
		return b, nil
	}
	began := time.Now()
	defer func() { s.options.Observer.RequestHeld(s.name, time.Since(began)) }()
	ctx, timeout, cancel := s.patience(ctx)
	defer cancel()
	err := ErrGone
	select {
	case <-b.ready:
		if b.Status() == Ready {
			return b, nil
		}
	case <-b.gone:
		if b.failed != nil {
			err = b.failed
		}
	case <-ctx.Done():
		err = s.waited(ctx, timeout)
	}
	b.Release()
	return nil, err
}
