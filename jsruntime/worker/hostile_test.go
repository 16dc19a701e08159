//go:build unix

package worker

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
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

	unread bool // bodies of responses are not read before the end
}

type liarProcess struct {
	fd, other int
	done      chan struct{}
	once      sync.Once
	cpu       *time.Duration // that it says it took; nil: nothing
}

func (p *liarProcess) FD() int               { return p.fd }
func (p *liarProcess) PID() int              { return 0 }
func (p *liarProcess) Done() <-chan struct{} { return p.done }
func (p *liarProcess) Close()                { unix.Close(p.fd) }
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

func newLiar(t testing.TB) *liar {
	t.Helper()
	s, err := New(Options{Spares: -1, Grace: time.Minute})
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
	l := newLink(s, k, &liarProcess{fd: pair[0], other: pair[1], done: make(chan struct{})})
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
	return &liar{t: t, fd: pair[1], link: l, in: newFrameReader(pair[1], maxFromEdge)}
}

// ask sends a request through the link and returns it as the liar gets it.
func (w *liar) ask(ctx context.Context, body io.Reader) (number uint32, outcome chan error) {
	w.t.Helper()
	program := jsruntime.NewProgram(jsruntime.Script{Name: "a.js", Code: "module.exports = (cb) => cb()"})
	spec := jsruntime.NewSpec("k", program, jsruntime.SpecOptions{Container: "acme", Limits: webtask.Limits{Timeout: time.Hour}})
	outcome = make(chan error, 1)
	req := &jsruntime.Request{ID: "r", Method: "GET", URL: "http://localhost/", Header: http.Header{}, Host: refusing{}, Body: body, Length: -1}
	go func() {
		resp, err := w.link.do(ctx, spec, req)
		if err == nil && resp.Body != nil {
			if w.unread {
				<-w.link.gone
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
		"data beyond the window": func(w *liar, n uint32) {
			w.unread = true
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
			w := newLiar(t)
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

// A worker may name its requests, and nothing that is over.
func TestLateFrames(t *testing.T) {
	w := newLiar(t)
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
		w := newLiar(t)
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
			in: newFrameReader(pair[0], maxFromEdge), out: newFrameWriter(pair[0]),
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
