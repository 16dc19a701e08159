package webapi

import "github.com/dop251/goja"

// tee is ReadableStreamTee: both branches get every chunk. A stream over a
// body that nobody has read splits without passing through JavaScript.
func (r *realm) tee(s *stream) (first, second *stream) {
	if source, ok := s.untouched(); ok {
		reader := r.acquireReader(s) // the branches own the source now
		a, b := source.content.split(r)
		s.disturbed = true
		s.controller.drop()
		_ = reader
		return r.newStream(&bodySource{r: r, content: a}), r.newStream(&bodySource{r: r, content: b})
	}
	t := &tee{r: r, reader: r.acquireReader(s), canceled: r.newPromise()}
	for i := range t.branches {
		t.branches[i] = r.newStream(&teeSource{t, i})
	}
	return t.branches[0], t.branches[1]
}

// tee feeds two branches from one reader.
type tee struct {
	r        *realm
	reader   *streamReader
	branches [2]*stream
	reading  bool
	again    bool
	reasons  [2]goja.Value // why a branch was cancelled; nil: it was not
	canceled *promise      // of the cancellation of both
}

// teeSource is the source of one branch.
type teeSource struct {
	*tee
	index int
}

func (t *teeSource) pull(_ *controller, done func(goja.Value)) {
	t.readOn()
	done(nil)
}

func (t *tee) readOn() {
	if t.reading {
		t.again = true
		return
	}
	t.reading = true
	t.reader.read(t.r, readRequest{
		chunk: func(v goja.Value) {
			t.reading = false
			for i, branch := range t.branches {
				if t.reasons[i] == nil {
					branch.controller.enqueue(v)
				}
			}
			if t.again {
				t.again = false
				t.readOn()
			}
		},
		close: func() {
			for i, branch := range t.branches {
				if t.reasons[i] == nil {
					branch.controller.close()
				}
			}
			if t.reasons[0] == nil || t.reasons[1] == nil {
				t.canceled.resolve(undefined())
			}
		},
		fail: func(reason goja.Value) {
			for _, branch := range t.branches {
				branch.controller.fail(reason)
			}
			if t.reasons[0] == nil || t.reasons[1] == nil {
				t.canceled.resolve(undefined())
			}
		},
	})
}

// cancel cancels the source once both branches were cancelled.
func (t *teeSource) cancel(reason goja.Value, done func(goja.Value)) {
	t.reasons[t.index] = reason
	if t.reasons[0] != nil && t.reasons[1] != nil {
		t.canceled.resolve(t.reader.stream.cancel(t.r.rt.NewArray(t.reasons[0], t.reasons[1])))
	}
	t.r.await(t.canceled.Value, func(thrown goja.Value, failed bool) {
		if failed {
			done(thrown)
		} else {
			done(nil)
		}
	})
}
