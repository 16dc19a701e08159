package process

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/webtask-edge/caddy-webtask/sessionbackend"
	"github.com/webtask-edge/caddy-webtask/sessionbackend/internal/offspring"
)

// Supervisor is the edge's side of a supervisor process, which it starts with
// the first backend, and again when it has died. It is safe for concurrent use.
type Supervisor struct {
	options Options

	mu     sync.Mutex
	link   *link // nil: there is none
	closed bool
}

// NewSupervisor returns a Supervisor. Nothing is started yet.
func NewSupervisor(options Options) *Supervisor {
	options.Patience = cmp.Or(options.Patience, 30*time.Second)
	options.Overdue = cmp.Or(options.Overdue, time.Second)
	if options.Logger == nil {
		options.Logger = zap.NewNop()
	}
	return &Supervisor{options: options}
}

// link is the connection to one supervisor process.
type link struct {
	logger  *zap.Logger
	socket  *os.File
	command *exec.Cmd
	hello   chan struct{} // closed when it may be told to start backends
	dead    chan struct{} // closed when it has ended
	heard   atomic.Int64  // when it said something last, in nanoseconds since began
	began   time.Time

	patience, overdue time.Duration

	sending sync.Mutex
	out     *json.Encoder

	mu        sync.Mutex
	instances map[string]*instance
}

var (
	errSupervisorClosed = errors.New("the supervisor of session backends is closed")
	errSupervisorDied   = errors.New("the supervisor process of session backends died, and its backends with it")
)

// Settle starts a supervisor process if there is none, and returns when nothing is
// left of what those before had started.
func (s *Supervisor) Settle(ctx context.Context) error {
	_, err := s.running(ctx)
	return err
}

// running returns the link to a supervisor process that is there and has made
// sure that nothing is left of those before it.
func (s *Supervisor) running(ctx context.Context) (*link, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, errSupervisorClosed
	}
	if s.link == nil {
		l, err := s.launch(ctx)
		if err != nil {
			s.mu.Unlock()
			return nil, err
		}
		s.link = l
	}
	l := s.link
	s.mu.Unlock()
	select {
	case <-l.hello:
		return l, nil
	case <-l.dead:
		return nil, errSupervisorDied
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// launch starts a supervisor process. The mutex is held.
func (s *Supervisor) launch(ctx context.Context) (*link, error) {
	lock, err := s.options.Lock(ctx)
	if err != nil {
		return nil, err
	}
	command, own, err := offspring.Start(argv0, settings{Node: nodeOf(lock)}, lock)
	if err != nil {
		return nil, fmt.Errorf("the supervisor process of session backends: %w", err)
	}
	l := &link{
		logger: s.options.Logger, socket: own, command: command, out: json.NewEncoder(own),
		hello: make(chan struct{}), dead: make(chan struct{}), instances: make(map[string]*instance),
		began: time.Now(), patience: s.options.Patience, overdue: s.options.Overdue,
	}
	go l.watch()
	go func() {
		l.read()
		s.lost(l)
	}()
	return l, nil
}

// nodeOf names the owner of a lock, for the processes that it is the proof of.
func nodeOf(lock *os.File) string {
	path, err := filepath.Abs(lock.Name())
	if err != nil {
		path = lock.Name()
	}
	return fmt.Sprintf("%x", sha256.Sum256([]byte(path)))[:16]
}

// read takes reports until the supervisor process has ended.
func (l *link) read() {
	reports := json.NewDecoder(bufio.NewReader(l.socket))
	for {
		var r report
		if reports.Decode(&r) != nil {
			break
		}
		l.heard.Store(int64(time.Since(l.began)))
		if r.Pong {
			continue
		}
		if r.Hello {
			close(l.hello)
			continue
		}
		l.mu.Lock()
		i := l.instances[r.ID]
		if r.Exit != nil || r.Failed != "" {
			delete(l.instances, r.ID)
		}
		l.mu.Unlock()
		if i != nil {
			i.take(&r)
		}
	}
	_ = l.socket.Close() // whose other end is gone
	_ = l.command.Wait() // how it ended is of no use to anybody
	close(l.dead)
}

// watch kills a supervisor process that does not answer: one that was stopped would
// keep its backends, and the lock, for ever.
func (l *link) watch() {
	tick := time.NewTicker(l.patience / 4)
	defer tick.Stop()
	for {
		select {
		case <-l.dead:
			return
		case <-tick.C:
		}
		silent := time.Since(l.began) - time.Duration(l.heard.Load())
		if silent > l.patience {
			l.logger.Error("the supervisor process of session backends does not answer, and is killed", zap.Duration("silent", silent))
			_ = l.command.Process.Kill() // it may have ended
			return
		}
		go func() { _ = l.send(&order{Ping: true}) }() // it may take no more
	}
}

// lost is called when a supervisor process has ended. Its backends died with it,
// but what they had started may not have: the next one sees to that.
func (s *Supervisor) lost(l *link) {
	s.mu.Lock()
	if s.link == l {
		s.link = nil
	}
	closed := s.closed
	s.mu.Unlock()
	l.mu.Lock()
	left := l.instances
	l.instances = nil
	l.mu.Unlock()
	if len(left) == 0 {
		return
	}
	s.options.Logger.Error("the supervisor process of session backends died, and its backends with it", zap.Int("backends", len(left)))
	if !closed {
		ctx, cancel := context.WithTimeout(context.Background(), sweepTimeout)
		defer cancel()
		if _, err := s.running(ctx); err != nil {
			s.options.Logger.Error("processes that session backends had started may be left", zap.Error(err))
		}
	}
	for _, i := range left {
		i.awaitDeath()
		i.end(sessionbackend.Exit{Code: -1, Err: errSupervisorDied})
	}
}

// sweepTimeout is how long a new supervisor process may take to make sure that
// nothing is left of the one before.
const sweepTimeout = 30 * time.Second

// send tells the supervisor process something.
func (l *link) send(o *order) error {
	l.sending.Lock()
	defer l.sending.Unlock()
	// A process that is stopped takes nothing more: watch sees to it.
	_ = l.socket.SetWriteDeadline(time.Now().Add(2 * l.patience)) // of a socket, which has deadlines
	return l.out.Encode(o)
}

// Close asks all backends to end, and waits until nothing is left of any. When
// ctx ends, it kills the supervisor process, with which they die.
func (s *Supervisor) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	l := s.link
	s.mu.Unlock()
	if l == nil {
		return nil
	}
	// What is read from the socket then is its end.
	if raw, err := l.socket.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_WR) })
	}
	select {
	case <-l.dead:
		return nil
	case <-ctx.Done():
		_ = l.command.Process.Kill() // it may have ended by itself
		<-l.dead
		return fmt.Errorf("the supervisor process of session backends had to be killed: %w", context.Cause(ctx))
	}
}
