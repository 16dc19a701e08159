//go:build unix

package worker

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/jsruntime/worker/internal/wire"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

// A liar is the other end of a link: a worker in somebody else's hands. The
// process is the only thing here that is not real.
type liar struct {
	t    testing.TB
	fd   int
	link *link
	in   *frameReader

	host   jsruntime.Host
	limits webtask.Limits
	slow   chan struct{} // bodies of responses are not read before it is closed; nil: at once
	unread atomic.Bool   // bodies of responses are not read before the end
}

type liarProcess struct {
	socket *os.File
	other  int
	done   chan struct{}
	once   sync.Once
	cpu    *time.Duration // that it says it took; nil: nothing
}

func (p *liarProcess) Socket() *os.File      { return p.socket }
func (p *liarProcess) PID() int              { return 0 }
func (p *liarProcess) Done() <-chan struct{} { return p.done }
func (p *liarProcess) Close()                { p.socket.Close() }
func (p *liarProcess) Err() error            { return nil }
func (p *liarProcess) Yield(bool) error      { return nil }

// CPU is what a test says.
func (p *liarProcess) CPU() (time.Duration, error) {
	if p.cpu == nil {
		return 0, errors.ErrUnsupported
	}
	return *p.cpu, nil
}

// Kill breaks the socket, as the end of a process does.
func (p *liarProcess) Kill() {
	p.once.Do(func() {
		close(p.done)
		_ = unix.Shutdown(p.other, unix.SHUT_RDWR)
	})
}

func newLiar(t testing.TB, options Options) *liar {
	t.Helper()
	options.Spares, options.Grace = -1, cmp.Or(options.Grace, time.Minute)
	s, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	return liarOf(t, s)
}

func liarOf(t testing.TB, s *Supervisor) *liar {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	k := key{container: "acme", memory: s.options.Memory}
	l, err := newLink(s, k, &liarProcess{socket: os.NewFile(uintptr(pair[0]), "liar"), other: pair[1], done: make(chan struct{})})
	if err != nil {
		t.Fatal(err)
	}
	made := make(chan struct{})
	close(made)
	s.mu.Lock()
	s.links[l] = struct{}{}
	s.workers[k] = &entry{made: made, link: l}
	s.mu.Unlock()
	s.owned.Go(l.read)
	t.Cleanup(func() {
		l.proc.Kill()
		<-l.gone
		unix.Close(pair[1])
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = s.Close(ctx) // requests of a liar never end by themselves
	})
	return &liar{t: t, fd: pair[1], link: l, in: newFrameReader(wire.Blocking(pair[1]), maxFromEdge), host: refusing{}, limits: webtask.Limits{Timeout: time.Hour}}
}

// ask sends a request through the link and returns it as the liar gets it.
func (w *liar) ask(ctx context.Context, body io.Reader) (number uint32, outcome chan error) {
	w.t.Helper()
	program := jsruntime.NewProgram(jsruntime.Script{Name: "a.js", Code: "module.exports = (cb) => cb()"})
	spec := jsruntime.NewSpec("k", program, jsruntime.SpecOptions{Container: "acme", Limits: w.limits})
	outcome = make(chan error, 1)
	req := &jsruntime.Request{ID: "r", Method: "GET", URL: "http://localhost/", Header: http.Header{}, Host: w.host, Body: body, Length: -1}
	go func() {
		resp, err := w.link.do(ctx, spec, req)
		if err == nil && resp.Body != nil {
			if w.unread.Load() {
				<-w.link.gone
			}
			if w.slow != nil {
				<-w.slow
			}
			_, err = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		outcome <- err
	}()
	for {
		f, err := w.in.next()
		if err != nil {
			w.t.Fatal(err)
		}
		if f.kind == kindRequest {
			return f.request, outcome
		}
	}
}

func (w *liar) say(k kind, request uint32, payload []byte) {
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(payload)))
	b = binary.LittleEndian.AppendUint32(append(b, byte(k)), request)
	_, _ = unix.Write(w.fd, append(b, payload...)) // the edge may have hung up already
}

