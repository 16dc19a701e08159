package sessionstore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"
)

const (
	// sweepSessions and sweepContainers bound what one round of sweeping
	// removes and looks at, for changes wait meanwhile.
	sweepSessions   = 1024
	sweepContainers = 1024
)

// sweeper removes expired sessions, a bounded number at a time, going round
// the containers.
type sweeper struct {
	next []byte // the container to go on with, as a key of bucketCounts
}

// upkeep is what the writer does when it has time.
func (e *engine) upkeep() {
	e.saveRates()
	due := false
	err := e.view(func(tx *bolt.Tx) error {
		due = e.sweeper.due(tx, e.now()) || revocationsDue(tx, e.now())
		return nil
	})
	if err == nil && due {
		// A transaction of its own, and none when there is nothing to remove:
		// an idle store leaves the disk alone.
		c := &pendingChange{apply: func(tx *bolt.Tx) error {
			if err := e.sweeper.sweep(tx, e.now()); err != nil {
				return err
			}
			return removeEndedRevocations(tx, e.now(), sweepSessions)
		}}
		_, err = e.update([]*pendingChange{c})
	}
	if err != nil {
		e.logger.Warn("sweeping the session store", zap.Error(err))
	}
}

// due reports whether the containers that are next have expired sessions; if
// not, those after them are next.
func (w *sweeper) due(tx *bolt.Tx, now time.Time) bool {
	counts := tx.Bucket(bucketCounts).Cursor()
	container, _ := counts.Seek(w.next)
	for range sweepContainers {
		if container == nil {
			w.next = nil
			return false
		}
		if (&sessions{tx: tx, container: string(container)}).firstExpired(now) != nil {
			w.next = bytes.Clone(container)
			return true
		}
		container, _ = counts.Next()
	}
	w.next = bytes.Clone(container)
	return false
}

func (w *sweeper) sweep(tx *bolt.Tx, now time.Time) error {
	// Containers are collected first: removing the last session of one removes
	// its count from under a cursor.
	var containers []string
	counts := tx.Bucket(bucketCounts).Cursor()
	container, _ := counts.Seek(w.next)
	for ; container != nil && len(containers) < sweepContainers; container, _ = counts.Next() {
		containers = append(containers, string(container))
	}
	w.next = bytes.Clone(container)

	left := sweepSessions
	for _, container := range containers {
		s := &sessions{tx: tx, records: tx.Bucket(bucketSessions), container: container}
		removed, err := s.removeExpired(now, left)
		if err != nil {
			return err
		}
		if left -= removed; left == 0 {
			w.next = []byte(container)
			break
		}
	}
	return nil
}

// firstExpired is the key in the index of the container's session that expired
// first; nil if none has.
func (s *sessions) firstExpired(now time.Time) []byte {
	prefix := []byte(s.container + "/")
	key, _ := s.tx.Bucket(bucketExpiry).Cursor().Seek(prefix)
	if !bytes.HasPrefix(key, prefix) || len(key) < len(prefix)+8 {
		return nil
	}
	expires := time.UnixMilli(int64(binary.BigEndian.Uint64(key[len(prefix):])))
	if now.Before(expires) {
		return nil
	}
	return key
}

// removeExpired removes at most limit expired sessions of the container and
// returns how many it removed.
func (s *sessions) removeExpired(now time.Time, limit int) (removed int, err error) {
	for ; removed < limit; removed++ {
		index := bytes.Clone(s.firstExpired(now))
		if index == nil {
			return removed, nil
		}
		prefix := len(s.container) + 1
		key := append(bytes.Clone(index[:prefix]), index[prefix+8:]...)
		if s.records.Get(key) == nil {
			return removed, fmt.Errorf("%w: the index of expiries has one that does not exist", errDamaged)
		}
		if err := s.removeKey(key); err != nil {
			return removed, err
		}
	}
	return removed, nil
}
