package webtask

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// RevocationSet holds the ids of revoked tokens, each until the token would
// have expired anyway. It is read by every request, without a lock, and
// written seldom: every write copies it. The zero value is empty and ready.
type RevocationSet struct {
	write sync.Mutex
	ids   atomic.Pointer[map[string]time.Time]
}

// Revoked reports whether any id of a token's chain is in the set: revoking a
// token revokes all that were derived from it.
func (s *RevocationSet) Revoked(chain []string) bool {
	ids := s.ids.Load()
	if ids == nil || len(*ids) == 0 {
		return false
	}
	for _, id := range chain {
		if _, revoked := (*ids)[id]; revoked {
			return true
		}
	}
	return false
}

// Add revokes ids, each until the time given; the zero time is for ever. An id
// that is in the set already keeps the later of its times.
func (s *RevocationSet) Add(ids map[string]time.Time) {
	if len(ids) == 0 {
		return
	}
	s.update(func(set map[string]time.Time) {
		for id, until := range ids {
			if was, ok := set[id]; ok && !laterRevocation(until, was) {
				continue
			}
			set[id] = until
		}
	})
}

// laterRevocation reports whether a ends after b, where the zero time never
// does end.
func laterRevocation(a, b time.Time) bool {
	return !b.IsZero() && (a.IsZero() || a.After(b))
}

// Replace makes ids the whole set: what a store holds that lost its past.
func (s *RevocationSet) Replace(ids map[string]time.Time) {
	s.update(func(set map[string]time.Time) {
		clear(set)
		maps.Copy(set, ids)
	})
}

// Purge forgets ids whose time has passed.
func (s *RevocationSet) Purge(now time.Time) {
	passed := func(_ string, until time.Time) bool { return !until.IsZero() && !now.Before(until) }
	s.update(func(set map[string]time.Time) { maps.DeleteFunc(set, passed) })
}

// Len returns the number of ids.
func (s *RevocationSet) Len() int {
	if ids := s.ids.Load(); ids != nil {
		return len(*ids)
	}
	return 0
}

func (s *RevocationSet) update(change func(set map[string]time.Time)) {
	s.write.Lock()
	defer s.write.Unlock()
	set := map[string]time.Time{}
	if ids := s.ids.Load(); ids != nil {
		maps.Copy(set, *ids)
	}
	change(set)
	s.ids.Store(&set)
}
