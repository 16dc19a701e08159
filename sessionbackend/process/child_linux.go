package process

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/webtask-edge/caddy-webtask/sessionbackend/internal/offspring"
	"github.com/webtask-edge/caddy-webtask/sessionbackend/internal/ports"
)

// A supervisor process is taken over before anything of the program has run.
func init() { offspring.TakeOver(argv0, supervise) }

// parent is what a supervisor process has.
type parent struct {
	settings settings
	dir      string // of the sockets
	out      *outbox
	forks    chan *fork
	born     chan struct{} // a child was started
	starting sync.WaitGroup

	mu      sync.Mutex
	closing bool
	byPID   map[int]*child    // until nothing of it is left
	byID    map[string]*child // likewise
	ports   ports.Ports
	alarm   *alarm        // of deadlines
	none    chan struct{} // closed when closing and nothing is left
}

// supervise runs backends until the edge is gone and nothing of them is left.
func supervise(s settings, socket *os.File) error {
	if s.Node == "" {
		return errors.New("started by somebody else")
	}
	// What a backend leaves behind becomes a child of this process.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("becoming a subreaper: %w", err)
	}
	sweep(s.Node)
	dir, release, err := makeDir(s.Node)
	if err != nil {
		return err
	}
	defer release()
	alarm, err := newAlarm()
	if err != nil {
		return err
	}
	p := &parent{
		settings: s, dir: dir, alarm: alarm, out: newOutbox(socket), forks: make(chan *fork), born: make(chan struct{}, 1),
		byPID: make(map[int]*child), byID: make(map[string]*child), none: make(chan struct{}),
	}
	go p.fork()
	go p.reap()
	go p.keepDeadlines()
	p.out.put(&report{Hello: true})
	orders := json.NewDecoder(bufio.NewReader(socket))
	for {
		var o order
		if orders.Decode(&o) != nil {
			break // the edge is gone
		}
		p.obey(&o)
	}
	p.close()
	<-p.none
	p.out.flush(flushTimeout)
	return nil
}

// makeDir makes the directory of the sockets, and removes those that supervisor
// processes before this one have left.
func makeDir(node string) (dir string, release func(), err error) {
	prefix := "webtask-backends-" + node + "-"
	old, _ := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*")) // fails for a bad pattern only
	for _, left := range old {
		_ = os.RemoveAll(left) // it may be somebody else's
	}
	if dir, err = os.MkdirTemp("", prefix); err != nil {
		return "", nil, err
	}
	// Each backend's own directory in it is closed to others.
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // backends of other users go through it
		return "", nil, err
	}
	// Who cleans up old temporary files (tmpfiles.d(5)) leaves locked directories
	// alone.
	held, err := os.Open(dir)
	if err != nil {
		return "", nil, err
	}
	if err := unix.Flock(int(held.Fd()), unix.LOCK_SH); err != nil {
		return "", nil, err
	}
	return dir, func() {
		_ = os.RemoveAll(dir)
		_ = held.Close() // nothing was written
	}, nil
}

// flushTimeout is how long the last reports may take to be read by an edge that
// waits for the end of this process.
const flushTimeout = time.Second

// obey does what the edge says.
func (p *parent) obey(o *order) {
	if o.Start != nil {
		p.starting.Go(func() { p.start(o.ID, o.Start) })
		return
	}
	if o.Extend != 0 {
		p.extend(o.ID, o.Extend)
	}
	if o.Ping {
		p.out.put(&report{Pong: true})
	}
	if o.Stop {
		p.mu.Lock()
		c := p.byID[o.ID]
		p.mu.Unlock()
		if c != nil {
			c.stop(o.Grace)
		}
	}
}

// close ends all backends, each with the time it was given.
func (p *parent) close() {
	p.mu.Lock()
	p.closing = true
	for _, c := range p.byID {
		c.stop(c.order.Grace)
	}
	p.mu.Unlock()
	p.starting.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.emptied()
}

// emptied closes none if nothing is left. The mutex is held.
func (p *parent) emptied() {
	if !p.closing || len(p.byID) > 0 {
		return
	}
	select {
	case <-p.none:
	default:
		close(p.none)
	}
}
