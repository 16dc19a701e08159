package jsruntime

import (
	"container/heap"
	"context"
	"runtime/debug"
	"time"

	"github.com/dop251/goja"
)

// Async runs work on a goroutine of its own. Work must not touch the isolate
// or any of its values, and must return soon after ctx, the request's, ended.
// The function that it returns, if not nil, is run as one task of the event
// loop; it is dropped when the request ended meanwhile. Until then the loop
// waits: the request is not taken for one that never answers.
//
// Without a live request, Async throws into the script.
func (iso *Isolate) Async(work func(ctx context.Context) (finish func())) {
	iso.needRequest()
	l := &iso.live
	l.asyncs++
	seq, ctx, e := l.seq, iso.Context(), iso.engine
	e.active.Add(1)
	go func() {
		defer e.leave()
		var finish func()
		defer func() {
			if x := recover(); x != nil {
				stack := debug.Stack()
				finish = func() { iso.panicked(x, stack) }
			}
			iso.queue.post(seq, task{run: finish, async: true})
		}()
		finish = work(ctx)
	}()
}

// Poster returns a function that queues tasks for the request that is live
// now, from any goroutine. It does not keep the loop waiting, and a task whose
// request has ended is dropped.
//
// An exception that a task throws (a goja panic), like that of a timer or of a
// finish function, is uncaught: it fails the request.
func (iso *Isolate) Poster() (post func(run func())) {
	seq := iso.live.seq
	return func(run func()) { iso.queue.post(seq, task{run: run}) }
}

// needRequest throws unless a request is live: at the top level of a program
// nothing can be awaited, since it runs once for many requests.
func (iso *Isolate) needRequest() {
	if iso.live.request == nil {
		panic(iso.NewError("Error", nil, "this cannot be done while the program is being loaded, only while a request is handled; move it into the handler"))
	}
}

// timer is a pending setTimeout or setInterval.
type timer struct {
	id     int
	when   time.Time
	every  time.Duration // 0: once
	run    func()
	index  int
	serial int // keeps those of one instant in order
}

// timers is a heap, the next one first.
type timers struct {
	list   []*timer
	byID   map[int]*timer
	lastID int
	serial int
}

func (t *timers) Len() int { return len(t.list) }
func (t *timers) Less(i, k int) bool {
	a, b := t.list[i], t.list[k]
	if a.when.Equal(b.when) {
		return a.serial < b.serial
	}
	return a.when.Before(b.when)
}
func (t *timers) Swap(i, k int) {
	t.list[i], t.list[k] = t.list[k], t.list[i]
	t.list[i].index, t.list[k].index = i, k
}
func (t *timers) Push(x any) {
	entry := x.(*timer)
	entry.index = len(t.list)
	t.list = append(t.list, entry)
}
func (t *timers) Pop() any {
	last := len(t.list) - 1
	entry := t.list[last]
	t.list[last] = nil
	t.list = t.list[:last]
	entry.index = -1
	return entry
}

// minTimer is the shortest delay, as in Node.js: a loop of timers of 0 ms
// leaves the processor to others now and then.
const minTimer = time.Millisecond

// SetTimer calls f after d, again and again if repeat, and returns an id for
// ClearTimer, never 0. It throws a RangeError when the request has
// Limits.Timers pending timers, and an Error without a live request.
func (iso *Isolate) SetTimer(d time.Duration, repeat bool, f func()) int {
	iso.needRequest()
	t := &iso.live.timers
	if limit := iso.spec.Limits.Timers; limit > 0 && t.Len() >= limit {
		panic(iso.NewRangeError("more than %d timers are pending; clear some or raise the option timers", limit))
	}
	if t.byID == nil {
		t.byID = make(map[int]*timer)
	}
	t.lastID++
	t.serial++
	entry := &timer{id: t.lastID, when: iso.engine.clock.Now().Add(max(d, minTimer)), run: f, serial: t.serial}
	if repeat {
		entry.every = max(d, minTimer)
	}
	t.byID[entry.id] = entry
	heap.Push(t, entry)
	return entry.id
}

// ClearTimer cancels a timer; an unknown id is ignored.
func (iso *Isolate) ClearTimer(id int) {
	t := &iso.live.timers
	if entry := t.byID[id]; entry != nil {
		delete(t.byID, id)
		if entry.index >= 0 {
			heap.Remove(t, entry.index)
		}
	}
}

// fire runs the timers that are due and reports whether there were any.
func (iso *Isolate) fire() bool {
	t := &iso.live.timers
	if t.Len() == 0 {
		return false
	}
	now := iso.engine.clock.Now()
	// Those that callbacks add are for the next round.
	limit, ran := t.serial, false
	for t.Len() > 0 && iso.live.failure == nil {
		next := t.list[0]
		if next.when.After(now) || next.serial > limit {
			break
		}
		heap.Pop(t)
		if next.every == 0 {
			delete(t.byID, next.id)
		}
		iso.enter(next.run)
		ran = true
		if next.every > 0 && t.byID[next.id] == next {
			t.serial++
			next.serial, next.when = t.serial, now.Add(next.every)
			heap.Push(t, next)
		}
	}
	return ran
}

