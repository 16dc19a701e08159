package sessionstore

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// Load returns a session and, when more than a tenth of ttl has passed since
// its time to live was last restarted, restarts it. An unknown or expired
// session is webtask.ErrSessionNotFound.
func (f *File) Load(ctx context.Context, ref webtask.SessionRef, ttl time.Duration) (*webtask.SessionData, error) {
	if ref.ID == "" {
		return nil, webtask.ErrSessionNotFound
	}
	now := f.now()
	var session *webtask.SessionData
	due := false
	err := f.view(ctx, func(tx *bolt.Tx) error {
		r, err := sessionsOf(tx, ref.Container).get(ref.ID, now)
		if err != nil {
			return err
		}
		if r == nil {
			return webtask.ErrSessionNotFound
		}
		due = slideDue(now, r.touched, ttl)
		session, err = r.data()
		return err
	})
	if err != nil {
		return nil, err
	}
	if due {
		err := f.write(ctx, func(tx *bolt.Tx) error {
			return sessionsOf(tx, ref.Container).slide(ref.ID, now, ttl)
		})
		if err != nil {
			// The session was read; that the disk is full, say, is no reason
			// to withhold it.
			f.logger.Warn("restarting a session's time to live", zap.Error(err))
		}
	}
	return session, nil
}

// Save applies change and returns the session as it is afterwards; with
// webtask.ErrSessionConflict, as it is now. Destroying a session that is
// absent succeeds.
func (f *File) Save(ctx context.Context, ref webtask.SessionRef, sc *webtask.SessionChange) (*webtask.SessionData, error) {
	c, err := prepare(ref, sc)
	if err != nil {
		return nil, err
	}
	now := f.now()
	// Written by the writer's goroutine and, should ctx end first, read by
	// nobody.
	outcome := new(saveOutcome)
	err = f.write(ctx, func(tx *bolt.Tx) error {
		*outcome = saveOutcome{}
		return sessionsOf(tx, ref.Container).save(ref.ID, c, now, outcome)
	})
	if err != nil {
		return nil, err
	}
	return outcome.session, outcome.err
}

// saveOutcome is what a caller is told of a change that went into a commit.
type saveOutcome struct {
	session *webtask.SessionData
	err     error // webtask.ErrSession…
}

// sessions are those of one container, within a transaction.
type sessions struct {
	tx        *bolt.Tx
	records   *bolt.Bucket
	container string // its part of keys
}

func sessionsOf(tx *bolt.Tx, container string) *sessions {
	return &sessions{tx: tx, records: tx.Bucket(bucketSessions), container: keyPart(container)}
}

func (s *sessions) key(id string) []byte { return []byte(s.container + "/" + keyPart(id)) }

// get returns the record of a session; nil if there is none that is alive.
func (s *sessions) get(id string, now time.Time) (*record, error) {
	stored := s.records.Get(s.key(id))
	if stored == nil {
		return nil, nil
	}
	r, err := decodeRecord(stored)
	if err != nil || !now.Before(r.expires) {
		return nil, err
	}
	return r, nil
}

// slide restarts a time to live, unless another read has done so meanwhile.
func (s *sessions) slide(id string, now time.Time, ttl time.Duration) error {
	r, err := s.get(id, now)
	if err != nil || r == nil || !slideDue(now, r.touched, ttl) {
		return err
	}
	return s.put(id, r, now, ttl)
}

// save follows the same order of checks as lua/save.lua.
func (s *sessions) save(id string, c *change, now time.Time, outcome *saveOutcome) error {
	if c.destroy {
		outcome.session = &webtask.SessionData{Entries: map[string]webtask.SessionEntry{}}
		return s.remove(id)
	}
	r, err := s.get(id, now)
	if err != nil {
		return err
	}
	exists := r != nil
	if !exists {
		if !c.create {
			outcome.err = webtask.ErrSessionNotFound
			return nil
		}
		r = &record{entries: map[string][]byte{}}
	}
	for _, e := range c.expect {
		if entryVersion(r.entries[e.key]) != e.version {
			outcome.err = webtask.ErrSessionConflict
			outcome.session, err = r.data()
			return err
		}
	}
	if !exists {
		room, err := s.makeRoom(c.maxSessions, now)
		if err != nil {
			return err
		}
		if !room {
			outcome.err = overQuota(c.maxSessions)
			return nil
		}
	}
	if c.moveTo != "" {
		if taken, err := s.get(c.moveTo, now); err != nil {
			return err
		} else if taken != nil {
			outcome.err = idTaken()
			return nil
		}
	}
	if err := s.assign(r, c); err != nil {
		return err
	}
	if c.maxBytes > 0 && len(c.set) > 0 {
		size, err := r.size()
		if err != nil {
			return err
		}
		if size > c.maxBytes {
			outcome.err = tooLarge(size, c.maxBytes)
			return nil
		}
	}
	if c.moveTo != "" {
		if err := s.remove(id); err != nil {
			return err
		}
		id = c.moveTo
	}
	if err := s.put(id, r, now, c.ttl); err != nil {
		return err
	}
	outcome.session, err = r.data()
	return err
}