// refusing is a Host that lets nothing happen.
type refusing struct{}

var errRefused = errors.New("refused")

func (refusing) Fetch(context.Context, *jsruntime.FetchRequest) (*jsruntime.FetchResponse, error) {
	return nil, errRefused
}
func (refusing) LoadSession(context.Context) (*jsruntime.Session, error) { return nil, errRefused }
func (refusing) SaveSession(context.Context, *webtask.SessionChange) (*jsruntime.Session, error) {
	return nil, errRefused
}
func (refusing) Log(jsruntime.LogEntry) {}

// Whatever breaks the protocol ends the worker, and the request with an error.
func TestLies(t *testing.T) {
	response := func(flags uint64, status int, header http.Header, length int64) []byte {
		b := wire.PutUint(wire.PutUint(nil, flags), uint64(status))
		return wire.PutInt(putHeader(wire.PutString(b, ""), header), length)
	}
	whole := func(b []byte) []byte { return wire.PutBytes(wire.PutUint(b, 0), []byte("hello")) }
	many := http.Header{}
	for i := range maxHeaderNames + 1 {
		many[strings.Repeat("a", i+1)] = []string{"x"}
	}
	change := func(change webtask.SessionChange) []byte {
		return wire.PutBytes(wire.PutUint(wire.PutUint(nil, 1), callSaveSession), mustJSON(&change))
	}
	for name, lie := range map[string]func(w *liar, number uint32){
		"unknown kind":       func(w *liar, n uint32) { w.say(kinds, n, nil) },
		"kind of the edge":   func(w *liar, n uint32) { w.say(kindRequest, n, nil) },
		"endless frame":      func(w *liar, n uint32) { w.say(kindLog, n, nil); writeHead(w.fd, 1<<31) },
		"request not given":  func(w *liar, n uint32) { w.say(kindResponse, n+1, whole(response(0, 200, nil, 5))) },
		"request of none":    func(w *liar, n uint32) { w.say(kindDone, 0, nil) },
		"done, unanswered":   func(w *liar, n uint32) { w.say(kindDone, n, nil) },
		"empty response":     func(w *liar, n uint32) { w.say(kindResponse, n, nil) },
		"too many headers":   func(w *liar, n uint32) { w.say(kindResponse, n, whole(response(0, 200, many, 5))) },
		"trailing bytes":     func(w *liar, n uint32) { w.say(kindResponse, n, append(whole(response(0, 200, nil, 5)), 1)) },
		"failure, no JSON":   func(w *liar, n uint32) { w.say(kindFailure, n, []byte("{")) },
		"failure that is ok": func(w *liar, n uint32) { w.say(kindFailure, n, []byte(`{"script":{"status":200}}`)) },
		"unknown call":       func(w *liar, n uint32) { w.say(kindCall, n, wire.PutUint(wire.PutUint(nil, 1), 99)) },
		"calls out of order": func(w *liar, n uint32) {
			w.say(kindCall, n, wire.PutUint(wire.PutUint(nil, 2), callLoadSession))
			w.say(kindCall, n, wire.PutUint(wire.PutUint(nil, 1), callLoadSession))
		},
		"header splitting in fetch": func(w *liar, n uint32) {
			req := &jsruntime.FetchRequest{Method: "GET", URL: "http://x/", Header: http.Header{"A": {"1\r\nHost: y"}}, Length: -1}
			w.say(kindCall, n, putFetch(wire.PutUint(wire.PutUint(nil, 1), callFetch), req))
		},
		"method with a space": func(w *liar, n uint32) {
			w.say(kindCall, n, putFetch(wire.PutUint(wire.PutUint(nil, 1), callFetch), &jsruntime.FetchRequest{Method: "GET /", URL: "http://x/"}))
		},
		"session with a TTL":      func(w *liar, n uint32) { w.say(kindCall, n, change(webtask.SessionChange{TTL: time.Hour})) },
		"session of its choosing": func(w *liar, n uint32) { w.say(kindCall, n, change(webtask.SessionChange{MoveTo: "x"})) },
		"method of a proxy": func(w *liar, n uint32) {
			w.say(kindCall, n, putFetch(wire.PutUint(wire.PutUint(nil, 1), callFetch), &jsruntime.FetchRequest{Method: "connect", URL: "http://x/"}))
		},
		"length below unknown": func(w *liar, n uint32) {
			w.say(kindCall, n, putFetch(wire.PutUint(wire.PutUint(nil, 1), callFetch), &jsruntime.FetchRequest{Method: "GET", URL: "http://x/", Length: -2}))
		},
		"data that is none": func(w *liar, n uint32) {
			w.unread.Store(true)
			w.say(kindResponse, n, wire.PutUint(response(responseStream, 200, nil, -1), 0))
			w.say(kindData, n, wire.PutUint(nil, 0))
		},
		"data beyond the window": func(w *liar, n uint32) {
			w.unread.Store(true)
			w.say(kindResponse, n, wire.PutUint(response(responseStream, 200, nil, -1), 0))
			for range window/maxData + 1 {
				w.say(kindData, n, append(wire.PutUint(nil, 0), make([]byte, maxData)...))
			}
		},
		"credit beyond the window": func(w *liar, n uint32) { w.say(kindCredit, n, wire.PutUint(wire.PutUint(nil, 0), 1<<40)) },
		"second answer": func(w *liar, n uint32) {
			w.say(kindResponse, n, wire.PutUint(response(responseStream, 200, nil, -1), 0))
			w.say(kindResponse, n, wire.PutUint(response(responseStream, 200, nil, -1), 0))
		},
		"label of its choosing": func(w *liar, n uint32) {
			w.say(kindEvent, 0, wire.PutString(wire.PutInt(wire.PutUint(nil, eventDiscarded), 0), "x"))
		},
		"hangs up": func(w *liar, n uint32) { _ = unix.Shutdown(w.fd, unix.SHUT_RDWR) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newLiar(t, Options{})
			number, outcome := w.ask(t.Context(), strings.NewReader("body"))
			lie(w, number)
			err := <-outcome
			var crash *jsruntime.CrashError
			if !errors.As(err, &crash) {
				t.Fatalf("the request ended with %v", err)
			}
			if name != "hangs up" && !errors.Is(err, wire.ErrProtocol) {
				t.Errorf("the worker was ended for %v", err)
			}
			<-w.link.gone
		})
	}
}

