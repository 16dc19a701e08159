package jsruntime_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

func TestThousandThatWait(t *testing.T) {
	b := newBench(t, jsruntime.Options{})
	spec := b.spec(`module.exports = cb => gate("all").then(() => cb(null, "x"))`, jsruntime.SpecOptions{})
	var group sync.WaitGroup
	var answered atomic.Int32
	for range 1000 {
		group.Go(func() {
			if _, err := b.engine.Do(context.Background(), spec, request(newHost())); err != nil {
				t.Errorf("got %v", err)
				return
			}
			answered.Add(1)
		})
	}
	b.gates.await("all", jsruntime.DefaultIsolates)
	stats := b.engine.Stats()[0]
	if stats.Busy != jsruntime.DefaultIsolates {
		t.Errorf("isolates: %+v", stats)
	}
	b.gates.release("all")
	group.Wait()
	if answered.Load() != 1000 {
		t.Errorf("%d of 1000 were answered", answered.Load())
	}
	if stats := b.engine.Stats()[0]; stats.Created != jsruntime.DefaultIsolates || stats.Busy != 0 || stats.Queued != 0 {
		t.Errorf("left behind: %+v", stats)
	}
}

func TestQueueIsBounded(t *testing.T) {
	b := newBench(t, jsruntime.Options{QueueLength: 1, QueueWait: 20 * time.Millisecond})
	spec := b.spec(`module.exports = cb => gate("busy").then(() => cb())`, jsruntime.SpecOptions{Limits: webtask.Limits{Isolates: 1}})
	var group sync.WaitGroup
	group.Go(func() { b.do(spec, request(newHost())) })
	b.gates.await("busy", 1)
	errs := make(chan error, 3)
	var waited atomic.Int32
	for range 3 {
		group.Go(func() {
			req := request(newHost())
			_, err := b.engine.Do(context.Background(), spec, req)
			if req.QueueWait > 0 {
				waited.Add(1)
			}
			errs <- err
		})
	}
	for range 3 {
		var full *jsruntime.QueueError
		if err := <-errs; !errors.As(err, &full) || full.RetryAfter <= 0 || full.Container != "acme" {
			t.Errorf("got %v", err)
		}
	}
	if waited.Load() == 0 {
		t.Error("none of them says that it waited")
	}
	b.gates.release("busy")
	group.Wait()
}

func TestQueueingCountsTowardsTheTimeout(t *testing.T) {
	b := newBench(t, jsruntime.Options{QueueWait: time.Hour})
	spec := b.spec(`module.exports = cb => gate("busy").then(() => cb())`, jsruntime.SpecOptions{Limits: webtask.Limits{Isolates: 1}})
	var group sync.WaitGroup
	group.Go(func() { b.do(spec, request(newHost())) })
	b.gates.await("busy", 1)
	late := request(newHost())
	late.Deadline = time.Now().Add(10 * time.Millisecond)
	if failure := fails[*jsruntime.LimitError](b, spec, late); failure.Limit != "timeout" || late.QueueWait <= 0 {
		t.Errorf("got %v after %v", failure, late.QueueWait)
	}
	b.gates.release("busy")
	group.Wait()
	idle := request(newHost())
	if b.do(spec, idle); idle.QueueWait != 0 {
		t.Errorf("beside nobody, a request waited %v", idle.QueueWait)
	}
}

func TestQueuedCallerGoesAway(t *testing.T) {
	b := newBench(t, jsruntime.Options{})
	spec := b.spec(`module.exports = cb => gate("busy").then(() => cb())`, jsruntime.SpecOptions{Limits: webtask.Limits{Isolates: 1}})
	var group sync.WaitGroup
	group.Go(func() { b.do(spec, request(newHost())) })
	b.gates.await("busy", 1)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := b.engine.Do(ctx, spec, request(newHost())); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	b.gates.release("busy")
	group.Wait()
	if got, _ := b.do(spec, request(newHost())); got != "{}" {
		t.Errorf("the pool is stuck: %s", got)
	}
}

