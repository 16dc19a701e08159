package sessionbackend

import (
	"context"
	"errors"
)

// Errors of Connect.
var (
	// ErrUnheld says that a key has no backend here, and that none was to be started.
	ErrUnheld = errors.New("the key has no session backend")

	// ErrHeld says that the backend of a key was started with another tag.
	ErrHeld = errors.New("the key has a session backend that was started with another tag")
)

// Connect returns the backend of a key, and starts it if it is not there; it does
// not wait until it is ready. Without spawn it starts none. A backend that is there
// is not ended for being idle before its idle time has passed once more. Its
// errors are those of Acquire, ErrUnheld and ErrHeld. With *HeldError another edge
// has the backend, with whatever tag.
func (s *Service) Connect(ctx context.Context, key, tag string, spawn *Spawn) (b *Backend, started bool, err error) {
	if err := CheckKey(key); err != nil {
		return nil, false, err
	}
	ctx, timeout, cancel := s.patience(ctx)
	defer cancel()
	for {
		b, leaving, started, err := s.connect(key, tag, spawn)
		if err != nil {
			return nil, false, s.elsewhere(ctx, key, Caller{}, err)
		}
		if b != nil {
			err := b.awaitOwner(ctx)
			b.Release() // from now on it is idle
			if ctx.Err() != nil {
				err = s.waited(ctx, timeout)
			}
			return b, started, err
		}
		select {
		case <-leaving:
		case <-ctx.Done():
			return nil, false, s.waited(ctx, timeout)
		}
	}
}

// awaitOwner waits until it is known who has the key, and returns who that is if it
// is another edge.
func (b *Backend) awaitOwner(ctx context.Context) error {
	select {
	case <-b.owned:
	case <-b.gone:
		var held *HeldError
		var unavailable *UnavailableError
		if errors.As(b.failed, &held) || errors.As(b.failed, &unavailable) {
			return b.failed
		}
	case <-ctx.Done():
	}
	return nil
}

func (s *Service) connect(key, tag string, spawn *Spawn) (b *Backend, leaving <-chan struct{}, started bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.backends[key]
	switch {
	case before != nil && !before.ending:
		if before.spawn.Tag != tag {
			return nil, nil, false, ErrHeld
		}
		before.holds++
		return before, nil, false, nil
	case spawn == nil:
		return nil, nil, false, ErrUnheld
	}
	own := *spawn
	own.Tag = tag
	b, leaving, err = s.claimLocked(key, Caller{}, own)
	return b, leaving, b != nil, err
}
