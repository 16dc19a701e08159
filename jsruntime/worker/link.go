//go:build unix

package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/dustin/go-humanize"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/jsruntime/worker/internal/wire"
	"github.com/webtask-edge/caddy-webtask/jsruntime/worker/process"
)

// link is the edge's side of one worker that is in use. It belongs to one key
// and is never used for another.
type link struct {
	owner  *Supervisor
	key    key
	proc   proc
	socket *wire.Polled
	in     *frameReader
	out    *frameWriter
	ready  chan struct{} // closed when the worker has answered the greeting
	gone   chan struct{} // closed when it has ended and all was told

	pace    process.Pace  // the governor's
	yields  bool          // so it was told: at first it does
	deaf    bool          // it cannot be told
	taken   time.Time     // into use
	answers atomic.Uint64 // that the worker gave

	sending sync.Mutex // programs and webtasks go out in order

	held atomic.Int64 // bytes of the worker's calls of Host, see maxHeld

	mu        sync.Mutex
	calls     map[uint32]*call
	last      uint32 // number of the last request
	specs     map[*jsruntime.Spec]uint32
	programs  map[*jsruntime.Program]uint32
	questions map[uint32]chan []byte
	asked     uint32
	retiring  bool // takes no new requests
	idleSince time.Time
	culprit   *call // whose fault it is that the worker has to end
	fault     error // what is said of that
	reason    error // why it ends, for the log
	dead      bool
}

// proc is what a link needs of its *process.Process.
type proc interface {
	Socket() *os.File
	PID() int
	Kill()
	Done() <-chan struct{}
	Err() error
	CPU() (time.Duration, error)
	Yield(bool) error
	Close()
}

// maxSpecs is how many webtasks a worker is told of before another one takes
// its place: tokens come and go.
const maxSpecs = 1024

// maxCounted is more isolates, or requests that wait for one, than any worker has.
const maxCounted = 1 << 20

// errRetired reports a worker that takes no new requests.
var errRetired = errors.New("worker is retiring")

// newLink returns the link of a worker, which is the caller's if it fails.
func newLink(owner *Supervisor, key key, proc proc) (*link, error) {
	// One that never reads would keep whoever writes to it, and who waits for
	// those, for ever: not all of them have a request whose time runs out.
	const graces = 15 // it may be kept from the CPU
	socket, err := wire.NewPolled(proc.Socket(), graces*owner.options.Grace)
	if err != nil {
		return nil, err
	}
	l := &link{
		owner: owner, key: key, proc: proc, socket: socket,
		in: newFrameReader(socket, maxFromWorker), out: newFrameWriter(socket),
		ready: make(chan struct{}), gone: make(chan struct{}), yields: true, taken: owner.now(),
		calls: make(map[uint32]*call), specs: make(map[*jsruntime.Spec]uint32), programs: make(map[*jsruntime.Program]uint32),
		questions: make(map[uint32]chan []byte), idleSince: owner.now(),
	}
	// Many who write leave it to the end of the link to say that they could not,
	// and one that does not read need not have ended.
	l.out.broke = func(err error) { l.abort(nil, nil, err) }
	return l, nil
}

func (l *link) now() time.Time { return l.owner.now() }

// A worker may send a burst of frames at once, and so many in that time on the
// average: some thousands serve requests as fast as it can. One that sends more,
// which need mean nothing, would take the edge's CPU for little of its own.
const (
	frameBurst     = 1 << 16
	frameBurstTime = 250 * time.Millisecond
)

// read takes what the worker sends, until it ends.
func (l *link) read() {
	since := time.Now()
	for n := 1; ; n++ {
		f, err := l.in.next()
		if err == nil {
			err = l.handle(f)
		}
		if err != nil {
			l.end(err)
			return
		}
		if n%frameBurst == 0 {
			select {
			case <-time.After(frameBurstTime - time.Since(since)):
			case <-l.proc.Done():
			}
			since = time.Now()
		}
		if !l.in.buffered() {
			// Whom the frame has woken runs at once, on this very processor,
			// before the next read.
			runtime.Gosched()
		}
	}
}

