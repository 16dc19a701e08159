//go:build unix

package bundler

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/webtask-edge/caddy-webtask/jsruntime/source"
	"github.com/webtask-edge/caddy-webtask/jsruntime/worker/internal/wire"
	"github.com/webtask-edge/caddy-webtask/jsruntime/worker/process"
)

// liars are processes that do not keep to the protocol, each in its own way,
// after the job has begun.
var liars = map[string]func(c *conn){
	"nonsense":       func(c *conn) { c.write([]byte("GET / HTTP/1.1\r\n\r\n")) },
	"unknown kind":   func(c *conn) { c.write(frame(frameKinds, nil)) },
	"edge's kind":    func(c *conn) { c.write(frame(frameJob, nil)) },
	"ready again":    func(c *conn) { c.write(frame(frameReady, []byte{version})) },
	"begins twice":   func(c *conn) { c.write(frame(frameBegun, nil)) },
	"endless frame":  func(c *conn) { c.write([]byte{255, 255, 255, 255, byte(frameOutput)}) },
	"foreign module": func(c *conn) { c.write(frame(frameResolve, encodeResolve(resolveMessage{1, 7, "./a"}))) },
	"long specifier": func(c *conn) {
		c.write(frame(frameResolve, encodeResolve(resolveMessage{1, 0, strings.Repeat("a", 4097)})))
	},
	"foreign source": func(c *conn) { c.write(frame(frameOutput, []byte{0, 1, 'x', 1, 3, 0, 0})) },
	"bad mappings":   func(c *conn) { c.write(frame(frameOutput, []byte{0, 1, 'x', 1, 0, 0, 1, '"'})) },
	"too many names": func(c *conn) {
		c.write(frame(frameOutput, append([]byte{0, 1, 'x', 1, 0, 255, 255, 255, 7}, make([]byte, 1<<20)...)))
	},
	"foreign place":   func(c *conn) { c.write(frame(frameProblem, []byte{problemCompile, 9, 0, 0, 0})) },
	"unknown problem": func(c *conn) { c.write(frame(frameProblem, []byte{problems})) },
	"too much code": func(c *conn) {
		c.write(frame(frameOutput, wire.PutString([]byte{0}, strings.Repeat("x", 9<<20))))
	},
	"flood of imports": func(c *conn) {
		b := frame(frameResolve, encodeResolve(resolveMessage{1, 0, "./a"}))
		for c.write(b) == nil {
		}
	},
}

func init() {
	for name, lie := range liars {
		process.Register("bundler-test-"+name, func(fd int) error {
			c := newConn(wire.Blocking(fd), fromEdge)
			c.write(frame(frameReady, []byte{version}))
			if _, _, err := c.read(); err != nil {
				return nil
			}
			if name != "ready again" {
				c.write(frame(frameBegun, nil))
			}
			lie(c)
			for { // until it is killed
				if _, _, err := c.read(); err != nil {
					select {}
				}
			}
		})
	}
	process.Register("bundler-test-dead", func(int) error { return errors.New("it does not start") })
	process.Register("bundler-test-old", func(fd int) error {
		return newConn(wire.Blocking(fd), fromEdge).write(frame(frameReady, []byte{version + 1}))
	})
	process.Register("bundler-test-silent", func(fd int) error {
		c := newConn(wire.Blocking(fd), fromEdge)
		c.write(frame(frameReady, []byte{version}))
		c.read()
		c.write(frame(frameBegun, nil))
		select {}
	})
	process.Register("bundler-test-deaf", func(fd int) error {
		c := newConn(wire.Blocking(fd), fromEdge)
		c.write(frame(frameReady, []byte{version}))
		select {}
	})
	process.Register("bundler-test-named", func(fd int) error {
		c := newConn(wire.Blocking(fd), fromEdge)
		c.write(frame(frameReady, []byte{version}))
		name := rand.Text()
		for { // whoever asks
			if _, _, err := c.read(); err != nil {
				return nil
			}
			c.write(frame(frameBegun, nil))
			c.write(frame(frameOutput, append(wire.PutString([]byte{0}, name), 0, 0, 0)))
		}
	})
	process.Register("bundler-test-failing", func(fd int) error {
		c := newConn(wire.Blocking(fd), fromEdge)
		c.write(frame(frameReady, []byte{version}))
		c.read()
		c.write(frame(frameBegun, nil))
		return errors.New("it fails")
	})
	process.Register("bundler-test-shut", func(fd int) error {
		c := newConn(wire.Blocking(fd), fromEdge)
		c.write(frame(frameReady, []byte{version}))
		c.read()
		c.write(frame(frameBegun, nil))
		unix.Close(fd)
		select {}
	})
}

