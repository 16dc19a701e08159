package process

import (
	"encoding/json"
	"io"
	"sync"
	"time"
)

// outbox sends reports to an edge that may be slow, or stopped, without making
// anybody wait: lines of output are dropped then, everything else is kept.
type outbox struct {
	mu      sync.Mutex
	queue   []*report
	lines   int
	waiting chan struct{} // there is something to send
	idle    bool          // all is sent
}

// maxLines bounds the lines that wait.
const maxLines = 1000

func newOutbox(to io.Writer) *outbox {
	o := &outbox{waiting: make(chan struct{}, 1), idle: true}
	go o.send(json.NewEncoder(to))
	return o
}

// put sends a report.
func (o *outbox) put(r *report) {
	o.mu.Lock()
	o.queue = append(o.queue, r)
	o.idle = false
	o.mu.Unlock()
	select {
	case o.waiting <- struct{}{}:
	default:
	}
}

// putLine sends a line of output, unless many wait already.
func (o *outbox) putLine(r *report) {
	o.mu.Lock()
	full := o.lines >= maxLines
	if !full {
		o.lines++
	}
	o.mu.Unlock()
	if !full {
		o.put(r)
	}
}

func (o *outbox) send(to *json.Encoder) {
	for range o.waiting {
		o.mu.Lock()
		batch := o.queue
		o.queue, o.lines = nil, 0
		o.mu.Unlock()
		for _, r := range batch {
			_ = to.Encode(r) // an edge that is gone hears nothing
		}
		o.mu.Lock()
		o.idle = len(o.queue) == 0
		o.mu.Unlock()
	}
}

// flush waits until all is sent, for so long at most.
func (o *outbox) flush(limit time.Duration) {
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(flushPoll) {
		o.mu.Lock()
		idle := o.idle
		o.mu.Unlock()
		if idle {
			return
		}
	}
}

// flushPoll is how often flush looks.
const flushPoll = time.Millisecond