// TestSmallPieces has a worker send the window of a stream byte by byte: it takes
// no more memory than in one piece.
func TestSmallPieces(t *testing.T) {
	s := newInbound(newFrameWriter(wire.Blocking(-1)), streamKey{request: 1}, window)
	for range window {
		if err := s.push([]byte{1}); err != nil {
			t.Fatal(err)
		}
	}
	total := 0
	for _, chunk := range s.chunks {
		total += cap(chunk)
	}
	if len(s.chunks) > window/joined || total > 2*window {
		t.Errorf("%d pieces that take %d bytes", len(s.chunks), total)
	}
	if body, err := io.ReadAll(io.LimitReader(s, window)); err != nil || len(body) != window {
		t.Errorf("%d bytes are read, %v", len(body), err)
	}
}

// TestReaderNeverWaits has a body give credit that the socket does not take: what
// comes for the same body is taken all the same.
func TestReaderNeverWaits(t *testing.T) {
	out := newFrameWriter(wire.Blocking(-1))
	out.pending, out.writing = make([]byte, maxPending+1), true // somebody else writes, and gets nowhere
	s := newInbound(out, streamKey{request: 1}, 0)
	read := make(chan error)
	go func() {
		_, err := s.Read(make([]byte, 1))
		read <- err
	}()
	pushed := make(chan struct{})
	go func() {
		defer close(pushed)
		for s.push([]byte("x")) != nil { // no credit yet
			runtime.Gosched()
		}
	}()
	select {
	case <-pushed:
	case <-time.After(5 * time.Second):
		t.Error("what came waits for who gives credit")
	}
	out.mu.Lock()
	out.err = io.ErrClosedPipe
	out.room.Broadcast()
	out.mu.Unlock()
	if err := <-read; err != nil {
		t.Error(err)
	}
	<-pushed
}

