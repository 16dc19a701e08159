package jsruntime

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/dop251/goja"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// An update that lost against another tries again at once, on the session that
// the store returned. One that keeps losing waits a little longer each time, by
// chance, so that they do not go on in step, and then reads the session anew:
// what it was before the wait is old by then, and would lose again.
const (
	updateAtOnce   = 3
	updateAttempts = 60
	updateBackoff  = 2 * time.Millisecond
	updateMaxWait  = 50 * time.Millisecond
)

// update replaces a value by what fn makes of it, atomically: by
// compare-and-set, again and again while others change it.
func (s *session) update(call goja.FunctionCall, d *deferred) {
	key := s.key(call)
	fn, ok := goja.AssertFunction(call.Argument(1))
	if !ok {
		panic(s.iso.NewTypeError("ctx.session.update(%q, fn): fn must be a function that returns the new value", key))
	}
	s.usable()
	s.load(func(err error) {
		if err != nil {
			d.reject(s.storeError(err))
			return
		}
		s.tryUpdate(key, fn, d, 1)
	})
}

func (s *session) tryUpdate(key string, fn goja.Callable, d *deferred, attempt int) {
	iso := s.iso
	version := s.stored.Data.Entries[key].Version
	var result goja.Value
	var err error
	if thrown := iso.runtime.Try(func() { result, err = fn(goja.Undefined(), s.parse(s.value(key))) }); thrown != nil {
		err = thrown
	}
	if err != nil {
		var exception *goja.Exception
		if errors.As(err, &exception) {
			d.reject(exception.Value())
		} else {
			iso.Uncaught(err)
		}
		return
	}
	iso.whenSettled(result, func(result goja.Value) {
		if thrown := iso.runtime.Try(func() { s.applyUpdate(key, version, s.serialize(key, result), fn, d, attempt) }); thrown != nil {
			d.reject(thrown.Value())
		}
	}, d.reject)
}

// applyUpdate stores the outcome of fn. A session that does not exist yet is
// known to this request only, and a key that it has written is its own until
// the head is sent; neither needs the store now.
func (s *session) applyUpdate(key string, version uint64, text []byte, fn goja.Callable, d *deferred, attempt int) {
	s.usable()
	_, written := s.set[key]
	_, deleted := s.deleted[key]
	if !s.iso.live.answered && (s.stored.ID == "" || written || deleted) {
		s.buffer(key, text)
		d.resolve(s.iso.ParseJSON(string(text)))
		return
	}
	change := s.takeBuffered()
	restore := func() { s.restore(change, key) }
	change.Expect = map[string]uint64{key: version}
	change.Set[key] = text
	s.carry(change, func(saved *Session, err error) {
		switch {
		case err == nil:
			s.stored = saved
			d.resolve(s.iso.ParseJSON(string(text)))
			return
		case !errors.Is(err, webtask.ErrSessionConflict) || saved == nil:
			restore()
			d.reject(s.storeError(err))
			return
		}
		restore()
		s.stored = saved
		if attempt == updateAttempts {
			d.reject(s.storeError(err))
			return
		}
		if attempt <= updateAtOnce {
			s.tryUpdate(key, fn, d, attempt+1)
			return
		}
		s.later(attempt-updateAtOnce, func() {
			s.stored = nil
			s.load(func(err error) {
				if err != nil {
					d.reject(s.storeError(err))
					return
				}
				s.tryUpdate(key, fn, d, attempt+1)
			})
		})
	})
}

// carry sends a change that has the buffered writes in it, before anything that
// waits for the store: who reads next finds them there. The head waits for it,
// too, since writes that come back unsaved are to leave with that.
func (s *session) carry(change *webtask.SessionChange, then func(*Session, error)) {
	s.carried++
	s.reading = nil
	s.line = slices.Insert(s.line, 0, func() {
		s.send(change, func(saved *Session, err error) {
			s.carried--
			then(saved, err)
		})
	})
	s.proceed()
}

// later calls f after a time that grows with the waits so far, by chance.
func (s *session) later(waits int, f func()) {
	iso := s.iso
	wait := min(updateBackoff<<min(waits, 10), updateMaxWait)
	wait = time.Duration(rand.Int64N(int64(wait))) + 1
	clock := iso.engine.clock
	iso.Async(func(ctx context.Context) func() {
		over := make(chan struct{})
		timer := clock.AfterFunc(wait, func() { close(over) })
		defer timer.Stop()
		select {
		case <-over:
		case <-ctx.Done():
		}
		return f
	})
}

// restore buffers again what a failed save carried, but for key and for what
// was written meanwhile.
func (s *session) restore(change *webtask.SessionChange, key string) {
	for name, text := range change.Set {
		_, written := s.set[name]
		_, deleted := s.deleted[name]
		if name != key && !written && !deleted {
			s.buffer(name, text)
		}
	}
	for _, name := range change.Delete {
		if _, written := s.set[name]; !written {
			s.bufferDelete(name)
		}
	}
}

// whenSettled calls one of two functions with the outcome of v: at once unless
// v is to be awaited.
func (iso *Isolate) whenSettled(v goja.Value, fulfilled, rejected func(goja.Value)) {
	object, ok := v.(*goja.Object)
	if !ok {
		fulfilled(v)
		return
	}
	var p *goja.Promise
	if thrown := iso.runtime.Try(func() { p = iso.promiseOf(object) }); thrown != nil {
		rejected(thrown.Value())
		return
	}
	if p == nil {
		fulfilled(v)
		return
	}
	iso.Track(p)
	iso.live.watched = append(iso.live.watched, watchedPromise{p, fulfilled, rejected})
}