func TestLiars(t *testing.T) {
	for name := range liars {
		t.Run(name, func(t *testing.T) {
			p := poolOf(t, "bundler-test-"+name, Options{})
			job := files{"main.js": "", "a": ""}.job()
			out, err := p.Bundle(context.Background(), job)
			if err == nil {
				t.Fatalf("it was believed: %q", out.Code)
			}
			if ce := compileError(t, err); !ce.Exhausted || !strings.Contains(ce.Message, "failed on it") {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestSilence has processes that answer nothing, or do not even read: they are
// killed when their time is over.
func TestSilence(t *testing.T) {
	for _, kind := range []string{"bundler-test-silent", "bundler-test-deaf"} {
		p := poolOf(t, kind, Options{Timeout: time.Millisecond})
		_, err := p.Bundle(context.Background(), script("'"+strings.Repeat("x", 4<<20)+"'"))
		if ce := compileError(t, err); !strings.Contains(ce.Message, "ran out of time (1ms)") {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// TestStopped has the system stop a process, which then is killed like any
// that takes too long.
func TestStopped(t *testing.T) {
	p := poolOf(t, kind, Options{Timeout: time.Millisecond})
	w := <-p.spare
	defer w.close()
	if err := unix.Kill(w.process.PID(), unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if _, err := w.bundle(context.Background(), script(""), &p.options); err != errTimeout {
		t.Errorf("%v", err)
	}
}

// TestKilledFromOutside is no fault of the code; to fail without a word is.
func TestKilledFromOutside(t *testing.T) {
	p := poolOf(t, kind, Options{})
	w := <-p.spare
	defer w.close()
	job := script("import './a.js'")
	job.Resolve = func(ctx context.Context, _, _ string) (*source.Module, error) {
		unix.Kill(w.process.PID(), unix.SIGKILL)
		<-w.process.Done()
		return nil, nil
	}
	_, err := w.bundle(context.Background(), job, &p.options)
	var busy *source.BusyError
	if !errors.Is(err, errDied) || !errors.As(p.reason(err, job), &busy) {
		t.Errorf("%v", err)
	}
	for _, kind := range []string{"bundler-test-failing", "bundler-test-shut"} {
		p := poolOf(t, kind, Options{NoSpare: true})
		_, err := p.Bundle(context.Background(), script(""))
		if ce := compileError(t, err); !ce.Exhausted || !strings.Contains(ce.Message, "failed on it") {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// TestWhatIsShownIsClean has a process send control characters as an error.
func TestWhatIsShownIsClean(t *testing.T) {
	b := wire.PutString(wire.PutString(wire.PutString([]byte{problemScript}, "a\x1b[2Jb\xff"), "c\r\nd"), "e\x00f")
	problem, err := decodeProblem(b, []string{"main.js"})
	if err != nil || strings.Contains(problem.Error(), "\x1b") || !utf8.ValidString(problem.Error()) {
		t.Errorf("%q, %v", problem, err)
	}
}

// FuzzFromProcess is what the edge makes of what a process sends.
func FuzzFromProcess(f *testing.F) {
	job := script("")
	out, err := do(files{"main.js": "import './a.js'; var x = 1", "a.js": "var x = 2"}.job())
	if err != nil {
		f.Fatal(err)
	}
	names := []string{"main.js", "a.js"}
	ids := map[string]uint64{"main.js": 0, "a.js": 1}
	f.Add(byte(frameOutput), encodeOutput(out, ids))
	f.Add(byte(frameResolve), encodeResolve(resolveMessage{1, 1, "./a.js"}))
	_, syntax := do(script("let ="))
	f.Add(byte(frameProblem), encodeProblem(syntax, ids))
	_, engine := do(script("x = /(/"))
	f.Add(byte(frameProblem), encodeProblem(engine, ids))
	f.Add(byte(frameProblem), encodeProblem(errors.New("other"), ids))
	f.Fuzz(func(t *testing.T, k byte, payload []byte) {
		switch frameKind(k) {
		case frameOutput:
			out, err := decodeOutput(payload, job, names)
			if err != nil {
				mustBeViolation(t, err)
				return
			}
			if _, err := out.Map.JSON(); err != nil || out.Fits(job) != nil {
				t.Errorf("%v", err)
			}
		case frameResolve:
			if _, err := decodeResolve(payload); err != nil {
				mustBeViolation(t, err)
			}
		case frameProblem:
			problem, err := decodeProblem(payload, names)
			if err != nil {
				mustBeViolation(t, err)
			} else if problem == nil || strings.ContainsRune(problem.Error(), 0x1b) {
				t.Errorf("%v", problem)
			}
		}
	})
}

func mustBeViolation(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, wire.ErrProtocol) {
		t.Errorf("%v is no violation", err)
	}
}

// FuzzFromEdge is what a process makes of what the edge sends.
func FuzzFromEdge(f *testing.F) {
	job := files{"main.js": "import './a.js'"}.job()
	job.External = []string{"http"}
	f.Add(true, encodeJob(job, 1<<20))
	f.Add(false, encodeAnswer(moduleMessage{request: 1, answer: answerNew, id: 1, module: job.Entry}))
	f.Add(false, encodeAnswer(moduleMessage{request: 1, answer: answerFailed, text: "no"}))
	f.Fuzz(func(t *testing.T, isJob bool, payload []byte) {
		if isJob {
			if job, _, err := decodeJob(payload); err == nil && job.Entry == nil {
				t.Error("a job without an entry")
			}
			return
		}
		if m, err := decodeAnswer(payload); err == nil && (m.answer == answerNew) != (m.module != nil) {
			t.Error("an answer without its module")
		}
	})
}

// FuzzFrames reads any stream of bytes, in any pieces.
func FuzzFrames(f *testing.F) {
	f.Add(append(frame(frameBegun, nil), frame(frameResolve, encodeResolve(resolveMessage{1, 0, "./a"}))...), uint16(3))
	f.Add(binary.LittleEndian.AppendUint32(nil, 1<<31), uint16(1))
	f.Fuzz(func(t *testing.T, stream []byte, piece uint16) {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(pair[0])
		done := make(chan struct{})
		go func() {
			defer close(done)
			out := conn{socket: wire.Blocking(pair[1])}
			for rest := stream; len(rest) > 0; {
				n := min(int(piece)+1, len(rest))
				if out.write(rest[:n]) != nil {
					break
				}
				rest = rest[n:]
			}
			unix.Close(pair[1])
		}()
		w := &worker{largest: 1 << 20}
		in := newConn(wire.Blocking(pair[0]), w.limit)
		var again []byte
		for {
			k, payload, err := in.read()
			if err != nil {
				break
			}
			again = append(again, frame(k, payload)...)
		}
		if string(again) != string(stream[:len(again)]) {
			t.Errorf("read %x of %x", again, stream)
		}
		unix.Shutdown(pair[0], unix.SHUT_RDWR)
		<-done
	})
}

// TestSmallMessagesKeepNoBuffer: code is cached as it was received.
func TestSmallMessagesKeepNoBuffer(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	out := conn{socket: wire.Blocking(pair[1])}
	in := newConn(wire.Blocking(pair[0]), func(frameKind) uint32 { return 1 << 20 })
	for _, size := range []int{1, 100, 5000} {
		if err := out.write(frame(frameOutput, make([]byte, size))); err != nil {
			t.Fatal(err)
		}
		_, payload, err := in.read()
		if err != nil || len(payload) != size || cap(payload) > 2*size+64 {
			t.Errorf("%d bytes came as %d of %d (%v)", size, len(payload), cap(payload), err)
		}
	}
}
