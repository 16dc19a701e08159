package jsruntime_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

// hog takes the only CPU slot of a bench until the test lets go of it.
func (b *bench) hog() (letGo func()) {
	busy := b.spec(`module.exports = cb => { log("in"); cb() }`, jsruntime.SpecOptions{Limits: webtask.Limits{Timeout: time.Hour, CPUTime: time.Hour}})
	stopped := &stoppedHost{newHost(), make(chan struct{})}
	holds := b.start(context.Background(), busy, request(stopped))
	<-stopped.logged
	return func() {
		b.Helper()
		close(stopped.goOn)
		if err := <-holds; err != nil {
			b.Error(err)
		}
	}
}

// An isolate that is to be loaded waits for the CPU no longer than a request
// may wait for an isolate.
func TestLoadingWaitsForTheCPU(t *testing.T) {
	b := newBench(t, jsruntime.Options{CPUSlots: 1, QueueWait: 20 * time.Millisecond})
	letGo := b.hog()
	spec := func(code string) *jsruntime.Spec {
		return b.spec(code, jsruntime.SpecOptions{Limits: webtask.Limits{Timeout: time.Hour}})
	}
	var full *jsruntime.QueueError
	if err := <-b.start(context.Background(), spec(`module.exports = cb => cb(null, 1)`), request(newHost())); !errors.As(err, &full) || full.RetryAfter == 0 {
		t.Errorf("who waited too long got %v", err)
	}
	late := request(newHost())
	late.Deadline = time.Now().Add(time.Millisecond)
	var limit *jsruntime.LimitError
	if err := <-b.start(context.Background(), spec(`module.exports = cb => cb(null, 2)`), late); !errors.As(err, &limit) || limit.Limit != "timeout" {
		t.Errorf("who was late got %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := <-b.start(ctx, spec(`module.exports = cb => cb(null, 3)`), request(newHost())); !errors.Is(err, context.Canceled) {
		t.Errorf("who had gone got %v", err)
	}
	letGo()
	if got, _ := b.do(spec(`module.exports = cb => cb(null, 4)`), request(newHost())); got != "4" {
		t.Errorf("afterwards a program answers %s", got)
	}
	for _, pool := range b.engine.Stats() {
		if pool.Busy != 0 {
			t.Errorf("%d isolates of %s are busy", pool.Busy, pool.Program)
		}
	}
}

// sessionGate has the store answer when the test says so.
type sessionGate struct {
	*fakeHost
	asked, answer chan struct{}
}

func (g *sessionGate) LoadSession(ctx context.Context) (*jsruntime.Session, error) {
	close(g.asked)
	<-g.answer
	return g.fakeHost.LoadSession(ctx)
}

// A script that reads ctx.session.id waits in the midst of its turn. If it
// cannot go on in time, it does not go on at all.
func TestSessionIDWaitsForTheCPU(t *testing.T) {
	b := newBench(t, jsruntime.Options{CPUSlots: 1})
	spec := b.spec(`module.exports = (ctx, cb) => { try { void ctx.session.id } catch { } finally { log("went on"); cb(null, 1) } }`, jsruntime.SpecOptions{
		Limits: webtask.Limits{Timeout: time.Hour, CPUTime: time.Hour},
	})
	for name, test := range map[string]struct {
		deadline time.Duration
		gone     bool
		want     func(error) bool
	}{
		"too late": {deadline: 20 * time.Millisecond, want: func(err error) bool {
			var limit *jsruntime.LimitError
			return errors.As(err, &limit) && limit.Limit == "timeout"
		}},
		"gone": {deadline: time.Hour, gone: true, want: func(err error) bool { return errors.Is(err, context.Canceled) }},
	} {
		t.Run(name, func(t *testing.T) {
			gate := &sessionGate{newHost(), make(chan struct{}), make(chan struct{})}
			req := request(gate)
			req.Deadline = time.Now().Add(test.deadline)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			waits := b.start(ctx, spec, req)
			<-gate.asked
			letGo := b.hog()
			close(gate.answer)
			if test.gone {
				cancel()
			}
			if err := <-waits; !test.want(err) {
				t.Errorf("got %v", err)
			}
			if got := gate.messages(); len(got) != 0 {
				t.Errorf("the script %q", got)
			}
			letGo()
			if got, _ := b.do(spec, request(newHost())); got != "1" {
				t.Errorf("afterwards it answers %s", got)
			}
		})
	}
	letGo := b.hog() // there is one slot, and one only
	late := request(newHost())
	late.Deadline = time.Now().Add(time.Millisecond)
	var limit *jsruntime.LimitError
	if err := <-b.start(context.Background(), spec, late); !errors.As(err, &limit) {
		t.Errorf("beside one that holds the slot, another gets %v", err)
	}
	letGo()
}
