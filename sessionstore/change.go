package sessionstore

import (
	"errors"
	"fmt"
	"time"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// slideFraction is the part of a time to live that must have passed before a
// read restarts it: restarting is a write.
const slideFraction = 10

// change is a webtask.SessionChange, checked, with its values in the form they
// are stored in. It shares no memory with what it was made of, for an engine
// may still be busy with it when the caller has given up.
type change struct {
	create, destroy bool
	expect          []expectation
	set             []assignment
	remove          []string
	moveTo          string // empty: the id stays
	ttl             time.Duration
	maxBytes        int64
	maxSessions     int
}

type expectation struct {
	key     string
	version uint64
}

type assignment struct {
	key   string
	value []byte // as of appendValue
	size  int64  // of key and value before compression
}

// prepare checks c. Values are compressed here, on the caller's goroutine, so
// that neither the file's one writer nor Redis is held up by it.
func prepare(ref webtask.SessionRef, c *webtask.SessionChange) (*change, error) {
	switch {
	case ref.ID == "":
		return nil, errors.New("saving a session: its id is empty")
	case c.TTL <= 0 && !c.Destroy:
		return nil, fmt.Errorf("saving a session: its time to live is %v; it must be positive", c.TTL)
	}
	p := &change{
		create:      c.Create,
		destroy:     c.Destroy,
		ttl:         max(c.TTL, time.Millisecond),
		maxBytes:    c.MaxBytes,
		maxSessions: c.MaxSessions,
	}
	if c.Destroy {
		return p, nil
	}
	if c.MoveTo != ref.ID {
		p.moveTo = c.MoveTo
	}
	for key, version := range c.Expect {
		p.expect = append(p.expect, expectation{key, version})
	}
	for key, value := range c.Set {
		size := int64(len(key)) + int64(len(value))
		if len(value) > maxValue || (c.MaxBytes > 0 && size > c.MaxBytes) {
			return nil, tooLarge(size, min(maxValue, limitOr(c.MaxBytes, maxValue)))
		}
		p.set = append(p.set, assignment{key, appendValue(nil, value), size})
	}
	for _, key := range c.Delete {
		if _, alsoSet := c.Set[key]; !alsoSet {
			p.remove = append(p.remove, key)
		}
	}
	return p, nil
}

func limitOr(limit, otherwise int64) int64 {
	if limit > 0 {
		return limit
	}
	return otherwise
}

// slideDue reports whether a read now restarts the time to live that was last
// restarted at touched.
func slideDue(now, touched time.Time, ttl time.Duration) bool {
	return now.Sub(touched) > ttl/slideFraction
}

func tooLarge(size, limit int64) error {
	return fmt.Errorf("%w: %d bytes of keys and values, where %d are allowed; store less, or raise the limit",
		webtask.ErrSessionTooLarge, size, limit)
}

func overQuota(limit int) error {
	return fmt.Errorf("%w: %d, which is its limit; sessions end by destroy() or by their time to live",
		webtask.ErrSessionQuota, limit)
}

func idTaken() error {
	return errors.New("moving a session: the new id is in use; ids must be random")
}