// work runs the tasks and timers that are due, each as one turn, and reports
// whether there were any.
func (iso *Isolate) work() bool {
	tasks := iso.queue.take()
	for _, t := range tasks {
		if t.async {
			iso.live.asyncs--
		}
		if t.run != nil && iso.live.failure == nil {
			iso.enter(t.run)
		}
	}
	return iso.fire() || len(tasks) > 0
}

// pending reports whether anything could still happen by itself.
func (iso *Isolate) pending() bool {
	l := &iso.live
	return l.asyncs > 0 || l.timers.Len() > 0 || iso.queue.ready.Load()
}

// park waits for a task, the next timer, until, or done; until may be zero.
func (iso *Isolate) park(done <-chan struct{}, until time.Time) {
	if t := &iso.live.timers; t.Len() > 0 && (until.IsZero() || t.list[0].when.Before(until)) {
		until = t.list[0].when
	}
	if !until.IsZero() {
		iso.alarmAt(until)
	}
	c := iso.pool.container
	c.park()
	select {
	case <-iso.queue.wake:
	case <-done:
	}
	c.unpark()
}

// alarmAt has the loop look again at a time.
func (iso *Isolate) alarmAt(at time.Time) {
	wait := max(at.Sub(iso.engine.clock.Now()), 0)
	if iso.alarm == nil {
		iso.alarm = iso.engine.clock.AfterFunc(wait, iso.queue.kick)
	} else {
		iso.alarm.Reset(wait)
	}
}

// overdue returns why a request without a head must not go on, if so.
func (iso *Isolate) overdue() error {
	l := &iso.live
	if err := context.Cause(l.caller); err != nil {
		return err
	}
	if iso.engine.killed.Load() {
		return ErrClosed
	}
	now := iso.engine.clock.Now()
	if !now.Before(l.deadline) {
		return timeoutError(iso.spec)
	}
	if l.request == nil && !now.Before(l.giveUp) {
		return iso.pool.container.queueError()
	}
	return nil
}

// awaitHead runs the loop until the head is known or the request has failed.
func (iso *Isolate) awaitHead() {
	l := &iso.live
	done := l.caller.Done()
	for !l.headKnown() && l.failure == nil {
		if err := iso.overdue(); err != nil {
			l.fatal(err)
			return
		}
		if iso.work() {
			continue
		}
		if !iso.pending() {
			iso.runDry()
			return
		}
		iso.park(done, l.deadline)
	}
}

// tail runs the loop for what goes on after the head: a body that the script
// makes, then waitUntil. It owns the isolate and gives it back.
func (iso *Isolate) tail() {
	l := &iso.live
	iso.goOn()
	if l.body != nil && l.failure == nil {
		// A reader that left has posted that the script's stream be cancelled,
		// which may give waitUntil something more.
		iso.work()
		iso.goOn()
	}
	if l.failure != nil && !l.bodyOpen() {
		iso.report(l.failure) // else who reads the body learns it
	}
	iso.finish()
}

// goOn runs the loop until the body and waitUntil have ended.
func (iso *Isolate) goOn() {
	l := &iso.live
	for l.failure == nil && (l.bodyOpen() || len(l.waits) > 0) {
		if iso.engine.killed.Load() {
			l.fatal(ErrClosed)
			return
		}
		if iso.work() {
			continue
		}
		var until time.Time
		switch {
		case l.bodyOpen():
			if l.body.starved() && !iso.pending() {
				l.fatal(noAnswer("the response was begun, but is never ended, and nothing is left that could end it; close its stream, or call res.end()"))
			}
		case len(l.waits) > 0:
			until = iso.waitEnd()
		}
		if l.failure == nil && (l.bodyOpen() || len(l.waits) > 0) {
			iso.park(nil, until)
		}
	}
}

// waitEnd returns until when promises given to waitUntil are waited for, and
// gives them up when that is over or nothing can settle them any more.
func (iso *Isolate) waitEnd() time.Time {
	l, limit, now := &iso.live, iso.spec.Limits.WaitUntil, iso.engine.clock.Now()
	if l.waitEnd.IsZero() {
		l.waitEnd = now.Add(limit)
		iso.turn.deadline.Store(l.waitEnd.UnixNano())
	}
	if !now.Before(l.waitEnd) {
		iso.Log(LogWarn, "waitUntil: "+limitError("wait_until", limit.String(), statusTimeout).Error(), "")
		l.waits = nil
	} else if !iso.pending() {
		l.waits = nil
	}
	return l.waitEnd
}

// bodyOpen reports whether a body that the script makes is still being sent.
func (l *live) bodyOpen() bool { return l.body != nil && !l.body.done() }

// poll looks at the promises that the request waits for.
func (l *live) poll(iso *Isolate) {
	kept := l.waits[:0]
	for _, p := range l.waits {
		switch p.State() {
		case goja.PromiseStatePending:
			kept = append(kept, p)
		case goja.PromiseStateRejected:
			iso.Track(p)
			failure := iso.thrown(p.Result(), nil, KindAsync)
			iso.Log(LogError, "waitUntil: "+failure.Error(), failure.Stack)
		}
	}
	clear(l.waits[len(kept):])
	l.waits = kept
}
