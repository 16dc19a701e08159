package sessionstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"
)

func entryOf(version uint64, value []byte) []byte {
	return appendValue(binary.BigEndian.AppendUint64(nil, version), value)
}

func TestEntryCompression(t *testing.T) {
	for _, size := range []int{0, 1, compressAbove, compressAbove + 1, 100 << 10} {
		value := bytes.Repeat([]byte("x"), size)
		entry := entryOf(7, value)
		if compressed := entry[versionSize] == valueZstd; compressed != (size > compressAbove) {
			t.Errorf("%d bytes: compressed %v", size, compressed)
		}
		if size > compressAbove && len(entry) > size/4 {
			t.Errorf("%d bytes became %d", size, len(entry))
		}
		got, err := decodeEntry(entry)
		if err != nil || !bytes.Equal(got.Value, value) || got.Version != 7 {
			t.Errorf("%d bytes: %d bytes of version %d, %v", size, len(got.Value), got.Version, err)
		}
	}
}

func TestEntryDamage(t *testing.T) {
	compressed := entryOf(1, bytes.Repeat([]byte("abcd"), 1000))
	change := func(entry []byte, at int, to byte) []byte {
		entry = bytes.Clone(entry)
		entry[at] = to
		return entry
	}
	for name, entry := range map[string][]byte{
		"empty":                nil,
		"no payload":           compressed[:headerSize],
		"short header":         compressed[:headerSize-1],
		"cut":                  compressed[:len(compressed)-1],
		"unknown encoding":     change(compressed, versionSize, 9),
		"size too small":       change(compressed, versionSize+3, 1),
		"size too large":       change(compressed, versionSize+3, 200),
		"size beyond all":      change(compressed, versionSize+1, 255),
		"plain, and too short": entryOf(1, []byte("abc"))[:headerSize+2],
		"checksum":             change(compressed, len(compressed)-1, compressed[len(compressed)-1]^1),
	} {
		if got, err := decodeEntry(entry); !errors.Is(err, errDamaged) {
			t.Errorf("%s: %d bytes, %v", name, len(got.Value), err)
		}
	}
}

// What is read back from a store may be anything; it must neither panic nor
// make a value larger than it says.
func FuzzDecodeEntry(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(entryOf(1, []byte(`{"a":1}`)))
	f.Add(entryOf(1<<63, bytes.Repeat([]byte("abcd"), 1000)))
	f.Fuzz(func(t *testing.T, entry []byte) {
		got, err := decodeEntry(entry)
		if err != nil {
			if !errors.Is(err, errDamaged) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		if size, err := valueSize(entry); err != nil || size != len(got.Value) {
			t.Fatalf("%d bytes, said to be %d (%v)", len(got.Value), size, err)
		}
		again, err := decodeEntry(entryOf(got.Version, got.Value))
		if err != nil || again.Version != got.Version || !bytes.Equal(again.Value, got.Value) {
			t.Fatalf("encoded again: %v", err)
		}
	})
}

func FuzzValueRoundTrip(f *testing.F) {
	f.Add([]byte(nil), uint8(1))
	f.Add([]byte("abc"), uint8(255))
	f.Fuzz(func(t *testing.T, value []byte, times uint8) {
		value = bytes.Repeat(value, int(times))
		got, err := decodeEntry(entryOf(3, value))
		if err != nil || !bytes.Equal(got.Value, value) {
			t.Fatalf("%d bytes became %d: %v", len(value), len(got.Value), err)
		}
	})
}

func FuzzDecodeRecord(f *testing.F) {
	whole := &record{
		touched: time.UnixMilli(1), expires: time.UnixMilli(2),
		entries: map[string][]byte{"a": entryOf(1, []byte("1")), "": entryOf(2, nil)},
	}
	f.Add([]byte(nil))
	f.Add(whole.encode())
	f.Fuzz(func(t *testing.T, stored []byte) {
		r, err := decodeRecord(stored)
		if err != nil {
			if !errors.Is(err, errDamaged) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		_, dataErr := r.data()
		if _, sizeErr := r.size(); sizeErr != nil && dataErr == nil {
			t.Fatalf("entries that decode have no size: %v", sizeErr)
		}
		again, err := decodeRecord(r.encode())
		if err != nil || !again.touched.Equal(r.touched) || !again.expires.Equal(r.expires) || !maps.EqualFunc(again.entries, r.entries, bytes.Equal) {
			t.Fatalf("encoded again: %v", err)
		}
	})
}

// Parts of keys must not be able to reach beyond themselves, nor two names
// share one.
func FuzzKeyPart(f *testing.F) {
	f.Add("acme", "acme")
	f.Add("a}:{b", "a/b")
	f.Add("", "\x00")
	f.Add(strings.Repeat("x", plainMax), strings.Repeat("x", plainMax+1))
	f.Fuzz(func(t *testing.T, a, b string) {
		part := keyPart(a)
		if strings.ContainsAny(part, "{}:/\x00 \n") || len(part) > plainMax+2 || len(part) < 2 {
			t.Fatalf("%q became %q", a, part)
		}
		if (part == keyPart(b)) != (a == b) {
			t.Fatalf("%q and %q share %q", a, b, part)
		}
	})
}

func TestBreaker(t *testing.T) {
	c := newClock()
	var changes []bool
	b := &breaker{now: c.Now, onChange: func(down bool, _ error) { changes = append(changes, down) }}
	cause := errors.New("connection refused")
	allowed := func(want bool) {
		t.Helper()
		if err := b.allow(); (err == nil) != want || !want && !errors.Is(err, cause) {
			t.Fatalf("allowed: %v, want %v", err, want)
		}
	}
	allowed(true)
	b.report(nil)
	b.report(cause)
	allowed(false)
	c.Advance(breakerPause - 1)
	allowed(false)
	c.Advance(1)
	allowed(true)  // the probe
	allowed(false) // and nobody else
	b.report(cause)
	c.Advance(breakerPause - 1)
	allowed(false)
	c.Advance(1)
	allowed(true)
	b.report(nil)
	allowed(true)
	allowed(true)
	if len(changes) != 2 || !changes[0] || changes[1] {
		t.Fatalf("changes told: %v", changes)
	}
}