// TestUnreadSocket has a worker that does not read what it is sent: neither who
// waits for it nor who only asks it is kept.
func TestUnreadSocket(t *testing.T) {
	w := newLiar(t, Options{Grace: 20 * time.Millisecond})
	_, outcome := w.ask(t.Context(), nil)
	large := strings.Repeat("x", 8<<20)
	program := jsruntime.NewProgram(jsruntime.Script{Name: "large.js", Code: large})
	spec := jsruntime.NewSpec("large", program, jsruntime.SpecOptions{Container: "acme", Limits: webtask.Limits{Timeout: time.Hour}})
	others := make(chan error)
	const waiting = 3
	for range waiting {
		go func() {
			req := &jsruntime.Request{ID: "r", Method: "GET", URL: "http://localhost/", Header: http.Header{}, Host: refusing{}}
			_, err := w.link.do(t.Context(), spec, req)
			others <- err
		}()
	}
	for range waiting {
		var crash *jsruntime.CrashError
		if err := <-others; err != errRetired && !errors.As(err, &crash) {
			t.Errorf("a request that waited ended with %v", err)
		}
	}
	if _, err := w.link.ask(t.Context(), control{}); err == nil {
		t.Error("a worker that is gone has answered")
	}
	var crash *jsruntime.CrashError
	if err := <-outcome; !errors.As(err, &crash) || !errors.Is(err, wire.ErrUnread) {
		t.Errorf("the request before ended with %v", err)
	}
	<-w.link.gone
}

// waiting is a Host whose calls end with their request.
type waiting struct{ refusing }

