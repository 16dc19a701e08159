package sessionbackend

// Cordon has the service start no more backends, or start them again; those there
// are go on. It reports whether that is a change.
func (s *Service) Cordon(on bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed := s.cordoned != on
	s.cordoned = on
	return changed
}

// open returns the error of who wants a backend to be started, if none is. The
// mutex is held.
func (s *Service) open() error {
	switch {
	case s.closed:
		return ErrClosed
	case s.cordoned:
		return &CordonError{s.name}
	}
	return nil
}
