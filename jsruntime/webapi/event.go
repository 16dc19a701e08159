package webapi

import (
	"slices"

	"github.com/dop251/goja"
)

// event is the state of an Event or CustomEvent (DOM §2.2).
type event struct {
	slot
	kind                           string
	bubbles, cancelable, composed  bool
	target, current                goja.Value // null outside of a dispatch
	dispatching, trusted, canceled bool
	stopped, stoppedNow, passive   bool
	phase                          int
	time                           float64    // milliseconds since the Unix epoch
	detail                         goja.Value // of a CustomEvent
}

const phaseAtTarget = 2

func (r *realm) newEvent(kind string, init *goja.Object) *event {
	return &event{
		kind:       kind,
		bubbles:    boolMember(init, "bubbles"),
		cancelable: boolMember(init, "cancelable"),
		composed:   boolMember(init, "composed"),
		target:     goja.Null(),
		current:    goja.Null(),
		time:       float64(r.platform.now().UnixMicro()) / 1000,
	}
}

func eventClass() *classDef {
	return &classDef{
		name:   "Event",
		length: 1,
		construct: func(r *realm, call goja.ConstructorCall) {
			kind := r.toString(r.argument(goja.FunctionCall{Arguments: call.Arguments}, 0, "Event"))
			r.attach(call.This, r.newEvent(kind, r.dictionary(call.Argument(1), "Event: options")))
		},
		methods: []method{
			{"composedPath", 0, on(func(r *realm, e *event, _ goja.FunctionCall) goja.Value {
				if e.dispatching {
					return r.rt.NewArray(e.current)
				}
				return r.rt.NewArray()
			})},
			{"preventDefault", 0, on(func(_ *realm, e *event, _ goja.FunctionCall) goja.Value {
				e.cancel()
				return undefined()
			})},
			{"stopPropagation", 0, on(func(_ *realm, e *event, _ goja.FunctionCall) goja.Value {
				e.stopped = true
				return undefined()
			})},
			{"stopImmediatePropagation", 0, on(func(_ *realm, e *event, _ goja.FunctionCall) goja.Value {
				e.stopped, e.stoppedNow = true, true
				return undefined()
			})},
		},
		accessors: []accessor{
			{"type", get(func(r *realm, e *event) goja.Value { return r.rt.ToValue(e.kind) }), nil},
			{"target", get(func(_ *realm, e *event) goja.Value { return e.target }), nil},
			{"srcElement", get(func(_ *realm, e *event) goja.Value { return e.target }), nil},
			{"currentTarget", get(func(_ *realm, e *event) goja.Value { return e.current }), nil},
			{"eventPhase", get(func(r *realm, e *event) goja.Value { return r.rt.ToValue(e.phase) }), nil},
			{"bubbles", get(func(r *realm, e *event) goja.Value { return r.rt.ToValue(e.bubbles) }), nil},
			{"cancelable", get(func(r *realm, e *event) goja.Value { return r.rt.ToValue(e.cancelable) }), nil},
			{"composed", get(func(r *realm, e *event) goja.Value { return r.rt.ToValue(e.composed) }), nil},
			{"defaultPrevented", get(func(r *realm, e *event) goja.Value { return r.rt.ToValue(e.canceled) }), nil},
			{"returnValue", get(func(r *realm, e *event) goja.Value { return r.rt.ToValue(!e.canceled) }),
				set(func(_ *realm, e *event, v goja.Value) {
					if !v.ToBoolean() {
						e.cancel()
					}
				})},
			{"cancelBubble", get(func(r *realm, e *event) goja.Value { return r.rt.ToValue(e.stopped) }),
				set(func(_ *realm, e *event, v goja.Value) { e.stopped = e.stopped || v.ToBoolean() })},
			{"isTrusted", get(func(r *realm, e *event) goja.Value { return r.rt.ToValue(e.trusted) }), nil},
			{"timeStamp", get(func(r *realm, e *event) goja.Value { return r.rt.ToValue(e.time) }), nil},
		},
		constants: []constant{{"NONE", 0}, {"CAPTURING_PHASE", 1}, {"AT_TARGET", phaseAtTarget}, {"BUBBLING_PHASE", 3}},
	}
}

func customEventClass() *classDef {
	return &classDef{
		name:   "CustomEvent",
		length: 1,
		parent: classEvent,
		construct: func(r *realm, call goja.ConstructorCall) {
			kind := r.toString(r.argument(goja.FunctionCall{Arguments: call.Arguments}, 0, "CustomEvent"))
			init := r.dictionary(call.Argument(1), "CustomEvent: options")
			e := r.newEvent(kind, init)
			e.detail = goja.Null()
			if v, ok := member(init, "detail"); ok {
				e.detail = v
			}
			r.attach(call.This, e)
		},
		accessors: []accessor{{"detail", get(func(r *realm, e *event) goja.Value {
			if e.detail == nil {
				panic(r.rt.NewTypeError("Illegal invocation"))
			}
			return e.detail
		}), nil}},
	}
}

func (e *event) cancel() {
	if e.cancelable && !e.passive {
		e.canceled = true
	}
}