// Isolates keep the state of one key and serve one request at a time.
func TestIsolatesAreNeverShared(t *testing.T) {
	b := newBench(t, jsruntime.Options{RecycleAfter: 50})
	code := `let owner, busy = false; module.exports = async (ctx, cb) => {
		if (busy) return cb(new Error("two requests at once"));
		busy = true;
		owner = owner || ctx.secrets.KEY;
		if (owner !== ctx.secrets.KEY) return cb(new Error("isolate of " + owner + " serves " + ctx.secrets.KEY));
		await null; await new Promise(r => setTimeout(r, 1));
		busy = false; cb(null, owner) }`
	var specs []*jsruntime.Spec
	for i := range 8 {
		secret := fmt.Sprint("key", i)
		spec := b.spec(code, jsruntime.SpecOptions{
			Container: fmt.Sprint("c", i%2), Secrets: map[string]string{"KEY": secret}, Limits: webtask.Limits{Isolates: 5},
		})
		spec = jsruntime.NewSpec(secret, spec.Program, spec.SpecOptions)
		specs = append(specs, spec)
	}
	var group sync.WaitGroup
	for worker := range 16 {
		group.Go(func() {
			for i := range 60 {
				spec := specs[(worker+i)%len(specs)]
				resp, err := b.engine.Do(context.Background(), spec, request(newHost()))
				if err != nil {
					t.Errorf("got %v", err)
					return
				}
				if got, want := string(resp.Bytes), `"`+spec.Secrets["KEY"]+`"`; got != want {
					t.Errorf("got %s, want %s", got, want)
				}
			}
		})
	}
	group.Wait()
	total := 0
	for _, stats := range b.engine.Stats() {
		total += stats.Idle + stats.Busy
	}
	if total > 10 {
		t.Errorf("%d isolates in two containers that may have 5 each", total)
	}
}

func TestSynchronousWorkNeedsFewIsolates(t *testing.T) {
	b := newBench(t, jsruntime.Options{CPUSlots: 2})
	spec := b.spec(`module.exports = cb => cb(null, 1)`, jsruntime.SpecOptions{})
	var group sync.WaitGroup
	for range 32 {
		group.Go(func() {
			for range 200 {
				b.do(spec, request(newHost()))
			}
		})
	}
	group.Wait()
	if stats := b.engine.Stats()[0]; stats.Created > 16 {
		t.Errorf("%d isolates for two CPU slots", stats.Created)
	}
}

// A task in one container gets an isolate though another holds all there may
// be, idle.
func TestIdleIsolatesMakeRoom(t *testing.T) {
	b := newBench(t, jsruntime.Options{MaxIsolates: 3})
	for i := range 9 {
		spec := b.spec(fmt.Sprintf(`module.exports = cb => cb(null, %d)`, i+1), jsruntime.SpecOptions{Container: fmt.Sprint("c", i)})
		if got, _ := b.do(spec, request(newHost())); got != fmt.Sprint(i+1) {
			t.Errorf("got %s", got)
		}
	}
	idle := 0
	for _, stats := range b.engine.Stats() {
		idle += stats.Idle
	}
	if idle > 3 {
		t.Errorf("%d isolates, of 3", idle)
	}
}

func TestRecycling(t *testing.T) {
	b := newBench(t, jsruntime.Options{RecycleAfter: 3})
	spec := b.spec(`let n = 0; module.exports = cb => cb(null, ++n)`, jsruntime.SpecOptions{})
	for i := range 9 {
		if got, _ := b.do(spec, request(newHost())); got != fmt.Sprint(i%3+1) {
			t.Errorf("request %d: %s", i, got)
		}
	}
}

func TestFlush(t *testing.T) {
	b := newBench(t, jsruntime.Options{})
	spec := b.spec(`let n = 0; module.exports = cb => cb(null, ++n)`, jsruntime.SpecOptions{})
	other := b.spec(`let n = 10; module.exports = cb => cb(null, ++n)`, jsruntime.SpecOptions{})
	b.do(spec, request(newHost()))
	b.do(other, request(newHost()))
	if n := b.engine.Flush("acme", spec.Key); n != 1 {
		t.Errorf("%d flushed", n)
	}
	if n := b.engine.Flush("nobody", ""); n != 0 {
		t.Errorf("%d flushed of nobody", n)
	}
	if got, _ := b.do(spec, request(newHost())); got != "1" {
		t.Errorf("a flushed isolate answered %s", got)
	}
	if got, _ := b.do(other, request(newHost())); got != "12" {
		t.Errorf("another key's isolate is gone: %s", got)
	}
}

// manualClock moves by hand.
type manualClock struct {
	mu     sync.Mutex
	now    time.Time
	timers []*manualTimer
}

type manualTimer struct {
	clock *manualClock
	at    time.Time // zero: stopped
	f     func()
}

func (c *manualClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *manualClock) AfterFunc(d time.Duration, f func()) jsruntime.Timer {
	c.mu.Lock()
	defer c.mu.Unlock()
	timer := &manualTimer{clock: c, at: c.now.Add(d), f: f}
	c.timers = append(c.timers, timer)
	return timer
}

func (t *manualTimer) Stop() bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	was := !t.at.IsZero()
	t.at = time.Time{}
	return was
}

func (t *manualTimer) Reset(d time.Duration) bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	was := !t.at.IsZero()
	t.at = t.clock.now.Add(d)
	return was
}

