package sessionstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"
)

// revocationPage bounds how many revocations one script looks up, since Redis
// serves nobody else meanwhile.
const revocationPage = 5000

var errEmptyTokenID = errors.New("revoking a token: its id is empty")

func (s *Redis) revocationKeys() []string {
	tag := s.prefix + ":{revocations}:"
	return []string{tag + "log", tag + "until", tag + "meta"}
}

// Revoke adds a token id to those revoked, until a time (zero: for ever). A
// second revocation of an id can prolong the first, not shorten it.
func (s *Redis) Revoke(ctx context.Context, jti string, until time.Time) error {
	if jti == "" {
		return errEmptyTokenID
	}
	end := "inf"
	if !until.IsZero() {
		end = strconv.FormatInt(until.UnixMilli(), 10)
	}
	_, err := s.run(ctx, revokeScript, s.revocationKeys(), jti, end)
	return err
}

// Revocations returns the token ids added after cursor (0: all), each with the
// end of its revocation (zero: never), and the next cursor. Those that have
// ended may be missing. reset is true when the store does not know cursor, as
// after it lost its data: then it returns all that it has.
func (s *Redis) Revocations(ctx context.Context, cursor uint64) (jtis map[string]time.Time, next uint64, reset bool, err error) {
	jtis = map[string]time.Time{}
	for next = cursor; ; {
		page, err := s.revocationsPage(ctx, next)
		if err != nil {
			return nil, cursor, false, err
		}
		if !page.known {
			// Also in the middle of paging: whatever was read before belongs
			// to a past that the store has lost since.
			reset = true
			clear(jtis)
		}
		maps.Copy(jtis, page.jtis)
		if page.size < revocationPage {
			return jtis, page.last, reset, nil
		}
		next = page.end
	}
}

type revocations struct {
	jtis  map[string]time.Time
	size  int    // entries read
	end   uint64 // cursor of the last of them
	last  uint64 // cursor of the last in the store
	known bool   // the store knows the cursor that was asked for
}

func (s *Redis) revocationsPage(ctx context.Context, cursor uint64) (*revocations, error) {
	reply, err := s.run(ctx, revocationsScript, s.revocationKeys(), cursor, revocationPage)
	if err != nil {
		return nil, err
	}
	parts, _ := reply.([]any)
	if len(parts) != 3 {
		return nil, unexpected(reply)
	}
	lastText, isLast := parts[0].(string)
	known, isKnown := parts[1].(int64)
	entries, isList := parts[2].([]any)
	if !isLast || !isKnown || !isList || len(entries)%3 != 0 {
		return nil, unexpected(reply)
	}
	last, err := strconv.ParseUint(lastText, 10, 64)
	if err != nil {
		return nil, unavailable(fmt.Errorf("redis: reading the cursor of revocations: %w", err))
	}
	page := &revocations{jtis: make(map[string]time.Time, len(entries)/3), size: len(entries) / 3, last: last, known: known == 1}
	for i := 0; i < len(entries); i += 3 {
		jti, _ := entries[i].(string)
		at, _ := entries[i+1].(string)
		end, _ := entries[i+2].(string)
		if page.end, err = strconv.ParseUint(at, 10, 64); err != nil {
			return nil, unavailable(fmt.Errorf("redis: reading the cursor of a revocation: %w", err))
		}
		if end == "inf" {
			page.jtis[jti] = time.Time{}
			continue
		}
		ms, err := strconv.ParseFloat(end, 64)
		if err != nil {
			return nil, unavailable(fmt.Errorf("redis: reading the end of a revocation: %w", err))
		}
		page.jtis[jti] = time.UnixMilli(int64(ms))
	}
	return page, nil
}
