//go:build unix

package worker

import (
	"encoding/binary"
	"math"
	"net/http"
	"unsafe"
)

// Payloads are sequences of unsigned varints and of byte strings after their
// length. An encoder appends to a slice; a decoder remembers its first error,
// so that a message is read in one go and checked once.

func putUint(b []byte, v uint64) []byte { return binary.AppendUvarint(b, v) }

// putInt encodes small negative numbers too (-1: unknown).
func putInt(b []byte, v int64) []byte { return binary.AppendVarint(b, v) }

func putString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func putBytes(b, p []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(p))), p...)
}

// putHeader encodes a header: how many values in all, how many names, and then
// each name with its values.
func putHeader(b []byte, h http.Header) []byte {
	total := 0
	for _, values := range h {
		total += len(values)
	}
	b = putUint(putUint(b, uint64(total)), uint64(len(h)))
	for name, values := range h {
		b = putUint(putString(b, name), uint64(len(values)))
		for _, value := range values {
			b = putString(b, value)
		}
	}
	return b
}

// Bounds of a header from a worker. Every name and value takes a byte at
// least, so that counts alone reserve no memory.
const (
	maxHeaderNames  = 1000
	maxHeaderValues = 2000
)

// decoder reads a payload. Strings and bytes that it returns are parts of the
// payload, which nobody changes any more.
type decoder struct {
	rest    []byte
	err     error
	trusted bool // it comes from the edge, whose clients may send more headers than scripts
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = violation("%s", what)
		d.rest = nil
	}
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 {
		d.fail("number cut short")
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) uint32() uint32 {
	v := d.uint()
	if v > math.MaxUint32 {
		d.fail("number out of range")
		return 0
	}
	return uint32(v)
}

func (d *decoder) int() int64 {
	v, n := binary.Varint(d.rest)
	if n <= 0 {
		d.fail("number cut short")
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) bytes() []byte {
	n := d.uint()
	if n > uint64(len(d.rest)) {
		d.fail("text cut short")
		return nil
	}
	p := d.rest[:n:n]
	d.rest = d.rest[n:]
	return p
}

func (d *decoder) string() string {
	p := d.bytes()
	return unsafe.String(unsafe.SliceData(p), len(p))
}

// header decodes what putHeader wrote; nil when it is empty.
func (d *decoder) header() http.Header {
	total, names := d.uint(), d.uint()
	if total == 0 && names == 0 || d.err != nil {
		return nil
	}
	if !d.trusted && (total > maxHeaderValues || names > maxHeaderNames) || total > uint64(len(d.rest)) || names > uint64(len(d.rest)) {
		d.fail("too many headers")
		return nil
	}
	h := make(http.Header, names)
	values := make([]string, 0, total)
	for range names {
		name, n := d.string(), d.uint()
		if n > uint64(cap(values)-len(values)) {
			d.fail("more header values than were announced")
			return nil
		}
		start := len(values)
		for range n {
			values = append(values, d.string())
		}
		h[name] = values[start:len(values):len(values)]
	}
	if d.err != nil {
		return nil
	}
	return h
}

// end reports the first error, or that something was left over.
func (d *decoder) end() error {
	if d.err == nil && len(d.rest) > 0 {
		d.fail("payload too long")
	}
	return d.err
}