// assign applies a change to a record that is not stored yet.
func (s *sessions) assign(r *record, c *change) error {
	version, err := s.records.NextSequence()
	if err != nil {
		return err
	}
	for _, key := range c.remove {
		delete(r.entries, key)
	}
	for _, a := range c.set {
		entry := make([]byte, 0, versionSize+len(a.value))
		entry = binary.BigEndian.AppendUint64(entry, version)
		r.entries[a.key] = append(entry, a.value...)
	}
	return nil
}

// put stores a record with a fresh time to live.
func (s *sessions) put(id string, r *record, now time.Time, ttl time.Duration) error {
	key := s.key(id)
	expiry := s.tx.Bucket(bucketExpiry)
	if stored := s.records.Get(key); stored != nil {
		_, expires, err := recordTimes(stored)
		if err != nil {
			return err
		}
		if err := expiry.Delete(s.expiryKey(expires, key)); err != nil {
			return err
		}
	} else if err := s.addCount(1); err != nil {
		return err
	}
	r.touched, r.expires = now, now.Add(ttl)
	// The new record is made whole before it is put: its entries may be parts
	// of the page that Put is about to change.
	encoded := r.encode()
	if err := expiry.Put(s.expiryKey(r.expires, key), nil); err != nil {
		return err
	}
	return s.records.Put(key, encoded)
}

// remove removes a session, alive or expired, if there is one.
func (s *sessions) remove(id string) error { return s.removeKey(s.key(id)) }

func (s *sessions) removeKey(key []byte) error {
	stored := s.records.Get(key)
	if stored == nil {
		return nil
	}
	_, expires, err := recordTimes(stored)
	if err != nil {
		return err
	}
	if err := s.tx.Bucket(bucketExpiry).Delete(s.expiryKey(expires, key)); err != nil {
		return err
	}
	if err := s.records.Delete(key); err != nil {
		return err
	}
	return s.addCount(-1)
}

// expiryKey is the key of a session's entry in the index by expiry, which is
// ordered by container first: making room looks at one container only.
func (s *sessions) expiryKey(expires time.Time, key []byte) []byte {
	prefix := len(s.container) + 1
	index := make([]byte, 0, len(key)+8)
	index = append(index, key[:prefix]...)
	index = binary.BigEndian.AppendUint64(index, uint64(expires.UnixMilli()))
	return append(index, key[prefix:]...)
}

// count is the number of the container's records, expired ones included.
func (s *sessions) count() (int64, error) {
	stored := s.tx.Bucket(bucketCounts).Get([]byte(s.container))
	switch len(stored) {
	case 0:
		return 0, nil
	case 8:
		return int64(binary.BigEndian.Uint64(stored)), nil
	}
	return 0, fmt.Errorf("%w: a count has %d bytes", errDamaged, len(stored))
}

func (s *sessions) addCount(n int64) error {
	count, err := s.count()
	if err != nil {
		return err
	}
	counts := s.tx.Bucket(bucketCounts)
	if count+n <= 0 {
		return counts.Delete([]byte(s.container))
	}
	return counts.Put([]byte(s.container), binary.BigEndian.AppendUint64(nil, uint64(count+n)))
}

// makeRoom reports whether one more session fits, removing expired ones until
// it does. In any case it removes a few, so that sweeping keeps pace with the
// sessions that are made.
func (s *sessions) makeRoom(limit int, now time.Time) (bool, error) {
	const atLeast = 2
	for removed := 0; ; removed++ {
		count, err := s.count()
		if err != nil {
			return false, err
		}
		room := limit <= 0 || count < int64(limit)
		if room && removed >= atLeast {
			return true, nil
		}
		found, err := s.removeExpired(now, 1)
		if err != nil {
			return false, err
		}
		if found == 0 {
			return room, nil
		}
	}
}