func (l *link) handle(f frame) error {
	switch f.kind {
	case kindReady:
		select {
		case <-l.ready:
			return wire.Violation("greeted twice")
		default:
			close(l.ready)
			return nil
		}
	case kindEvent:
		return l.event(f)
	case kindStuck:
		l.stuck(f.request)
		return nil
	case kindAnswer:
		l.mu.Lock()
		question := l.questions[f.request]
		delete(l.questions, f.request)
		l.mu.Unlock()
		if question != nil {
			question <- f.payload
		}
		return nil
	}
	l.mu.Lock()
	c, last := l.calls[f.request], l.last
	l.mu.Unlock()
	switch {
	case c != nil:
		return c.handle(f)
	case f.request == 0 || f.request > last:
		return wire.Violation("frame of kind %d for request %d, which it was not given", f.kind, f.request)
	default:
		return nil // the request is over on this side
	}
}

// event passes on what metrics want to know. A worker may lie about itself.
func (l *link) event(f frame) error {
	d := decoder{Decoder: wire.Decoder{Rest: f.payload}}
	event, took, text := d.Uint(), time.Duration(d.Int()), d.String()
	if err := d.End(); err != nil {
		return err
	}
	if took < 0 {
		return wire.Violation("an event that took %s", took)
	}
	observer := l.owner.options.Observer
	switch event {
	case eventQueueWaited:
		observer.QueueWaited(l.key.container, took)
	case eventCompiled:
		var err error
		if text != "" {
			err = errors.New(text)
		}
		observer.Compiled(took, err)
	case eventCreated:
		observer.IsolateCreated(l.key.container, took)
	case eventDiscarded:
		switch text { // it becomes a label
		case "recycled", "idle", "evicted", "flushed", "limit", "error", "pending", "closed":
			observer.IsolateDiscarded(l.key.container, text)
		default:
			return wire.Violation("an isolate discarded for %q", text)
		}
	default:
		return wire.Violation("event %d", event)
	}
	return nil
}

// do runs a request.
func (l *link) do(ctx context.Context, spec *jsruntime.Spec, req *jsruntime.Request) (*jsruntime.Response, error) {
	deadline := req.Deadline
	if deadline.IsZero() {
		deadline = l.now().Add(spec.Limits.Timeout)
	}
	c := &call{link: l, req: req, spec: spec, caller: ctx, deadline: deadline, outcome: make(chan outcome, 1)}
	number, err := l.add(c)
	if err != nil {
		return nil, err
	}
	// Whatever breaks the socket ends the call with more to say.
	_ = l.out.send(kindRequest, c.number, func(b []byte) []byte { return putRequest(b, number, req, l.now()) })
	select {
	case o := <-c.outcome:
		return c.result(o)
	case <-ctx.Done():
		// It stays among the calls until the worker says that it has ended.
		c.mu.Lock()
		c.endBy = l.now().Add(c.spec.Limits.CPUTime + l.owner.options.Grace)
		c.mu.Unlock()
		c.finish(context.Cause(ctx))
		_ = l.out.send(kindCancel, c.number, nil)
		return nil, context.Cause(ctx)
	}
}

// result decodes the outcome of a call, on the request's goroutine.
func (c *call) result(o outcome) (*jsruntime.Response, error) {
	if o.err != nil {
		return nil, o.err
	}
	if o.frame.kind == kindFailure {
		wait, err := decodeFailure(o.frame.payload, c.spec.Container, c.failure)
		c.req.QueueWait = wait
		return nil, c.checked(err)
	}
	d := decoder{Decoder: wire.Decoder{Rest: o.frame.payload}}
	resp, wait := d.response()
	if err := d.End(); err != nil {
		return nil, c.checked(err)
	}
	c.req.QueueWait = wait
	if limit := c.spec.Limits.ResponseBody; limit > 0 && int64(len(resp.Bytes)) > limit {
		return nil, c.checked(wire.Violation("a body beyond its limit"))
	}
	if c.reply != nil {
		resp.Body = &replyBody{inbound: c.reply, call: c}
	}
	return resp, nil
}

// checked ends a worker that broke the protocol.
func (c *call) checked(err error) error {
	if errors.Is(err, wire.ErrProtocol) {
		c.link.abort(nil, nil, err)
		return &jsruntime.CrashError{Container: c.spec.Container, Err: err, Alone: true}
	}
	return err
}

