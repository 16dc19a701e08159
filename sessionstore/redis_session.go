package sessionstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// keyField begins the hash fields that are a session's keys; those of the
// store itself begin otherwise, so that no key can pass for one.
const keyField = "k:"

func (s *Redis) sessionKey(container, id string) string {
	return s.prefix + ":{" + keyPart(container) + "}:s:" + keyPart(id)
}

func (s *Redis) indexKey(container string) string {
	return s.prefix + ":{" + keyPart(container) + "}:sessions"
}

// Load returns a session and, when more than a tenth of ttl has passed since
// its time to live was last restarted, restarts it. An unknown or expired
// session is webtask.ErrSessionNotFound.
func (s *Redis) Load(ctx context.Context, ref webtask.SessionRef, ttl time.Duration) (*webtask.SessionData, error) {
	if ref.ID == "" {
		return nil, webtask.ErrSessionNotFound
	}
	reply, err := s.run(ctx, loadScript,
		[]string{s.sessionKey(ref.Container, ref.ID), s.indexKey(ref.Container)},
		milliseconds(ttl), keyPart(ref.ID))
	if errors.Is(err, redis.Nil) {
		return nil, webtask.ErrSessionNotFound
	}
	if err != nil {
		return nil, err
	}
	return sessionOf(reply)
}

// Save applies change and returns the session as it is afterwards; with
// webtask.ErrSessionConflict, as it is now. Destroying a session that is
// absent succeeds.
func (s *Redis) Save(ctx context.Context, ref webtask.SessionRef, sc *webtask.SessionChange) (*webtask.SessionData, error) {
	c, err := prepare(ref, sc)
	if err != nil {
		return nil, err
	}
	keys := []string{s.sessionKey(ref.Container, ref.ID), s.indexKey(ref.Container)}
	moved := ""
	if c.moveTo != "" {
		keys = append(keys, s.sessionKey(ref.Container, c.moveTo))
		moved = keyPart(c.moveTo)
	}
	args := make([]any, 0, 10+2*len(c.expect)+2*len(c.set)+len(c.remove))
	args = append(args, milliseconds(c.ttl), keyPart(ref.ID), moved, c.create, c.destroy,
		max(c.maxBytes, 0), max(c.maxSessions, 0), len(c.expect), len(c.set), len(c.remove))
	for _, e := range c.expect {
		args = append(args, e.key, e.version)
	}
	for _, a := range c.set {
		args = append(args, a.key, a.value)
	}
	for _, key := range c.remove {
		args = append(args, key)
	}

	reply, err := s.run(ctx, saveScript, keys, args...)
	if err != nil {
		return nil, err
	}
	return savedSession(reply, c)
}

func savedSession(reply any, c *change) (*webtask.SessionData, error) {
	parts, _ := reply.([]any)
	if len(parts) == 0 {
		return nil, unexpected(reply)
	}
	status, _ := parts[0].(string)
	switch {
	case status == "ok" && len(parts) == 2:
		return sessionOf(parts[1])
	case status == "conflict" && len(parts) == 2:
		session, err := sessionOf(parts[1])
		if err != nil {
			return nil, err
		}
		return session, webtask.ErrSessionConflict
	case status == "large" && len(parts) == 2:
		size, _ := parts[1].(int64)
		return nil, tooLarge(size, c.maxBytes)
	case status == "absent":
		return nil, webtask.ErrSessionNotFound
	case status == "quota":
		return nil, overQuota(c.maxSessions)
	case status == "taken":
		return nil, idTaken()
	}
	return nil, unexpected(reply)
}

// sessionOf reads the fields and values of a session's hash.
func sessionOf(reply any) (*webtask.SessionData, error) {
	fields, ok := reply.([]any)
	if !ok || len(fields)%2 != 0 {
		return nil, unexpected(reply)
	}
	session := &webtask.SessionData{Entries: make(map[string]webtask.SessionEntry, len(fields)/2)}
	for i := 0; i < len(fields); i += 2 {
		field, isText := fields[i].(string)
		stored, isValue := fields[i+1].(string)
		if !isText || !isValue {
			return nil, unexpected(reply)
		}
		key, ok := strings.CutPrefix(field, keyField)
		if !ok {
			continue
		}
		entry, err := decodeEntry([]byte(stored))
		if err != nil {
			return nil, unavailable(err)
		}
		session.Entries[key] = entry
	}
	return session, nil
}

// unexpected is the error of a reply that no script of ours gives. It has the
// reply's type only, for its content may be a session.
func unexpected(reply any) error {
	return unavailable(fmt.Errorf("redis: unexpected reply of type %T from a script", reply))
}

// milliseconds is Redis's unit; less than one would expire at once.
func milliseconds(d time.Duration) int64 { return max(d.Milliseconds(), 1) }
