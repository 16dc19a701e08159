package jsruntime_test

import (
	"context"
	"errors"
	"io"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

// slowReader ends when the test says so.
type slowReader struct{ begun, end chan struct{} }

func (r slowReader) Read([]byte) (int, error) {
	close(r.begun)
	<-r.end
	return 0, io.EOF
}

// start runs spec on one request and returns where its error arrives.
func (b *bench) start(ctx context.Context, spec *jsruntime.Spec, req *jsruntime.Request) <-chan error {
	failed := make(chan error, 1)
	go func() {
		_, err := b.engine.Do(ctx, spec, req)
		failed <- err
	}()
	return failed
}

// A request that comes to the queue after Close has emptied it does not wait
// there.
func TestQueueOfAClosedEngine(t *testing.T) {
	b := newBench(t, jsruntime.Options{QueueWait: time.Hour})
	spec := b.spec(`module.exports = (ctx, cb) => { log("in"); cb() }`, jsruntime.SpecOptions{
		ParseBody: webtask.ParseBodyAlways, Limits: webtask.Limits{Isolates: 1, Timeout: time.Hour},
	})
	b.do(spec, request(newHost())) // from now on the body is read before there is an isolate
	stopped := &stoppedHost{newHost(), make(chan struct{})}
	holds := b.start(context.Background(), spec, request(stopped))
	<-stopped.logged
	body := slowReader{make(chan struct{}), make(chan struct{})}
	late := request(newHost())
	late.Body, late.Length = body, -1
	comesLate := b.start(context.Background(), spec, late)
	<-body.begun
	queues := b.start(context.Background(), spec, request(newHost()))
	for b.engine.Stats()[0].Queued == 0 {
		runtime.Gosched()
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	closed := make(chan error)
	go func() { closed <- b.engine.Close(ctx) }()
	if err := <-queues; !errors.Is(err, jsruntime.ErrClosed) {
		t.Errorf("who queued got %v", err)
	}
	close(body.end)
	if err := <-comesLate; !errors.Is(err, jsruntime.ErrClosed) {
		t.Errorf("who came late got %v", err)
	}
	close(stopped.goOn)
	<-holds
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

// Nobody waits for the CPU longer than for anything else.
func TestWaitingForTheCPUEnds(t *testing.T) {
	b := newBench(t, jsruntime.Options{CPUSlots: 1})
	busy := b.spec(`module.exports = cb => { log("in"); cb() }`, jsruntime.SpecOptions{Limits: webtask.Limits{Timeout: time.Hour, CPUTime: time.Hour}})
	spec := b.spec(`let n = 0; module.exports = cb => cb(null, ++n)`, jsruntime.SpecOptions{})
	b.do(spec, request(newHost()))
	stopped := &stoppedHost{newHost(), make(chan struct{})}
	holds := b.start(context.Background(), busy, request(stopped))
	<-stopped.logged
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := <-b.start(ctx, spec, request(newHost())); !errors.Is(err, context.Canceled) {
		t.Errorf("who had gone got %v", err)
	}
	late := request(newHost())
	late.Deadline = time.Now().Add(10 * time.Millisecond)
	var limit *jsruntime.LimitError
	if err := <-b.start(context.Background(), spec, late); !errors.As(err, &limit) || limit.Limit != "timeout" {
		t.Errorf("who was late got %v", err)
	}
	close(stopped.goOn)
	if err := <-holds; err != nil {
		t.Error(err)
	}
	// Neither had run anything, so their isolate is as good as before.
	if got, _ := b.do(spec, request(newHost())); got != "2" {
		t.Errorf("got %s", got)
	}
}

// A microtask that reading a request's error leaves is that request's.
func TestMicrotasksOfErrors(t *testing.T) {
	for name, code := range map[string]string{
		"rejected":  `module.exports = async cb => { if (n++ > 0) return cb(null, n); await null; throw failure }`,
		"unhandled": `module.exports = cb => { if (n++ > 0) return cb(null, n); Promise.reject(failure) }`,
		"thrown":    `module.exports = cb => { if (n++ > 0) return cb(null, n); throw failure }`,
		"called":    `module.exports = cb => { if (n++ > 0) return cb(null, n); cb(failure) }`,
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, jsruntime.Options{})
			spec := b.spec(`let n = 0; const failure = Object.defineProperty(new Error(), "message", { get() { Promise.resolve().then(() => log("after " + n)); return "failed" } }); `+code, jsruntime.SpecOptions{})
			first, second := newHost(), newHost()
			if failure := fails[*jsruntime.ScriptError](b, spec, request(first)); failure.Message != "failed" {
				t.Errorf("got %v", failure)
			}
			if got := first.messages(); !slices.Contains(got, "after 1") {
				t.Errorf("the request logged %q", got)
			}
			if got, _ := b.do(spec, request(second)); got != "2" {
				t.Errorf("got %s", got)
			}
			if got := second.messages(); len(got) != 0 {
				t.Errorf("the next request logged %q", got)
			}
		})
	}
}
