package jsruntime

// LongestList returns how long the longest is of the lists that note something
// for the live request.
func (iso *Isolate) LongestList() int {
	l := &iso.live
	return max(len(l.onEnd.list), len(l.tracked.entries), len(l.causes.entries), len(l.watched), len(l.waits),
		cap(l.rejected), len(l.timers.byID), l.timers.Len(), cap(iso.queue.tasks))
}
