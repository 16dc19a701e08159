package docker

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/webtask-edge/caddy-webtask/sessionbackend/internal/offspring"
)

// reaper is the edge's side of a reaper process.
type reaper struct {
	logger   *zap.Logger
	socket   *os.File
	command  *exec.Cmd
	dead     chan struct{} // closed when it has ended
	began    time.Time
	heard    atomic.Int64 // when it said something last, in nanoseconds since began
	patience time.Duration

	sending sync.Mutex
	out     *json.Encoder
}

// startReaper starts a reaper process, which inherits the lock.
func startReaper(node string, lock *os.File, options *Options) (*reaper, error) {
	command, socket, err := offspring.Start(argv0, settings{Node: node}, lock)
	if err != nil {
		return nil, fmt.Errorf("the reaper process of session backends: %w", err)
	}
	return &reaper{
		logger: options.Logger, socket: socket, command: command, dead: make(chan struct{}),
		began: time.Now(), patience: options.Patience, out: json.NewEncoder(socket),
	}, nil
}

// tell gives the reaper process an order. What was written is read by it, even if
// the edge dies the next moment.
func (r *reaper) tell(o *order) error {
	r.sending.Lock()
	defer r.sending.Unlock()
	// A process that is stopped takes nothing more: watch sees to it.
	_ = r.socket.SetWriteDeadline(time.Now().Add(2 * r.patience)) // of a socket, which has deadlines
	return r.out.Encode(o)
}

// listen waits until the reaper process has ended.
func (r *reaper) listen() {
	answers := json.NewDecoder(bufio.NewReader(r.socket))
	for answers.Decode(new(pong)) == nil {
		r.heard.Store(int64(time.Since(r.began)))
	}
	_ = r.socket.Close() // whose other end is gone
	_ = r.command.Wait() // how it ended, it has said itself
	close(r.dead)
}

// watch kills a reaper process that does not answer: one that was stopped would
// miss the edge's death, and keep the lock for ever.
func (r *reaper) watch() {
	tick := time.NewTicker(r.patience / 4)
	defer tick.Stop()
	for {
		select {
		case <-r.dead:
			return
		case <-tick.C:
		}
		silent := time.Since(r.began) - time.Duration(r.heard.Load())
		if silent > r.patience {
			r.logger.Error("the reaper process of session backends does not answer, and is killed", zap.Duration("silent", silent))
			r.kill()
			return
		}
		go func() { _ = r.tell(&order{Ping: true}) }() // it may take no more
	}
}

func (r *reaper) kill() {
	_ = r.command.Process.Kill() // it may have ended by itself
}

// leave has the reaper process do what it does when the edge is gone.
func (r *reaper) leave() {
	if raw, err := r.socket.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_WR) })
	}
}
