package edge

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
)

// clientBody is a request's body that stops waiting for its client when the
// time for the answer is over. A server without read_timeout would wait for
// ever: with it an isolate that has its first request, and the answer that
// says so, since net/http sends none while a Read is under way.
type clientBody struct {
	io.ReadCloser
	control *http.ResponseController
	ended   atomic.Bool // nothing is left to wait for
	timeout time.Duration
	timer   *time.Timer

	mu      sync.Mutex
	over    bool // the time does not matter any more
	expired bool
}

// newClientBody returns the body of r, which is waited for as long as timeout
// at most, from now until settle.
func newClientBody(w http.ResponseWriter, r *http.Request, timeout time.Duration) *clientBody {
	b := &clientBody{ReadCloser: r.Body, control: http.NewResponseController(w), timeout: timeout}
	b.timer = time.AfterFunc(timeout, b.expire)
	return b
}

// Read implements io.Reader. Once the time is over it fails with the limit.
func (b *clientBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == nil {
		return n, nil
	}
	b.ended.Store(true)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.expired && err != io.EOF {
		err = b.late()
	}
	return n, err
}

// expire ends the wait. A deadline is only ever moved to the past, so that the
// server's own holds until then.
func (b *clientBody) expire() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over || b.ended.Load() {
		return
	}
	b.expired = true
	// A writer that knows no deadlines leaves it to the server's.
	_ = b.control.SetReadDeadline(time.Unix(1, 0))
}

// closesConnection is called before the head of an answer that is written while
// the body may still be read. For those net/http does not see that a body is
// left when a handler in front has put another in its place, as Caddy's server
// does: it would take the rest of it for the next request of the connection. And
// when it sees one that is short enough to be read, it panics over that.
func (b *clientBody) closesConnection(w http.ResponseWriter, r *http.Request) {
	if b == nil || b.ended.Load() || r.ProtoMajor != 1 {
		return
	}
	w.Header()["Connection"] = []string{"close"}
}

// settle is called with what became of the request, before the head of its
// answer is written. When the time was over, a client that is still sending is
// not waited for, and the connection is not used again: what is left of the
// body stands in front of the next request there.
func (b *clientBody) settle(w http.ResponseWriter, r *http.Request, err error) error {
	b.timer.Stop()
	var limit *jsruntime.LimitError
	if errors.As(err, &limit) && limit.Status == http.StatusGatewayTimeout {
		b.expire()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.over = true
	if !b.expired {
		return err
	}
	if r.ProtoMajor == 1 {
		w.Header()["Connection"] = []string{"close"}
	}
	if limit == nil {
		// net/http takes a connection that cannot be read for one whose
		// client went away.
		return b.late()
	}
	return err
}

func (b *clientBody) late() error {
	return &jsruntime.LimitError{Limit: "timeout", Value: b.timeout.String(), Option: "timeout", Status: http.StatusGatewayTimeout}
}
