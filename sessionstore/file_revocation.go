package sessionstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"
)

// sweepRevocations is how many ended revocations a new one removes at most.
const sweepRevocations = 16

// Revoke adds a token id to those revoked, until a time (zero: for ever). A
// second revocation of an id can prolong the first, not shorten it.
func (f *File) Revoke(ctx context.Context, jti string, until time.Time) error {
	if jti == "" {
		return errEmptyTokenID
	}
	var end uint64
	if !until.IsZero() {
		end = uint64(max(until.UnixMilli(), 1))
	}
	return f.write(ctx, func(tx *bolt.Tx) error {
		if err := removeEndedRevocations(tx, f.now(), sweepRevocations); err != nil {
			return err
		}
		return revoke(tx, []byte(jti), end)
	})
}

// revoke stores a revocation; end is in ms, 0 for ever.
func revoke(tx *bolt.Tx, jti []byte, end uint64) error {
	revoked, log, expiry := tx.Bucket(bucketRevoked), tx.Bucket(bucketRevocationLog), tx.Bucket(bucketRevocationExpiry)
	if stored := revoked.Get(jti); stored != nil {
		cursor, earlier, err := decodeRevocation(stored)
		if err != nil {
			return err
		}
		if earlier == 0 || (end != 0 && earlier > end) {
			end = earlier
		}
		if err := log.Delete(binary.BigEndian.AppendUint64(nil, cursor)); err != nil {
			return err
		}
		if err := expiry.Delete(revocationExpiryKey(earlier, cursor)); err != nil {
			return err
		}
	}
	cursor, err := log.NextSequence()
	if err != nil {
		return err
	}
	if err := log.Put(binary.BigEndian.AppendUint64(nil, cursor), jti); err != nil {
		return err
	}
	if end != 0 {
		if err := expiry.Put(revocationExpiryKey(end, cursor), jti); err != nil {
			return err
		}
	}
	value := binary.BigEndian.AppendUint64(nil, cursor)
	return revoked.Put(jti, binary.BigEndian.AppendUint64(value, end))
}

func decodeRevocation(stored []byte) (cursor, end uint64, err error) {
	if len(stored) != 16 {
		return 0, 0, fmt.Errorf("%w: a revocation has %d bytes", errDamaged, len(stored))
	}
	return binary.BigEndian.Uint64(stored), binary.BigEndian.Uint64(stored[8:]), nil
}

func revocationExpiryKey(end, cursor uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, end), cursor)
}

// Revocations returns the token ids added after cursor (0: all), each with the
// end of its revocation (zero: never), and the next cursor. Those that have
// ended may be missing. reset is true when the store does not know cursor, as
// after it lost its data: then it returns all that it has.
func (f *File) Revocations(ctx context.Context, cursor uint64) (jtis map[string]time.Time, next uint64, reset bool, err error) {
	jtis = map[string]time.Time{}
	err = f.view(ctx, func(tx *bolt.Tx) error {
		log := tx.Bucket(bucketRevocationLog)
		first := tx.Bucket(bucketMeta).Get(metaFirstRevocation)
		if len(first) != 8 {
			return fmt.Errorf("%w: it has no first cursor", errDamaged)
		}
		next = log.Sequence()
		if cursor != 0 && (cursor < binary.BigEndian.Uint64(first) || cursor > next) {
			reset, cursor = true, 0
		}
		entries := log.Cursor()
		for key, jti := entries.Seek(binary.BigEndian.AppendUint64(nil, cursor+1)); key != nil; key, jti = entries.Next() {
			_, end, err := decodeRevocation(tx.Bucket(bucketRevoked).Get(jti))
			if err != nil {
				return err
			}
			if end == 0 {
				jtis[string(jti)] = time.Time{}
			} else {
				jtis[string(jti)] = time.UnixMilli(int64(end))
			}
		}
		return nil
	})
	if err != nil {
		return nil, 0, false, err
	}
	return jtis, next, reset, nil
}

// revocationsDue reports whether a revocation has ended.
func revocationsDue(tx *bolt.Tx, now time.Time) bool {
	key, _ := tx.Bucket(bucketRevocationExpiry).Cursor().First()
	return revocationEnded(key, now)
}

func revocationEnded(expiryKey []byte, now time.Time) bool {
	return len(expiryKey) == 16 && int64(binary.BigEndian.Uint64(expiryKey)) <= now.UnixMilli()
}

// removeEndedRevocations removes at most limit of them.
func removeEndedRevocations(tx *bolt.Tx, now time.Time, limit int) error {
	expiry := tx.Bucket(bucketRevocationExpiry)
	for range limit {
		key, jti := expiry.Cursor().First()
		if !revocationEnded(key, now) {
			return nil
		}
		key, jti = bytes.Clone(key), bytes.Clone(jti)
		if err := expiry.Delete(key); err != nil {
			return err
		}
		if err := tx.Bucket(bucketRevocationLog).Delete(key[8:]); err != nil {
			return err
		}
		if err := tx.Bucket(bucketRevoked).Delete(jti); err != nil {
			return err
		}
	}
	return nil
}
