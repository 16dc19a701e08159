package sessionbackend

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Service has the backends of one name. It is safe for concurrent use.
type Service struct {
	name    string
	options ServiceOptions
	owned   sync.WaitGroup // a goroutine for each backend

	mu       sync.Mutex
	config   Config
	closed   bool
	cordoned bool
	backends map[string]*Backend // by key; also those that end
	history  history
	failures failures
	clients  clients
}

// ServiceOptions are what a service keeps for ever. Ownership is needed.
type ServiceOptions struct {
	Ownership Ownership

	// After is closed when a service that had the name before has ended; no backend
	// starts before. Nil: there was none.
	After <-chan struct{}

	Logger   *zap.Logger // default: none
	Observer Observer    // default: none
}

// NewService returns a service, which has to be configured before it is used.
func NewService(name string, options ServiceOptions) *Service {
	if options.Logger == nil {
		options.Logger = zap.NewNop()
	}
	if options.Observer == nil {
		options.Observer = nobody{}
	}
	return &Service{name: name, options: options, backends: make(map[string]*Backend)}
}

// nobody is an Observer.
type nobody struct{}

func (nobody) BackendStarted(string, time.Duration, error) {}
func (nobody) BackendEnded(string, Reason)                 {}
func (nobody) RequestHeld(string, time.Duration)           {}

// Name returns the name of the service.
func (s *Service) Name() string { return s.name }

// StopGrace returns how long a backend may take to end.
func (s *Service) StopGrace() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.config.StopGrace
}

// StartTimeout returns how long a backend may take until it is ready.
func (s *Service) StartTimeout() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.config.StartTimeout
}

// Gone returns a channel that is closed when nothing is left of any backend. It is
// for a service that has been closed.
func (s *Service) Gone() <-chan struct{} {
	gone := make(chan struct{})
	go func() {
		s.owned.Wait()
		close(gone)
	}()
	return gone
}

// Configure says how to treat backends from now on. Those that are there stay:
// what concerns their start holds for the next ones only.
func (s *Service) Configure(config Config) error {
	if config.Driver == nil {
		return errors.New("session backends need a driver")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.config = config.withDefaults()
	s.clients.limit = s.config.ClientStarts
	for _, b := range s.backends {
		b.wake()
	}
	return nil
}

// Acquire returns the backend of a key once it is ready, and starts it if it is
// not there. The backend is not ended for being idle before Release. Its errors
// are *KeyError, *FullError, *ClientError, *BackoffError, *StartError, *HeldError
// when another edge has it, *UnavailableError, *CordonError, ErrClosed, for another
// edge ErrUnheld, and why ctx ended.
func (s *Service) Acquire(ctx context.Context, key string, caller Caller) (*Backend, error) {
	b, ready := s.readyBackend(key)
	if ready {
		return b, nil
	}
	if err := CheckKey(key); err != nil {
		return nil, err
	}
	began := time.Now()
	defer func() { s.options.Observer.RequestHeld(s.name, time.Since(began)) }()
	ctx, timeout, cancel := s.patience(ctx)
	defer cancel()
	for {
		b, leaving, err := s.claim(key, caller)
		if err != nil {
			return nil, s.elsewhere(ctx, key, caller, err)
		}
		if b == nil {
			select {
			case <-leaving:
				continue
			case <-ctx.Done():
				return nil, s.waited(ctx, timeout)
			}
		}
		select {
		case <-b.ready:
			if b.Status() == Ready {
				return b, nil
			}
			b.Release() // it ended at once; so may the next, and then claim says so
		case <-b.gone:
			b.Release()
			// If it did not fail, it was ready, or others ended it.
			if b.failed != nil {
				return nil, b.failed
			}
		case <-ctx.Done():
			b.Release()
			return nil, s.waited(ctx, timeout)
		}
	}
}

// elsewhere returns, for a request that is refused a backend here, the edge that
// has it, or the refusal.
func (s *Service) elsewhere(ctx context.Context, key string, caller Caller, refusal error) error {
	var known *HeldError
	if errors.As(refusal, &known) || errors.Is(refusal, ErrUnheld) && caller.Peer {
		return refusal
	}
	if held := s.options.Ownership.Ask(ctx, s.name, key); held != nil {
		return held
	}
	return refusal
}

// Check returns the error that a request of a caller would get which needs a
// backend of a new key: *FullError, *ClientError, *CordonError or ErrClosed.
func (s *Service) Check(caller Caller) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.open(); err != nil {
		return err
	}
	if len(s.backends) >= s.config.MaxBackends && !s.config.Evict {
		return &FullError{Service: s.name, MaxBackends: s.config.MaxBackends}
	}
	return s.clients.check(s.name, caller.Client)
}

// patience bounds how long a request waits, should a predecessor not end or the
// driver not answer: neither may be given up, for their backend may be alive.
func (s *Service) patience(ctx context.Context) (limited context.Context, timeout time.Duration, cancel context.CancelFunc) {
	s.mu.Lock()
	timeout = s.config.StartTimeout
	limit := timeout + s.config.StopGrace
	s.mu.Unlock()
	limited, cancel = context.WithTimeoutCause(ctx, limit, errNotReady)
	return limited, timeout, cancel
}

// waited is the error of a request that waited until ctx ended.
func (s *Service) waited(ctx context.Context, timeout time.Duration) error {
	if cause := context.Cause(ctx); cause != errNotReady {
		return cause
	}
	return &StartError{Service: s.name, Timeout: timeout}
}

