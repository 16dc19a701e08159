package webapi

import (
	"cmp"
	"slices"
	"time"

	"github.com/dop251/goja"
)

// abortSignal is the state of an AbortSignal (DOM §3.2).
type abortSignal struct {
	eventTarget
	reason     goja.Value // nil: not aborted; of a dependent one, not that it knows of
	order      uint64     // of the abort, among all of the realm
	born       uint64     // order of the dependent ones
	algorithms map[int]func()
	lastID     int
	handler    *listener // of onabort

	// Of AbortSignal.any: a signal follows its sources, none of which follows
	// others. A source may live as long as the isolate and be followed in every
	// request, so it knows those only that have somebody to tell; the others
	// look at their sources when they are asked.
	sources, dependents []*abortSignal
	attending           bool // it is among the dependents of its sources
}

// aborted reports whether the signal is, and then knows the reason: that of the
// source that was aborted first.
func (s *abortSignal) aborted() bool {
	if s.reason != nil {
		return true
	}
	for _, source := range s.sources {
		if source.reason != nil && (s.reason == nil || source.order < s.order) {
			s.reason, s.order = source.reason, source.order
		}
	}
	return s.reason != nil
}

// attend has the sources of a dependent signal tell it of their abort, as long
// as there is somebody that it would tell.
func (s *abortSignal) attend() {
	wanted := (len(s.listeners) > 0 || len(s.algorithms) > 0) && !s.aborted()
	if wanted == s.attending {
		return
	}
	s.attending = wanted
	for _, source := range s.sources {
		if wanted {
			source.dependents = append(source.dependents, s)
		} else {
			source.dependents = slices.DeleteFunc(slices.Clone(source.dependents), func(d *abortSignal) bool { return d == s })
		}
	}
}

// onAbort runs f when the signal is aborted, before any event; stop takes it
// back.
func (s *abortSignal) onAbort(f func()) (stop func()) {
	if s.algorithms == nil {
		s.algorithms = make(map[int]func())
	}
	s.lastID++
	id := s.lastID
	s.algorithms[id] = f
	s.attend()
	return func() {
		delete(s.algorithms, id)
		s.attend()
	}
}

func abortSignalClass() *classDef {
	return &classDef{
		name:   "AbortSignal",
		parent: classEventTarget,
		statics: []method{
			{"abort", 0, func(r *realm, call goja.FunctionCall) goja.Value {
				s := &abortSignal{reason: r.abortReason(call.Argument(0))}
				return r.create(classAbortSignal, s)
			}},
			{"timeout", 1, abortSignalTimeout},
			{"any", 1, abortSignalAny},
		},
		methods: []method{{"throwIfAborted", 0, on(func(_ *realm, s *abortSignal, _ goja.FunctionCall) goja.Value {
			if s.aborted() {
				panic(s.reason)
			}
			return undefined()
		})}},
		accessors: []accessor{
			{"aborted", get(func(r *realm, s *abortSignal) goja.Value { return r.rt.ToValue(s.aborted()) }), nil},
			{"reason", get(func(_ *realm, s *abortSignal) goja.Value {
				if s.aborted() {
					return s.reason
				}
				return undefined()
			}), nil},
			{"onabort", get(func(_ *realm, s *abortSignal) goja.Value {
				if s.handler == nil {
					return goja.Null()
				}
				return s.handler.callback
			}), set(setOnAbort)},
		},
	}
}

func setOnAbort(_ *realm, s *abortSignal, v goja.Value) {
	callback := toObject(v)
	switch {
	case callback == nil && s.handler != nil:
		s.remove(s.handler)
		s.handler = nil
	case callback != nil && s.handler != nil:
		s.handler.callback = callback
	case callback != nil:
		s.handler = &listener{kind: "abort", callback: callback}
		s.add(s.handler)
	}
}

func (r *realm) abortReason(v goja.Value) goja.Value {
	if goja.IsUndefined(v) {
		return r.newDOMException("AbortError", "This operation was aborted")
	}
	return v
}

// abort is "signal abort": all that depend on the signal are aborted before any
// script hears of it, and then told after it.
func (r *realm) abort(s *abortSignal, reason goja.Value) {
	if s.aborted() {
		return
	}
	r.aborts++
	s.reason, s.order = reason, r.aborts
	dependents := slices.SortedFunc(slices.Values(s.dependents), func(a, b *abortSignal) int { return cmp.Compare(a.born, b.born) })
	for _, dependent := range dependents {
		dependent.attend() // is aborted, so it leaves all of its sources
	}
	r.tellAbort(s)
	for _, dependent := range dependents {
		r.tellAbort(dependent)
	}
}

// tellAbort runs the algorithms of an aborted signal and fires its event.
func (r *realm) tellAbort(s *abortSignal) {
	for id := 1; id <= s.lastID; id++ {
		if f, ok := s.algorithms[id]; ok {
			delete(s.algorithms, id)
			f()
		}
	}
	if len(s.listeners) > 0 {
		e := r.newEvent("abort", nil)
		r.create(classEvent, e)
		e.trusted = true
		r.dispatch(s, e)
	}
}

func abortSignalTimeout(r *realm, call goja.FunctionCall) goja.Value {
	ms := r.toInteger(r.argument(call, 0, "AbortSignal.timeout"), 0, 1<<53-1, "AbortSignal.timeout: milliseconds")
	s := &abortSignal{}
	o := r.create(classAbortSignal, s)
	if delay := time.Duration(ms) * time.Millisecond; delay/time.Millisecond == time.Duration(ms) {
		r.iso.SetTimer(delay, false, func() {
			r.abort(s, r.newDOMException("TimeoutError", "The operation was aborted due to timeout"))
		})
	}
	return o
}

func abortSignalAny(r *realm, call goja.FunctionCall) goja.Value {
	var sources []*abortSignal
	r.sequence(r.argument(call, 0, "AbortSignal.any"), func(item goja.Value) {
		source, ok := stateOf[*abortSignal](item)
		if !ok {
			panic(r.rt.NewTypeError("AbortSignal.any: each item must be an AbortSignal"))
		}
		sources = append(sources, source)
	})
	return r.follow(sources).object()
}

// follow is "create a dependent abort signal".
func (r *realm) follow(sources []*abortSignal) *abortSignal {
	r.followers++
	s := &abortSignal{sources: []*abortSignal{}, born: r.followers}
	s.changed = s.attend
	r.create(classAbortSignal, s)
	for _, source := range sources {
		if source.aborted() {
			s.reason = source.reason
			return s
		}
	}
	for _, source := range sources {
		roots := source.sources
		if roots == nil {
			roots = []*abortSignal{source}
		}
		for _, root := range roots {
			if !slices.Contains(s.sources, root) {
				s.sources = append(s.sources, root)
			}
		}
	}
	return s
}

// abortController is the state of an AbortController (DOM §3.1).
type abortController struct {
	slot
	signal *abortSignal
}

func abortControllerClass() *classDef {
	return &classDef{
		name: "AbortController",
		construct: func(r *realm, call goja.ConstructorCall) {
			c := &abortController{signal: &abortSignal{}}
			r.create(classAbortSignal, c.signal)
			r.attach(call.This, c)
		},
		methods: []method{{"abort", 0, on(func(r *realm, c *abortController, call goja.FunctionCall) goja.Value {
			r.abort(c.signal, r.abortReason(call.Argument(0)))
			return undefined()
		})}},
		accessors: []accessor{
			{"signal", get(func(_ *realm, c *abortController) goja.Value { return c.signal.object() }), nil},
		},
	}
}
