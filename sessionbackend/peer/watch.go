package peer

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

// other is another edge. While it has requests of this one it is asked again and
// again whether it is there: a connection to one that stands still, or that the
// network has lost, says nothing for a long time.
type other struct {
	identity  Identity
	address   string
	silence   time.Duration
	transport *http.Transport

	mu       sync.Mutex
	active   map[*exchange]struct{}
	watching bool
}

// exchange is a request, and its answer until that has ended.
type exchange struct {
	cancel context.CancelCauseFunc

	mu   sync.Mutex
	body io.Closer // of the answer
	cut  bool
}

var errSilent = errors.New("it does not answer")

func (o *other) begin(e *exchange) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.active[e] = struct{}{}
	if !o.watching {
		o.watching = true
		go o.watch()
	}
}

func (o *other) end(e *exchange) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.active, e)
}

// watch asks until there are no requests any more, and ends all when there was no
// answer for too long.
func (o *other) watch() {
	heard := time.Now()
	for {
		<-time.After(o.silence / 5)
		o.mu.Lock()
		if len(o.active) == 0 {
			o.watching = false
			o.mu.Unlock()
			return
		}
		o.mu.Unlock()
		if o.answers() {
			heard = time.Now()
		} else if time.Since(heard) >= o.silence {
			o.giveUp()
			heard = time.Now()
		}
	}
}

func (o *other) answers() bool {
	ctx, cancel := context.WithTimeout(context.Background(), o.silence/5)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+o.address+"/", http.NoBody)
	if err != nil {
		return false
	}
	resp, err := o.transport.RoundTrip(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close() // it is empty
	return resp.Header.Get(answerHeader) == ofEdge
}

// giveUp ends all requests that the other edge has.
func (o *other) giveUp() {
	o.mu.Lock()
	all := make([]*exchange, 0, len(o.active))
	for e := range o.active {
		all = append(all, e)
	}
	o.mu.Unlock()
	for _, e := range all {
		e.end()
	}
	o.transport.CloseIdleConnections()
}

func (e *exchange) end() {
	e.cancel(errSilent)
	e.mu.Lock()
	body := e.body
	e.cut = true
	e.mu.Unlock()
	if body != nil {
		_ = body.Close() // which ends a tunnel; it was lost anyway
	}
}

// follow notes the end of an answer.
func (o *other) follow(body io.ReadCloser, e *exchange) io.ReadCloser {
	followed := &answer{ReadCloser: body, ended: sync.OnceFunc(func() {
		o.end(e)
		e.cancel(nil)
	})}
	e.mu.Lock()
	e.body = body
	cut := e.cut
	e.mu.Unlock()
	if cut {
		_ = body.Close() // it was given up meanwhile
	}
	if tunnel, ok := body.(io.ReadWriteCloser); ok {
		return &tunnelled{followed, tunnel}
	}
	return followed
}

// answer is the body of an answer.
type answer struct {
	io.ReadCloser
	ended func()
}

func (a *answer) Close() error {
	defer a.ended()
	return a.ReadCloser.Close()
}

// tunnelled is a connection that was upgraded.
type tunnelled struct {
	*answer
	io.Writer
}