// eventTarget is the state of an EventTarget, and part of that of a subclass.
type eventTarget struct {
	slot
	listeners []*listener
	changed   func() // called when there are more listeners, or fewer; may be nil
}

// targetState is implemented by the states of EventTarget and its subclasses.
type targetState interface {
	state
	events() *eventTarget
}

func (t *eventTarget) events() *eventTarget { return t }

type listener struct {
	kind                           string
	callback                       *goja.Object
	capture, once, passive, ceased bool
	unsign                         func() // its signal does not remove it any more; nil: it has none
}

func eventTargetClass() *classDef {
	return &classDef{
		name:      "EventTarget",
		construct: func(r *realm, call goja.ConstructorCall) { r.attach(call.This, &eventTarget{}) },
		methods: []method{
			{"addEventListener", 2, on(addEventListener)},
			{"removeEventListener", 2, on(removeEventListener)},
			{"dispatchEvent", 1, on(dispatchEvent)},
		},
	}
}

// listenerArguments reads (type, callback, options); callback is nil for null.
func (r *realm) listenerArguments(call goja.FunctionCall, operation string) (l *listener, options *goja.Object) {
	l = &listener{kind: r.toString(r.argument(call, 0, operation))}
	if v := r.argument(call, 1, operation); !isNullish(v) {
		if l.callback = toObject(v); l.callback == nil {
			panic(r.rt.NewTypeError("%s: the callback is not an object", operation))
		}
	}
	if options = toObject(call.Argument(2)); options != nil {
		l.capture = boolMember(options, "capture")
	} else {
		l.capture = call.Argument(2).ToBoolean()
	}
	return l, options
}

func addEventListener(r *realm, self targetState, call goja.FunctionCall) goja.Value {
	l, options := r.listenerArguments(call, "addEventListener")
	l.once, l.passive = boolMember(options, "once"), boolMember(options, "passive")
	var signal *abortSignal
	if v, ok := member(options, "signal"); ok {
		if signal, ok = stateOf[*abortSignal](v); !ok {
			panic(r.rt.NewTypeError("addEventListener: signal is not an AbortSignal"))
		}
		if signal.aborted() {
			return undefined()
		}
	}
	target := self.events()
	if l.callback == nil || slices.ContainsFunc(target.listeners, l.same) {
		return undefined()
	}
	target.add(l)
	if signal != nil {
		l.unsign = signal.onAbort(func() { target.remove(l) })
	}
	return undefined()
}

func (l *listener) same(m *listener) bool {
	return l.kind == m.kind && l.callback == m.callback && l.capture == m.capture
}

func removeEventListener(r *realm, self targetState, call goja.FunctionCall) goja.Value {
	l, _ := r.listenerArguments(call, "removeEventListener")
	target := self.events()
	if i := slices.IndexFunc(target.listeners, l.same); i >= 0 {
		target.remove(target.listeners[i])
	}
	return undefined()
}

func (t *eventTarget) add(l *listener) {
	t.listeners = append(t.listeners, l)
	if t.changed != nil {
		t.changed()
	}
}

func (t *eventTarget) remove(l *listener) {
	l.ceased = true
	// A dispatch may be walking over the old slice.
	t.listeners = slices.DeleteFunc(slices.Clone(t.listeners), func(m *listener) bool { return m == l })
	if l.unsign != nil {
		l.unsign()
		l.unsign = nil
	}
	if t.changed != nil {
		t.changed()
	}
}

func dispatchEvent(r *realm, self targetState, call goja.FunctionCall) goja.Value {
	e, ok := stateOf[*event](r.argument(call, 0, "dispatchEvent"))
	if !ok {
		panic(r.rt.NewTypeError("dispatchEvent: the argument is not an Event"))
	}
	if e.dispatching {
		panic(r.newDOMException("InvalidStateError", "dispatchEvent: the event is being dispatched already"))
	}
	e.trusted = false
	return r.rt.ToValue(r.dispatch(self, e))
}

// dispatch calls the listeners and reports whether the event was not
// cancelled. There is no tree, so the target is the whole path.
func (r *realm) dispatch(self targetState, e *event) bool {
	target := self.events()
	e.target, e.current, e.phase, e.dispatching = self.object(), self.object(), phaseAtTarget, true
	for _, l := range target.listeners {
		if l.ceased || l.kind != e.kind {
			continue
		}
		if l.once {
			target.remove(l)
		}
		e.passive = l.passive
		r.notify(l.callback, e)
		e.passive = false
		if e.stoppedNow {
			break
		}
	}
	e.current, e.phase, e.dispatching, e.stopped, e.stoppedNow = goja.Null(), 0, false, false, false
	return !e.canceled
}

// notify calls one listener; what it throws is reported and stops nothing.
func (r *realm) notify(callback *goja.Object, e *event) {
	_, thrown := r.attempt(func() goja.Value {
		if f, ok := goja.AssertFunction(callback); ok {
			return invoke(f, e.current, e.object())
		}
		f, ok := goja.AssertFunction(callback.Get("handleEvent"))
		if !ok {
			panic(r.rt.NewTypeError("the event listener has no function handleEvent"))
		}
		return invoke(f, callback, e.object())
	})
	r.report(thrown)
}
