package jsruntime

import (
	"context"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// sessionLine orders what one request does with the store: there is one call
// at a time, so that reads see the writes before them, and of two writes the
// later one stays.
type sessionLine struct {
	line    []func()     // wait for the call under way, in the script's order
	busy    bool         // a call is under way
	reading *sessionRead // the last in line, if that is a read
	carried int          // changes with buffered writes that are not settled
}

// sessionRead is shared by all who need it before the next write.
type sessionRead struct{ then []func(error) }

// inLine has start, which begins a write, called when its turn comes.
func (s *session) inLine(start func()) {
	s.reading = nil
	s.line = append(s.line, start)
	s.proceed()
}

func (s *session) proceed() {
	for !s.busy && len(s.line) > 0 {
		start := s.line[0]
		s.line[0] = nil
		s.line = s.line[1:]
		start()
	}
}

// ask makes a call to the store, for the one whose turn it is. After the head
// it waits until the writes that left with that are saved.
func (s *session) ask(call func(context.Context) (*Session, error), then func(*Session, error)) {
	s.busy = true
	committed := s.committed()
	s.iso.Async(func(ctx context.Context) func() {
		var answer *Session
		err := committed(ctx)
		if err == nil {
			answer, err = call(ctx)
		}
		return func() {
			s.busy = false
			defer s.proceed()
			then(answer, err)
		}
	})
}

func (s *session) send(change *webtask.SessionChange, then func(*Session, error)) {
	host := s.iso.live.request.Host
	s.ask(func(ctx context.Context) (*Session, error) { return host.SaveSession(ctx, change) }, then)
}

// load calls then once the session was read.
func (s *session) load(then func(error)) {
	switch {
	case s.stored != nil && !s.busy && len(s.line) == 0:
		then(nil)
		return
	case s.reading != nil:
		s.reading.then = append(s.reading.then, then)
		return
	}
	read := &sessionRead{then: []func(error){then}}
	s.line = append(s.line, func() { s.read(read) })
	s.reading = read
	s.proceed()
}

func (s *session) read(read *sessionRead) {
	if s.stored != nil {
		s.loaded(read, nil)
		return
	}
	answered := s.iso.live.answered
	s.ask(s.iso.live.request.Host.LoadSession, func(loaded *Session, err error) {
		switch {
		case err == nil && answered != s.iso.live.answered:
			s.read(read) // what left with the head meanwhile is not in it
			return
		case err == nil && s.stored == nil:
			s.stored = loaded
		}
		s.loaded(read, err)
	})
}

func (s *session) loaded(read *sessionRead, err error) {
	if s.reading == read {
		s.reading = nil
	}
	waiting := read.then
	read.then = nil
	for _, then := range waiting {
		then(err)
	}
}

// loadNow reads the session while the script waits, as an isolate that waits:
// without a CPU slot.
func (s *session) loadNow() error {
	ctx, host, committed := s.iso.Context(), s.iso.live.request.Host, s.committed()
	var err error
	s.iso.aside(func() {
		if err = committed(ctx); err == nil {
			s.stored, err = host.LoadSession(ctx)
		}
	})
	return err
}

// committed returns what waits, after the head, until the writes that left
// with it are saved.
func (s *session) committed() func(context.Context) error {
	if committer, ok := s.iso.live.request.Host.(SessionCommitter); ok && s.iso.live.answered {
		return committer.AwaitSessionCommit
	}
	return func(context.Context) error { return nil }
}
