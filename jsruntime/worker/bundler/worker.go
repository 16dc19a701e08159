//go:build unix

package bundler

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/webtask-edge/caddy-webtask/jsruntime/source"
	"github.com/webtask-edge/caddy-webtask/jsruntime/worker/internal/wire"
	"github.com/webtask-edge/caddy-webtask/jsruntime/worker/process"
)

// How a process ends before it has answered. The first two wrap what package
// process says of it.
var (
	errNotBegun = errors.New("the bundler ended before it saw the code")
	errDied     = errors.New("the bundler died of the code")
	errTimeout  = errors.New("the bundler took too long")
	errStarved  = errors.New("the machine was too busy for the bundler")
)

// endTimeout is how long a process may go on after it has closed its socket.
const endTimeout = time.Second

// worker is a process that has started, and has bundled nothing yet.
type worker struct {
	process *process.Process
	socket  *wire.Polled
	conn    *conn
	largest uint32 // frame that may come; set before a job is sent

	mu    sync.Mutex
	cause error // why it was killed
}

// start starts a process and waits until it can be used. It yields the CPU, where
// somebody waits for it not for ever.
func start(ctx context.Context, kind string, options *Options, yields bool) (*worker, error) {
	p, err := process.Start(process.Options{Kind: kind, Memory: options.Memory, Yield: true, Strict: options.Strict})
	if err != nil {
		return nil, err
	}
	if !yields {
		told := make(chan struct{})
		insist := time.AfterFunc(process.StartPatience, func() {
			_ = p.Yield(false) // else it takes its time
			close(told)
		})
		defer func() {
			if !insist.Stop() {
				<-told // before anybody tells it otherwise
			}
		}()
	}
	socket, err := wire.NewPolled(p.Socket(), 0) // who has waited too long kills it
	if err != nil {
		p.Close()
		return nil, err
	}
	w := &worker{process: p, socket: socket}
	w.conn = newConn(socket, w.limit)
	defer context.AfterFunc(ctx, func() { w.kill(context.Cause(ctx)) })()
	timer := time.AfterFunc(startTimeout, func() { w.kill(fmt.Errorf("it was not ready within %v", startTimeout)) })
	defer timer.Stop()
	k, payload, err := w.conn.read()
	if err == nil && (k != frameReady || len(payload) != 1 || payload[0] != version) {
		err = wire.Violation("frame of kind %d instead of its version", k)
	}
	if err != nil {
		if isEnd(err) {
			err = w.died(errNotBegun)
		}
		err = w.ended(err)
		w.close()
		return nil, err
	}
	return w, nil
}

// limit bounds the frames that come from the process.
func (w *worker) limit(k frameKind) uint32 {
	switch k {
	case frameReady, frameBegun:
		return 1
	case frameResolve:
		return source.MaxSpecifier + 32
	case frameProblem:
		return maxProblem
	case frameOutput:
		return w.largest
	}
	return 0
}

// kill ends the process, and with it whoever reads or writes. The first cause
// is the one that counts.
func (w *worker) kill(cause error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cause == nil {
		w.cause = cause
	}
	w.socket.Close()
	w.process.Close()
}

// ended returns why a read failed: what the process was killed for, else what
// the system says.
func (w *worker) ended(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cause != nil {
		return w.cause
	}
	return err
}

// died says why a process has closed its socket without being asked to.
func (w *worker) died(what error) error {
	timer := time.NewTimer(endTimeout)
	defer timer.Stop()
	select {
	case <-w.process.Done():
	case <-timer.C:
	}
	if err := w.process.Err(); err != nil {
		return fmt.Errorf("%w: %w", what, err)
	}
	return what
}

// close kills the process and waits for its end. It may be called again.
func (w *worker) close() {
	w.socket.Close()
	w.process.Close()
	<-w.process.Done()
}

// isEnd reports whether a read failed as it does when the peer is gone.
func isEnd(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, unix.ECONNRESET)
}
