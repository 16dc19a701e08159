package jsruntime

import "slices"

// endFuncs are what runs at the end of a request, in reverse order.
type endFuncs struct {
	list    []*endFunc
	sweepAt int // how long the list gets before those taken back leave it
}

type endFunc struct{ f func() }

func (e *endFuncs) add(f func()) (stop func()) {
	if len(e.list) >= max(e.sweepAt, minSweep) {
		e.list = slices.DeleteFunc(e.list, func(entry *endFunc) bool { return entry.f == nil })
		e.sweepAt = 2 * len(e.list)
	}
	entry := &endFunc{f}
	e.list = append(e.list, entry)
	return func() { entry.f = nil }
}

// run calls and forgets them.
func (e *endFuncs) run() {
	for _, entry := range slices.Backward(e.list) {
		if entry.f != nil {
			entry.f()
		}
	}
}

// reset empties the list and keeps its memory for the next request, unless it
// has grown beyond what most need.
func (e *endFuncs) reset() {
	clear(e.list)
	e.list, e.sweepAt = e.list[:0], 0
	if cap(e.list) > minSweep {
		e.list = nil
	}
}