// readyBackend counts a request to a backend that is ready.
func (s *Service) readyBackend(key string) (*Backend, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.backends[key]
	if b == nil || !b.serving || b.tenure.over() {
		return nil, false
	}
	b.holds++
	return b, true
}

// claim counts a request to the backend of a key, which is started if it is not
// there. If there is no place for it yet, it returns what has to end first.
func (s *Service) claim(key string, caller Caller) (b *Backend, leaving <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.claimLocked(key, caller, Spawn{})
}

func (s *Service) claimLocked(key string, caller Caller, spawn Spawn) (b *Backend, leaving <-chan struct{}, err error) {
	if b := s.backends[key]; b != nil {
		if b.serving && b.tenure.over() {
			b.serving, b.ending = false, true
			b.wake()
		}
		if b.ending {
			return nil, b.gone, nil
		}
		b.holds++
		return b, nil, nil
	}
	if caller.Peer {
		return nil, nil, ErrUnheld
	}
	if held := s.options.Ownership.Elsewhere(s.name, key); held != nil {
		return nil, nil, held
	}
	if err := s.open(); err != nil {
		return nil, nil, err
	}
	if err := s.failures.check(s.name, key); err != nil {
		return nil, nil, err
	}
	if len(s.backends) >= s.config.MaxBackends {
		leaving, err := s.makeRoom()
		return nil, leaving, err
	}
	if err := s.clients.allow(s.name, caller.Client); err != nil {
		return nil, nil, err
	}
	b = newBackend(s, Identity{Service: s.name, Key: key, ID: newID(), Env: spawn.Env}, spawn)
	b.holds, b.client = 1, caller.Client
	s.backends[key] = b
	s.history.add(b)
	config := s.config
	s.owned.Go(func() { b.live(config) })
	return b, nil, nil
}

// newID returns an id of 80 random bits.
func newID() string { return strings.ToLower(rand.Text()[:16]) }

// makeRoom ends the backend that has been idle longest, and returns when it is
// gone. The mutex is held.
func (s *Service) makeRoom() (<-chan struct{}, error) {
	var oldest *Backend
	for _, b := range s.backends {
		if b.ending && b.evicted {
			return b.gone, nil // the place is being made
		}
		if !b.ending && b.serving && b.holds == 0 && (oldest == nil || b.idleSince.Before(oldest.idleSince)) {
			oldest = b
		}
	}
	if !s.config.Evict || oldest == nil {
		return nil, &FullError{Service: s.name, MaxBackends: s.config.MaxBackends}
	}
	oldest.ending, oldest.serving, oldest.evicted = true, false, true
	oldest.wake()
	return oldest.gone, nil
}

// bury forgets a backend of which nothing is left.
func (s *Service) bury(b *Backend, end outcome) {
	s.mu.Lock()
	if s.backends[b.Key] == b {
		delete(s.backends, b.Key)
	}
	if end.held() {
		delete(s.history.byID, b.ID) // it never was
	} else {
		s.history.ended(b, time.Now())
	}
	switch {
	case end.held():
		s.clients.refund(b.client)
	case end.failed():
		s.failures.add(b.Key, end.cause(s.name), b.opened)
	default:
		s.failures.forget(b.Key)
	}
	s.mu.Unlock()
	if !end.held() {
		s.options.Observer.BackendEnded(s.name, end.reason)
	}
}

// Info describes a backend, for operators.
type Info struct {
	Identity
	Status      Status
	Connections int       // requests, streams and WebSockets, also held ones
	Since       time.Time // its start
	Idle        time.Duration
}

// List returns the backends, ordered by key.
func (s *Service) List() []Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Info, 0, len(s.backends))
	for _, b := range s.backends {
		list = append(list, b.info())
	}
	slices.SortFunc(list, func(a, b Info) int { return cmp.Compare(a.Key, b.Key) })
	return list
}

// Terminate ends the backend of a key, softly or hard, and returns a channel that
// is closed when nothing of it is left; nil if there is none.
func (s *Service) Terminate(key string, kind Kind) <-chan struct{} {
	s.mu.Lock()
	b := s.backends[key]
	s.mu.Unlock()
	if b == nil {
		return nil
	}
	return b.Terminate(kind)
}

// Drain refuses new backends and asks all to end. It does not wait.
func (s *Service) Drain() {
	s.mu.Lock()
	s.closed = true
	all := make([]*Backend, 0, len(s.backends))
	for _, b := range s.backends {
		all = append(all, b)
	}
	s.mu.Unlock()
	for _, b := range all {
		b.ask(External, Soft)
	}
}

// killTime is how long a backend may take to be gone that is killed.
const killTime = 10 * time.Second

// Close drains the service, and waits until nothing is left of any backend.
// When ctx ends, it kills those that are left. It gives up on a driver that does
// not answer.
func (s *Service) Close(ctx context.Context) error {
	s.Drain()
	gone := s.Gone()
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
	}
	left := s.List()
	for _, info := range left {
		s.Terminate(info.Key, Hard)
	}
	select {
	case <-gone:
	case <-time.After(killTime):
		return fmt.Errorf("closing the session backends of service %s: %d cannot be killed", s.name, len(left))
	}
	if len(left) == 0 {
		return nil
	}
	return fmt.Errorf("closing the session backends of service %s: %d had to be killed: %w", s.name, len(left), context.Cause(ctx))
}