// advance moves the clock and runs what is due.
func (c *manualClock) advance(d time.Duration) {
	c.mu.Lock()
	c.now = c.now.Add(d)
	var due []func()
	for _, timer := range c.timers {
		if !timer.at.IsZero() && !timer.at.After(c.now) {
			timer.at = time.Time{}
			due = append(due, timer.f)
		}
	}
	c.mu.Unlock()
	for _, f := range due {
		f()
	}
}

type discards struct {
	jsruntime.Observer
	reasons chan string
}

func (d discards) IsolateCreated(string, time.Duration)      {}
func (d discards) Compiled(time.Duration, error)             {}
func (d discards) QueueWaited(string, time.Duration)         {}
func (d discards) IsolateDiscarded(container, reason string) { d.reasons <- reason }

func TestIdleIsolatesAreDropped(t *testing.T) {
	clock := &manualClock{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	observer := discards{reasons: make(chan string, 10)}
	b := newBench(t, jsruntime.Options{Clock: clock, Observer: observer, IdleTimeout: time.Minute})
	b.do(b.spec(`module.exports = cb => cb(null, 1)`, jsruntime.SpecOptions{}), request(newHost()))
	for {
		clock.advance(10 * time.Second)
		select {
		case reason := <-observer.reasons:
			if reason != "idle" {
				t.Errorf("dropped as %s", reason)
			}
			return
		default:
			runtime.Gosched()
		}
	}
}

func TestCloseDrains(t *testing.T) {
	b := newBench(t, jsruntime.Options{})
	spec := b.spec(`exports.default = async (request, env, ctx) => { await gate("head"); ctx.waitUntil(gate("tail").then(() => log("done"))); return "x" }`, jsruntime.SpecOptions{})
	host := newHost()
	answer := make(chan string)
	go func() {
		got, _ := b.do(spec, request(host))
		answer <- got
	}()
	b.gates.await("head", 1)
	closed := make(chan error)
	go func() { closed <- b.engine.Close(context.Background()) }()
	b.gates.release("head")
	if got := <-answer; got != "x" {
		t.Errorf("got %s", got)
	}
	b.gates.await("tail", 1)
	select {
	case err := <-closed:
		t.Fatalf("Close did not wait: %v", err)
	default:
	}
	b.gates.release("tail")
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if got := host.messages(); len(got) != 1 || got[0] != "done" {
		t.Errorf("logged %q", got)
	}
	if _, err := b.engine.Do(context.Background(), spec, request(host)); !errors.Is(err, jsruntime.ErrClosed) {
		t.Errorf("a closed engine answered %v", err)
	}
}

func TestCloseInterrupts(t *testing.T) {
	b := newBench(t, jsruntime.Options{CPUSlots: 4})
	errs := make(chan error, 4)
	run := func(code string) {
		spec := b.spec(code, jsruntime.SpecOptions{Limits: webtask.Limits{CPUTime: time.Hour, Timeout: time.Hour, Isolates: 3}})
		go func() {
			_, err := b.engine.Do(context.Background(), spec, request(newHost()))
			errs <- err
		}()
	}
	run(`module.exports = cb => gate("never").then(cb)`)
	run(`module.exports = cb => { gate("spins"); setTimeout(() => { for (;;); }, 1) }`)
	run(`module.exports = cb => { gate("fills"); gate("never").then(cb) }`)
	b.gates.await("never", 2)
	b.gates.await("spins", 1)
	run(`module.exports = cb => cb(null, "queued, or spinning ends first")`)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := b.engine.Close(ctx); err != nil {
		t.Error(err)
	}
	for range 4 {
		if err := <-errs; err == nil {
			t.Error("a request was answered though it could not be")
		}
	}
}

// Nothing of requests is left: neither goroutines (TestMain) nor heap.
func TestNoGrowth(t *testing.T) {
	b := newBench(t, jsruntime.Options{})
	specs := []*jsruntime.Spec{
		b.spec(`module.exports = cb => cb(null, 1)`, jsruntime.SpecOptions{}),
		b.spec(`module.exports = async cb => { await new Promise(r => setTimeout(r, 1)); return 1 }`, jsruntime.SpecOptions{}),
		b.spec(`module.exports = cb => { gate("never"); throw new Error("x") }`, jsruntime.SpecOptions{}),
		b.spec(`module.exports = (ctx, req, res) => { res.writeHead(200); res.write("a"); setTimeout(() => res.end(), 1) }`, jsruntime.SpecOptions{}),
	}
	round := func(n int) {
		var group sync.WaitGroup
		for worker := range 20 {
			group.Go(func() {
				for i := range n / 20 {
					resp, err := b.engine.Do(context.Background(), specs[(worker+i)%len(specs)], request(nil))
					if err == nil {
						b.text(resp)
					}
				}
			})
		}
		group.Wait()
	}
	heap := func() uint64 {
		b.engine.Flush("", "")
		runtime.GC()
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	round(2000)
	before := heap()
	round(10_000)
	if after := heap(); after > before+2<<20 {
		t.Errorf("heap grew from %d to %d bytes", before, after)
	}
}

// slowWeb takes as long to install as the test says.
type slowWeb struct {
	fakeWeb
	begun, finish chan struct{}
}

func (w slowWeb) Install(iso *jsruntime.Isolate) error {
	w.begun <- struct{}{}
	<-w.finish
	return w.fakeWeb.Install(iso)
}

func TestFlushReachesIsolatesThatAreBeingMade(t *testing.T) {
	b := newBench(t, jsruntime.Options{})
	web := slowWeb{fakeWeb{b.gates}, make(chan struct{}, 2), make(chan struct{})}
	engine := jsruntime.NewEngine(jsruntime.Options{Web: web, Node: fakeNode{}})
	defer engine.Close(context.Background())
	spec := b.spec(`let n = 0; module.exports = cb => cb(null, ++n)`, jsruntime.SpecOptions{})
	answered := make(chan struct{})
	do := func() {
		defer close(answered)
		if resp, err := engine.Do(context.Background(), spec, request(newHost())); err != nil || string(resp.Bytes) != "1" {
			t.Errorf("%+v, %v", resp, err)
		}
	}
	go do()
	<-web.begun
	if n := engine.Flush("", ""); n != 1 {
		t.Errorf("%d flushed", n)
	}
	close(web.finish)
	<-answered
	answered = make(chan struct{})
	do()
}

func TestKeysWithoutIsolatesAreForgotten(t *testing.T) {
	b := newBench(t, jsruntime.Options{})
	program := b.spec(`module.exports = cb => cb(null, 1)`, jsruntime.SpecOptions{}).Program
	specs := make([]*jsruntime.Spec, 20)
	for i := range specs {
		specs[i] = jsruntime.NewSpec(strconv.Itoa(i), program, jsruntime.SpecOptions{Container: "acme", Limits: webtask.Limits{Isolates: 4}})
	}
	for range 2 {
		for _, spec := range specs {
			b.do(spec, request(newHost()))
		}
	}
	var keys []string
	for _, pool := range b.engine.Stats() {
		keys = append(keys, pool.Key)
	}
	if want := []string{"16", "17", "18", "19"}; !slices.Equal(keys, want) {
		t.Errorf("pools of the keys %v, want those used last, %v", keys, want)
	}
}

// stoppedHost stops in Log until the test goes on.
type stoppedHost struct {
	*fakeHost
	goOn chan struct{}
}

func (h *stoppedHost) Log(entry jsruntime.LogEntry) {
	h.fakeHost.Log(entry)
	<-h.goOn
}

func TestWhoWaitsGetsTheIdleIsolate(t *testing.T) {
	clock := &manualClock{now: time.Unix(1e9, 0)}
	b := newBench(t, jsruntime.Options{CPUSlots: 1, Clock: clock})
	first := b.spec(`let n = 0; module.exports = cb => { n++; log("in"); cb(null, n) }`, jsruntime.SpecOptions{})
	second := b.spec(`module.exports = cb => { log("in"); cb(null, "second") }`, jsruntime.SpecOptions{})
	host := &stoppedHost{newHost(), make(chan struct{})}
	answers := make(map[string]chan string)
	do := func(name string, spec *jsruntime.Spec, host jsruntime.Host) {
		answer := make(chan string, 1)
		answers[name] = answer
		go func() {
			text, _ := b.do(spec, request(host))
			answer <- text
		}()
	}
	until := func(want string) {
		for {
			var got []string
			for _, pool := range b.engine.Stats() {
				got = append(got, fmt.Sprintf("%d busy %d queued", pool.Busy, pool.Queued))
			}
			if slices.Sort(got); strings.Join(got, "; ") == want {
				return
			}
			runtime.Gosched()
		}
	}
	do("a", first, host)
	<-host.logged
	do("b", second, newHost()) // the first of its key does not queue
	until("1 busy 0 queued; 1 busy 0 queued")
	do("c", second, newHost())
	until("1 busy 0 queued; 1 busy 1 queued")
	clock.mu.Lock()
	clock.now = clock.now.Add(time.Second) // c is impatient; nobody looks yet
	clock.mu.Unlock()
	do("d", first, newHost())
	until("1 busy 1 queued; 1 busy 1 queued")
	close(host.goOn)
	if got := <-answers["d"]; got != "2" {
		t.Errorf("got %s: another isolate was made while one was idle", got)
	}
	for _, name := range []string{"a", "b", "c"} {
		<-answers[name]
	}
}