// replyBody is the body of a response. Closing it before its end is how a
// caller gives up; the script is told.
type replyBody struct {
	*inbound
	call *call
}

// Close implements io.Closer.
func (b *replyBody) Close() error {
	b.call.mu.Lock()
	whole := b.call.bodyOver
	b.call.mu.Unlock()
	if !whole {
		_ = b.call.link.out.send(kindCancel, b.call.number, nil)
	}
	return b.inbound.Close()
}

// add registers a call and returns the number of its webtask, of which the
// worker is told if need be.
func (l *link) add(c *call) (spec uint32, err error) {
	l.mu.Lock()
	number, ok := l.specs[c.spec]
	if ok && !l.retiring {
		l.enter(c)
		l.mu.Unlock()
		return number, nil
	}
	l.mu.Unlock()
	l.sending.Lock()
	defer l.sending.Unlock()
	if number, err = l.introduce(c.spec); err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.retiring {
		return 0, errRetired
	}
	l.enter(c)
	return number, nil
}

// enter adds a call. The mutex is held, and the link is not retiring.
func (l *link) enter(c *call) {
	l.last++
	c.number = l.last
	l.calls[c.number] = c
	if len(l.calls) == 1 {
		l.owner.wakeGovernor()
	}
	if l.last == 1<<32-1 || len(l.specs) >= maxSpecs {
		l.retiring = true
	}
}

// introduce tells the worker of a webtask, and of its program. The mutex
// sending is held.
func (l *link) introduce(spec *jsruntime.Spec) (uint32, error) {
	l.mu.Lock()
	number, known := l.specs[spec]
	program, knownProgram := l.programs[spec.Program]
	retiring := l.retiring
	l.mu.Unlock()
	switch {
	case retiring:
		return 0, errRetired
	case known:
		return number, nil
	case spec.Program.Script == nil:
		return 0, fmt.Errorf("program %s was compiled in this process and cannot be sent to a worker", spec.Program.Name)
	}
	if !knownProgram {
		program = uint32(len(l.programs) + 1)
		text := mustJSON(&programMessage{ID: program, Script: *spec.Program.Script})
		if err := l.out.send(kindProgram, 0, func(b []byte) []byte { return append(b, text...) }); err != nil {
			return 0, l.broken(err)
		}
	}
	number = uint32(len(l.specs) + 1)
	text := mustJSON(&specMessage{
		ID: number, Program: program, Key: spec.Key, Options: spec.SpecOptions, Token: spec.Token, Secrets: spec.Secrets,
	})
	if err := l.out.send(kindSpec, 0, func(b []byte) []byte { return append(b, text...) }); err != nil {
		return 0, l.broken(err)
	}
	l.mu.Lock()
	l.programs[spec.Program], l.specs[spec] = program, number
	l.mu.Unlock()
	return number, nil
}

// broken is the error of a request that never reached a worker which died.
func (l *link) broken(err error) error {
	return &jsruntime.CrashError{Container: l.key.container, Err: err, Unharmed: true}
}

// drop forgets a call that is over.
func (l *link) drop(c *call) {
	l.mu.Lock()
	delete(l.calls, c.number)
	if len(l.calls) == 0 {
		l.idleSince = l.now()
	}
	l.mu.Unlock()
	c.finish(errStreamClosed)
}

// stuck ends the worker because a request in it cannot be interrupted. Number
// 0 says that it happened while a program was loaded: then it is the request
// that has waited longest.
func (l *link) stuck(number uint32) {
	l.mu.Lock()
	c := l.calls[number]
	if number == 0 {
		for _, other := range l.calls {
			if c == nil || other.number < c.number {
				c = other
			}
		}
	}
	l.mu.Unlock()
	if c == nil {
		l.abort(nil, nil, errors.New("a script that nobody waits for cannot be interrupted"))
		return
	}
	fault := timeLimit(c.spec, !l.now().Before(c.deadline))
	l.abort(c, fault, fault)
}

