package webapi

import "github.com/dop251/goja"

// tee is ReadableStreamTee: both branches get every chunk. A stream over a
// body that nobody has read splits without passing through JavaScript.
func (r *realm) tee(s *stream) (first, second *stream) {
	if source, ok := s.untouched(); ok {
		r.acquireReader(s) // the branches own the source now
		a, b := source.content.split(r)
		s.disturbed = true
		s.controller.drop()
		return r.newStream(&bodySource{r: r, content: a}), r.newStream(&bodySource{r: r, content: b})
	}
	t := &tee{r: r, reader: r.acquireReader(s), canceled: r.newPromise()}
	for i := range t.branches {
		branch := r.newStream(&teeSource{t, i})
		branch.controller.highWater, branch.controller.started = 1, false
		t.branches[i] = branch
	}
	for _, branch := range t.branches {
		r.await(undefined(), func(goja.Value, bool) {
			branch.controller.started = true
			branch.controller.pullIfNeeded()
		})
	}
	// A failure reaches the branches also when none of them reads.
	r.await(t.reader.closed.Value, func(reason goja.Value, failed bool) {
		if failed {
			for _, branch := range t.branches {
				branch.controller.fail(reason)
			}
			t.finish()
		}
	})
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
	t.r.await(undefined(), func(goja.Value, bool) { done(nil) })
}

func (t *tee) readOn() {
	if t.reading {
		t.again = true
		return
	}
	t.reading = true
	t.reader.read(t.r, readRequest{
		// In a microtask, as an error of the source may be on its way.
		chunk: func(v goja.Value) { t.r.await(undefined(), func(goja.Value, bool) { t.chunk(v) }) },
		close: func() {
			t.reading = false
			for i, branch := range t.branches {
				if t.reasons[i] == nil {
					branch.controller.close()
				}
			}
			t.finish()
		},
		fail: func(goja.Value) { t.reading = false }, // closed has failed, too
	})
}

func (t *tee) chunk(v goja.Value) {
	t.again = false
	for i, branch := range t.branches {
		if t.reasons[i] == nil {
			branch.controller.offer(v)
		}
	}
	t.reading = false
	if t.again {
		t.readOn()
	}
}

// finish settles what cancelling a branch waits for, as the source has ended.
func (t *tee) finish() {
	if t.reasons[0] == nil || t.reasons[1] == nil {
		t.canceled.resolve(undefined())
	}
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