func (waiting) SaveSession(ctx context.Context, _ *webtask.SessionChange) (*jsruntime.Session, error) {
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

// TestHeldCalls has a worker make calls that hold more than it may itself take.
func TestHeldCalls(t *testing.T) {
	w := newLiar(t, Options{Memory: 1}) // counts as 32 MiB
	w.host = waiting{}
	number, outcome := w.ask(t.Context(), nil)
	change := mustJSON(&webtask.SessionChange{Set: map[string][]byte{"k": []byte(`"` + strings.Repeat("x", 2<<20) + `"`)}})
	for n := uint64(1); n <= 32<<20/uint64(len(change))+1; n++ {
		w.say(kindCall, number, wire.PutBytes(wire.PutUint(wire.PutUint(nil, n), callSaveSession), change))
	}
	if err := <-outcome; !errors.Is(err, wire.ErrProtocol) {
		t.Errorf("the request ended with %v", err)
	}
	<-w.link.gone
	ended := time.After(time.Minute)
	for w.link.held.Load() != 0 {
		select {
		case <-ended:
			t.Fatalf("%d bytes are still held", w.link.held.Load())
		case <-time.After(time.Millisecond):
		}
	}
}

// TestFlood has a worker send frames that mean nothing as fast as it can.
func TestFlood(t *testing.T) {
	w := newLiar(t, Options{})
	number, _ := w.ask(t.Context(), nil)
	stop := []byte{0, 0, 0, 0, byte(kindStop), 0, 0, 0, 0, 0}
	binary.LittleEndian.PutUint32(stop, 1)
	binary.LittleEndian.PutUint32(stop[5:], number)
	start := time.Now()
	const bursts = 4 // time runs from before the first, and nothing waits after the last
	for range bursts * frameBurst / 1024 {
		if err := wire.Blocking(w.fd).Write(bytes.Repeat(stop, 1024)); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(start); took < (bursts-2)*frameBurstTime {
		t.Errorf("%d frames were taken in %v", bursts*frameBurst, took)
	}
}

// TestStatistics has a worker tell of another container, and command a terminal.
func TestStatistics(t *testing.T) {
	for text, want := range map[string]string{
		`{"pools":[{"container":"victim","idle":1}]}`:                 "",
		`{"pools":[{"container":"acme","idle":-1}]}`:                  "",
		`{"pools":[{"container":"acme","busy":9223372036854775807}]}`: "",
		`{"flushed":-1}`: "",
		`{"pools":[{"container":"acme","name":"\u001b[2J","program":"a"}]}`: "\ufffd[2J",
	} {
		w := newLiar(t, Options{})
		answered := make(chan error, 1)
		go func() {
			answer, err := w.link.ask(t.Context(), control{})
			if err == nil && answer.Pools[0].Name != want {
				t.Errorf("%s: the name is %q", text, answer.Pools[0].Name)
			}
			answered <- err
		}()
		f, err := w.in.next()
		if err != nil || f.kind != kindControl {
			t.Fatalf("asked with %v, %v", f, err)
		}
		w.say(kindAnswer, f.request, []byte(text))
		if err := <-answered; (err == nil) != (want != "") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestDeathAfterTheAnswer has a worker die of what goes on after an answer, and
// after its caller has gone: it counts as any other.
func TestDeathAfterTheAnswer(t *testing.T) {
	for _, gone := range []bool{false, true} {
		w := newLiar(t, Options{})
		ctx, cancel := context.WithCancel(t.Context())
		number, outcome := w.ask(ctx, nil)
		if gone {
			cancel()
			<-outcome
		} else {
			head := wire.PutString(wire.PutUint(wire.PutUint(nil, 0), 200), "")
			w.say(kindResponse, number, wire.PutBytes(wire.PutUint(wire.PutInt(putHeader(head, nil), 0), 0), nil))
			if err := <-outcome; err != nil {
				t.Fatal(err)
			}
		}
		w.link.proc.Kill()
		<-w.link.gone
		s := w.link.owner
		s.mu.Lock()
		if r := s.quarantine["acme"]; r == nil || r.deaths != 1 {
			t.Errorf("caller gone %v: the death is not counted: %+v", gone, r)
		}
		s.mu.Unlock()
		cancel()
	}
}

// TestQuarantine has workers of a container die again and again.
func TestQuarantine(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	s := &Supervisor{quarantine: make(map[string]*record), now: func() time.Time { return now }}
	waits := func() time.Duration {
		var quarantine *jsruntime.QuarantineError
		if errors.As(s.quarantined("acme"), &quarantine) {
			return quarantine.RetryAfter
		}
		return 0
	}
	for _, step := range []struct{ after, wait time.Duration }{
		{0, 0}, {time.Second, 0}, {30 * time.Second, 0}, // free
		{30 * time.Second, time.Second}, {2 * time.Second, 2 * time.Second}, {2 * time.Second, 4 * time.Second},
		{forgetAfter + 3*time.Second, 8 * time.Second}, // not yet a minute since it was let go on
		{9 * time.Second, 16 * time.Second}, {17 * time.Second, 32 * time.Second}, {33 * time.Second, time.Minute}, {61 * time.Second, time.Minute},
		{2*forgetAfter + time.Second, 0}, // forgotten
	} {
		now = now.Add(step.after)
		s.died("acme")
		if got := waits(); got != step.wait {
			t.Errorf("after the death at %v it waits for %v, want %v", now, got, step.wait)
		}
	}
	if err := s.quarantined("other"); err != nil {
		t.Error(err)
	}
}

// keeping is a Host that keeps the times of its log.
type keeping struct {
	refusing
	times chan time.Time
}

func (k keeping) Log(entry jsruntime.LogEntry) { k.times <- entry.Time }

// TestLogTimes has a worker backdate what it logs.
func TestLogTimes(t *testing.T) {
	w := newLiar(t, Options{})
	host := keeping{times: make(chan time.Time, 1)}
	w.host = host
	number, _ := w.ask(t.Context(), nil)
	for _, forged := range []time.Time{{}, time.Unix(1, 0), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)} {
		w.say(kindLog, number, putLog(nil, &jsruntime.LogEntry{Message: "m", Time: forged}))
		if got := <-host.times; time.Since(got).Abs() > time.Minute {
			t.Errorf("a line of %v is logged as of %v", forged, got)
		}
	}
}

// A worker may name its requests, and nothing that is over.
func TestLateFrames(t *testing.T) {
	w := newLiar(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	number, outcome := w.ask(ctx, nil)
	cancel()
	if err := <-outcome; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	w.say(kindFailure, number, []byte(`{"text":"gone"}`))
	w.say(kindLog, number, putLog(nil, &jsruntime.LogEntry{Message: "late"}))
	w.say(kindDone, number, nil)
	number, outcome = w.ask(t.Context(), nil)
	w.say(kindFailure, number, []byte(`{"text":"still here"}`))
	var failed *WorkerError
	if err := <-outcome; !errors.As(err, &failed) || failed.Text != "still here" {
		t.Errorf("the next request ended with %v", err)
	}
}

func writeHead(fd int, size uint32) {
	b := binary.LittleEndian.AppendUint32(nil, size)
	_, _ = unix.Write(fd, append(b, byte(kindLog), 0, 0, 0, 0))
}

// FuzzEdge has a worker say anything.
func FuzzEdge(f *testing.F) {
	f.Add(uint8(kindResponse), wire.PutBytes(wire.PutUint(wire.PutInt(putHeader(wire.PutString(wire.PutUint(wire.PutUint(nil, 0), 200), ""), nil), 5), 0), []byte("hello")))
	f.Add(uint8(kindFailure), []byte(`{"script":{"kind":"sync","status":500}}`))
	f.Add(uint8(kindCall), putFetch(wire.PutUint(wire.PutUint(nil, 1), callFetch), &jsruntime.FetchRequest{Method: "GET", URL: "http://x/", Header: http.Header{"A": {"b"}}}))
	f.Add(uint8(kindCall), wire.PutBytes(wire.PutUint(wire.PutUint(nil, 1), callSaveSession), []byte(`{"Set":{"a":"MQ=="}}`)))
	f.Add(uint8(kindCredit), wire.PutUint(wire.PutUint(nil, 0), 100))
	f.Add(uint8(kindEvent), wire.PutString(wire.PutInt(wire.PutUint(nil, eventDiscarded), 0), "idle"))
	f.Add(uint8(kindLog), putLog(nil, &jsruntime.LogEntry{Message: "m"}))
	f.Fuzz(func(t *testing.T, k uint8, payload []byte) {
		w := newLiar(t, Options{})
		ctx, cancel := context.WithCancel(t.Context())
		number, outcome := w.ask(ctx, strings.NewReader("body"))
		w.say(kind(k), number, payload)
		w.say(kind(k), 0, payload)
		cancel()
		<-outcome
	})
}

// FuzzWorker has the edge say anything: no frame may panic in the worker.
func FuzzWorker(f *testing.F) {
	f.Add(uint8(kindRequest), putRequest(nil, 1, &jsruntime.Request{Method: "GET", URL: "http://x/", Header: http.Header{"A": {"b"}}}, time.Time{}))
	f.Add(uint8(kindSpec), mustJSON(&specMessage{ID: 1, Program: 1}))
	f.Add(uint8(kindProgram), mustJSON(&programMessage{ID: 1}))
	f.Add(uint8(kindReply), putFetched(wire.PutUint(wire.PutUint(nil, 1), 0), &jsruntime.FetchResponse{Status: 200}))
	f.Add(uint8(kindCredit), wire.PutUint(wire.PutUint(nil, 0), 100))
	f.Fuzz(func(t *testing.T, k uint8, payload []byte) {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(pair[0])
		defer unix.Close(pair[1])
		c := &child{
			in: newFrameReader(wire.Blocking(pair[0]), maxFromEdge), out: newFrameWriter(wire.Blocking(pair[0])),
			programs: make(map[uint32]*program), specs: map[uint32]*specMessage{1: {ID: 1}}, live: make(map[uint32]*served),
		}
		message := frame{kind: kind(k), request: 1, payload: payload}
		switch message.kind {
		case kindControl: // is for an engine
		case kindRequest:
			if s, _, err := c.begin(message); err == nil && s.request.Header == nil {
				t.Error("a request without a header")
			}
		default:
			c.live[1] = &served{child: c, number: 1, calls: map[uint32]*hostCall{1: {answer: make(chan frame, 1)}}}
			_ = c.control(message)
		}
	})
}