// abort kills the worker. c, if not nil, is at fault and fails with fault.
func (l *link) abort(c *call, fault, reason error) {
	l.mu.Lock()
	l.retiring = true
	if l.reason == nil {
		l.culprit, l.fault, l.reason = c, fault, reason
	}
	l.mu.Unlock()
	l.proc.Kill()
}

// end is called when nothing more can come: all calls fail.
func (l *link) end(err error) {
	if errors.Is(err, wire.ErrProtocol) {
		l.abort(nil, nil, err)
	}
	l.proc.Kill()
	<-l.proc.Done()
	if died := l.proc.Err(); died != nil {
		err = died
	}
	l.mu.Lock()
	l.retiring, l.dead = true, true
	if l.reason == nil {
		l.reason = err
	}
	calls, questions, culprit, fault, reason := l.calls, l.questions, l.culprit, l.fault, l.reason
	l.calls, l.questions = make(map[uint32]*call), nil
	l.mu.Unlock()
	l.out.shut(fmt.Errorf("the worker has ended: %w", reason))
	for _, question := range questions {
		close(question)
	}
	open := 0
	for _, c := range calls {
		c.mu.Lock()
		if !c.answered || c.reply != nil && !c.bodyOver {
			open++
		}
		c.mu.Unlock()
	}
	// Also who was answered, or has gone, may have had it die: by waitUntil.
	l.owner.left(l, reason, len(calls) > 0 || culprit != nil)
	for _, c := range calls {
		if c == culprit && fault != nil {
			c.finish(fault)
			continue
		}
		c.finish(l.crash(c, reason, open == 1 && culprit == nil))
	}
	l.socket.Close()
	l.proc.Close()
	close(l.gone)
}

// crash is what a call fails with whose worker died. One that was alone there
// has its own doing to blame.
func (l *link) crash(c *call, reason error, alone bool) error {
	if why, ok := process.ReasonOf(reason); ok && alone && why == process.OutOfMemory {
		return &jsruntime.LimitError{
			Limit: "memory", Value: humanize.IBytes(uint64(l.key.memory)), Option: "memory", Status: http.StatusInternalServerError,
		}
	}
	return &jsruntime.CrashError{
		Container: l.key.container, Err: reason,
		Alone: alone, Unharmed: !alone && !c.touched.Load(),
	}
}

// ask sends a question about isolates and waits for the answer.
func (l *link) ask(ctx context.Context, question control) (answer controlAnswer, err error) {
	l.mu.Lock()
	if l.dead {
		l.mu.Unlock()
		return answer, io.EOF
	}
	l.asked++
	number, reply := l.asked, make(chan []byte, 1)
	l.questions[number] = reply
	l.mu.Unlock()
	if err := l.out.send(kindControl, number, func(b []byte) []byte { return append(b, mustJSON(&question)...) }); err != nil {
		return answer, err
	}
	select {
	case payload, ok := <-reply:
		if !ok {
			return answer, io.EOF
		}
		d := decoder{Decoder: wire.Decoder{Rest: wire.PutBytes(nil, payload)}}
		d.json(&answer)
		l.checkAnswer(&d, &answer)
		if err := d.End(); err != nil {
			l.abort(nil, nil, err)
			return controlAnswer{}, err
		}
		return answer, nil
	case <-ctx.Done():
		l.mu.Lock()
		delete(l.questions, number)
		l.mu.Unlock()
		return answer, context.Cause(ctx)
	}
}

// checkAnswer refuses what a worker cannot know, and leaves nothing that a
// terminal would obey: operators look at it.
func (l *link) checkAnswer(d *decoder, answer *controlAnswer) {
	if len(answer.Pools) > maxSpecs || answer.Flushed < 0 {
		d.Fail("counts of isolates")
	}
	plain := func(r rune) rune {
		if unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}
	for i := range answer.Pools {
		p := &answer.Pools[i]
		if p.Container != l.key.container || min(p.Idle, p.Busy, p.Queued) < 0 || max(p.Idle, p.Busy, p.Queued) > maxCounted {
			d.Fail("statistics of what is not its own")
		}
		p.Key, p.Name, p.Program = strings.Map(plain, p.Key), strings.Map(plain, p.Name), strings.Map(plain, p.Program)
	}
}
