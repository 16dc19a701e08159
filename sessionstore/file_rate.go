package sessionstore

import (
	"context"
	"encoding/binary"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

const (
	// savedPeriod is the shortest period whose windows are saved: shorter ones
	// are over before a restarted process would ask for them.
	savedPeriod = time.Minute

	// rateSweepMin is the number of windows below which none is looked for
	// that is over.
	rateSweepMin = 1024
)

// Take counts one request in every window and returns 0; or, if that would
// exceed the limit of one, counts it in none and returns how long until the
// first such window ends. A limit of 0 or less is none.
//
// Windows are counted in memory and saved every few seconds and by Close: a
// sync to the disk for every request would cost more than the request. After a
// crash of the process, windows may therefore have counted a few seconds too
// little.
func (f *File) Take(ctx context.Context, now time.Time, windows []webtask.RateWindow) (retryAfter time.Duration, err error) {
	current, err := rateWindows(now, windows)
	if err != nil || len(current) == 0 {
		return 0, err
	}
	e, err := f.open(ctx)
	if err != nil {
		return 0, err
	}
	return e.rates.take(now, current), nil
}

// rateTable has the current window of every key and period.
type rateTable struct {
	mu      sync.Mutex
	counts  map[rateKey]rateCount
	changed map[rateKey]bool // since they were last saved; of savedPeriod or longer
	sweepAt int              // number of counts at which those that are over are removed
}

type rateKey struct {
	key    string
	period time.Duration
}

type rateCount struct {
	number int64 // of the window
	count  int64
}

// over reports whether the window has ended.
func (c rateCount) over(period time.Duration, now time.Time) bool {
	return now.UnixNano()/int64(period) > c.number
}

func (t *rateTable) take(now time.Time, windows []rateWindow) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, w := range windows {
		c := t.counts[rateKey{w.Key, w.Period}]
		if c.number == w.number && c.count >= int64(w.Limit) {
			return w.left
		}
	}
	for _, w := range windows {
		k := rateKey{w.Key, w.Period}
		c := t.counts[k]
		if c.number != w.number {
			c = rateCount{number: w.number}
		}
		c.count++
		t.counts[k] = c
		if w.Period >= savedPeriod {
			t.changed[k] = true
		}
	}
	if len(t.counts) >= t.sweepAt {
		t.sweep(now)
	}
	return 0
}

// sweep removes the windows that are over. It runs when their number has
// doubled, so that its cost per request is constant.
func (t *rateTable) sweep(now time.Time) {
	for k, c := range t.counts {
		if c.over(k.period, now) {
			delete(t.counts, k)
			if k.period >= savedPeriod {
				t.changed[k] = true
			}
		}
	}
	t.sweepAt = max(rateSweepMin, 2*len(t.counts))
}

// loadRates reads the windows that were saved. Those that are over are left to
// the next save to remove.
func loadRates(tx *bolt.Tx, now time.Time) *rateTable {
	t := &rateTable{counts: map[rateKey]rateCount{}, changed: map[rateKey]bool{}, sweepAt: rateSweepMin}
	saved := tx.Bucket(bucketRates).Cursor()
	for key, value := saved.First(); key != nil; key, value = saved.Next() {
		if len(key) < 8 || len(value) != 16 {
			continue
		}
		k := rateKey{string(key[8:]), time.Duration(binary.BigEndian.Uint64(key))}
		c := rateCount{int64(binary.BigEndian.Uint64(value)), int64(binary.BigEndian.Uint64(value[8:]))}
		if k.period < savedPeriod || c.over(k.period, now) {
			t.changed[k] = true
			continue
		}
		t.counts[k] = c
	}
	return t
}

// saveRates saves the windows that have changed.
func (e *engine) saveRates() {
	changed := e.rates.takeChanged()
	if len(changed) == 0 {
		return
	}
	_, err := e.update([]*pendingChange{{apply: func(tx *bolt.Tx) error {
		rates := tx.Bucket(bucketRates)
		for k, c := range changed {
			key := append(binary.BigEndian.AppendUint64(nil, uint64(k.period)), k.key...)
			if c == (rateCount{}) {
				if err := rates.Delete(key); err != nil {
					return err
				}
				continue
			}
			value := binary.BigEndian.AppendUint64(nil, uint64(c.number))
			if err := rates.Put(key, binary.BigEndian.AppendUint64(value, uint64(c.count))); err != nil {
				return err
			}
		}
		return nil
	}}})
	if err != nil {
		e.rates.putBack(changed)
		e.logger.Warn("saving rate windows", zap.Error(err))
	}
}

// takeChanged returns the windows to save; a zero one is to be removed.
func (t *rateTable) takeChanged() map[rateKey]rateCount {
	t.mu.Lock()
	defer t.mu.Unlock()
	changed := make(map[rateKey]rateCount, len(t.changed))
	for k := range t.changed {
		changed[k] = t.counts[k]
	}
	clear(t.changed)
	return changed
}

func (t *rateTable) putBack(changed map[rateKey]rateCount) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for k := range changed {
		t.changed[k] = true
	}
}
