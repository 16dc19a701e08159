package source

import (
	"context"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// entry is what is known of one code reference.
type entry struct {
	ref    webtask.CodeRef
	state  atomic.Pointer[state] // nil: never loaded
	due    atomic.Int64          // Unix time in ns when it is to be looked at again
	weight atomic.Uint32         // bytes, for the memory bound

	mu     sync.Mutex
	flight *flight // the attempt under way, or nil
}

// state is the outcome of the last attempt. It is immutable.
type state struct {
	bundle  *Bundle   // the last good one, or nil
	err     error     // why there is none
	until   time.Time // the bundle may not be used after; zero: no end
	problem string    // why bundle is not the latest; empty: it is
	records map[string]*record
	watch   []watched
	again   time.Time // when files are bundled again although none has changed; zero: never
}

func (st *state) usable(now time.Time) bool {
	return st != nil && st.bundle != nil && (st.until.IsZero() || now.Before(st.until))
}

// flight is one attempt, shared by all that wait for it.
type flight struct {
	done  chan struct{}
	state *state
}

func (l *Loader) entry(ref webtask.CodeRef) *entry {
	if ref.Kind == webtask.CodeURL {
		if e, ok := l.urls.GetIfPresent(ref); ok {
			return e
		}
		e := &entry{ref: ref}
		e.weight.Store(uint32(min(entryOverhead+len(ref.Value), math.MaxUint32)))
		e, _ = l.urls.SetIfAbsent(ref, e)
		return e
	}
	if e, ok := l.routes.Load(ref); ok {
		return e.(*entry)
	}
	e, _ := l.routes.LoadOrStore(ref, &entry{ref: ref})
	return e.(*entry)
}

// refresh makes an attempt, or joins the one under way. With a usable state,
// only the one that started the attempt waits for it, and for a URL not for
// long; while an origin is down nobody does.
func (l *Loader) refresh(ctx context.Context, container string, e *entry, st *state) (*state, error) {
	f, started, err := l.join(container, e)
	if err != nil {
		return nil, err
	}
	usable := st.usable(l.clock())
	isURL := e.ref.Kind == webtask.CodeURL
	if usable && (!started || (isURL && st.problem != "")) {
		return st, nil
	}
	var timeout <-chan time.Time
	if usable && isURL {
		timer := time.NewTimer(l.revalidateTimeout)
		defer timer.Stop()
		timeout = timer.C
	}
	select {
	case <-f.done:
		return f.state, nil
	case <-timeout:
		return st, nil
	case <-ctx.Done():
		if usable {
			return st, nil
		}
		return nil, context.Cause(ctx)
	}
}

// join returns the attempt under way, or starts one. It belongs to the loader,
// not to the request that started it: that one may go, others wait. Its place
// among the bundlers counts for the container that started it.
func (l *Loader) join(container string, e *entry) (f *flight, started bool, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.flight != nil {
		return e.flight, false, nil
	}
	f = &flight{done: make(chan struct{})}
	if st := e.state.Load(); st != nil && l.clock().UnixNano() < e.due.Load() {
		f.state = st // someone was faster
		close(f.done)
		return f, true, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx.Err() != nil {
		return nil, false, ErrClosed
	}
	e.flight = f
	l.wg.Go(func() { l.fly(container, e, f) })
	return f, true, nil
}

func (l *Loader) fly(container string, e *entry, f *flight) {
	old := e.state.Load()
	if old == nil {
		old = &state{}
	}
	ctx, cancel := context.WithTimeoutCause(l.ctx, l.fetchTimeout, fmt.Errorf("no complete answer within %v", l.fetchTimeout))
	defer cancel()
	var due time.Time
	switch e.ref.Kind {
	case webtask.CodeURL:
		f.state, due = l.loadURL(ctx, container, e.ref.Value, old)
	case webtask.CodeFile:
		f.state, due = l.loadFile(ctx, container, e.ref.Value, old)
	case webtask.CodeInline:
		f.state, due = l.loadInline(ctx, container, e.ref.Value)
	default:
		f.state = &state{err: fmt.Errorf("code reference of unknown kind %q", e.ref.Kind)}
		due = l.clock().Add(failedFor)
	}
	if l.ctx.Err() != nil && f.state.bundle == nil {
		f.state = &state{err: ErrClosed}
	}
	e.state.Store(f.state)
	e.due.Store(unixNano(due))
	if e.ref.Kind == webtask.CodeURL {
		e.weight.Store(f.state.weight(e.ref))
		l.urls.Set(e.ref, e)
	}
	e.mu.Lock()
	e.flight = nil
	e.mu.Unlock()
	close(f.done)
}

// unixNano is the time's, or the end of time for the zero time.
func unixNano(t time.Time) int64 {
	if t.IsZero() {
		return math.MaxInt64
	}
	return t.UnixNano()
}

func (st *state) weight(ref webtask.CodeRef) uint32 {
	n := entryOverhead + len(ref.Value)
	if st.bundle != nil {
		n += len(st.bundle.Code) + len(st.bundle.Map)
	}
	for key, r := range st.records {
		n += len(key) + len(r.Body)
	}
	return uint32(min(n, math.MaxUint32))
}
