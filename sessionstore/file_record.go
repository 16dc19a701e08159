package sessionstore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// record is a session as the file keeps it:
//
//	touched  8 bytes  when its time to live was last restarted, ms since the epoch
//	expires  8 bytes  when it ends, ms since the epoch
//	then, for each entry, key and entry (codec.go), each behind its length (uvarint)
//
// Times of the file are whole milliseconds, as those of Redis are.
type record struct {
	touched, expires time.Time
	entries          map[string][]byte // stored entries by key
}

const recordHeader = 16

func (r *record) encode() []byte {
	size := recordHeader
	for key, entry := range r.entries {
		size += 2*binary.MaxVarintLen32 + len(key) + len(entry)
	}
	b := make([]byte, 0, size)
	b = binary.BigEndian.AppendUint64(b, uint64(r.touched.UnixMilli()))
	b = binary.BigEndian.AppendUint64(b, uint64(r.expires.UnixMilli()))
	for key, entry := range r.entries {
		b = binary.AppendUvarint(b, uint64(len(key)))
		b = append(b, key...)
		b = binary.AppendUvarint(b, uint64(len(entry)))
		b = append(b, entry...)
	}
	return b
}

// decodeRecord reads a record; its entries are parts of b.
func decodeRecord(b []byte) (*record, error) {
	r := &record{entries: map[string][]byte{}}
	var err error
	if r.touched, r.expires, err = recordTimes(b); err != nil {
		return nil, err
	}
	for b = b[recordHeader:]; len(b) > 0; {
		var key, entry []byte
		if key, b, err = cutField(b); err != nil {
			return nil, err
		}
		if entry, b, err = cutField(b); err != nil {
			return nil, err
		}
		r.entries[string(key)] = entry
	}
	return r, nil
}

func recordTimes(b []byte) (touched, expires time.Time, err error) {
	if len(b) < recordHeader {
		return touched, expires, fmt.Errorf("%w: a record has %d bytes", errDamaged, len(b))
	}
	touched = time.UnixMilli(int64(binary.BigEndian.Uint64(b)))
	expires = time.UnixMilli(int64(binary.BigEndian.Uint64(b[8:])))
	return touched, expires, nil
}

func cutField(b []byte) (field, rest []byte, err error) {
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return nil, nil, fmt.Errorf("%w: a record ends too early", errDamaged)
	}
	b = b[n:]
	return b[:size:size], b[size:], nil
}

// data returns the session. It shares no memory with the database, whose pages
// are gone after the transaction.
func (r *record) data() (*webtask.SessionData, error) {
	session := &webtask.SessionData{Entries: make(map[string]webtask.SessionEntry, len(r.entries))}
	for key, stored := range r.entries {
		entry, err := decodeEntry(stored)
		if err != nil {
			return nil, err
		}
		if stored[versionSize] == valuePlain {
			entry.Value = bytes.Clone(entry.Value)
		}
		session.Entries[key] = entry
	}
	return session, nil
}

// size is that of keys and values before compression.
func (r *record) size() (int64, error) {
	var total int64
	for key, entry := range r.entries {
		size, err := valueSize(entry)
		if err != nil {
			return 0, err
		}
		total += int64(len(key)) + int64(size)
	}
	return total, nil
}

func entryVersion(entry []byte) uint64 {
	if len(entry) < versionSize {
		return 0
	}
	return binary.BigEndian.Uint64(entry)
}
