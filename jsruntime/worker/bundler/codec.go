//go:build unix

package bundler

import "encoding/binary"

// Payloads are sequences of unsigned varints and of strings after their length.
// An encoder appends to a slice; a decoder remembers its first error, so that a
// message is read in one go and checked once.

func putUint(b []byte, v uint64) []byte { return binary.AppendUvarint(b, v) }

func putString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func putBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

type decoder struct {
	rest []byte
	err  error
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = violation("%s", what)
		d.rest = nil
	}
}

// uint reads a number up to max.
func (d *decoder) uint(max uint64) uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 || v > max {
		d.fail("number cut short or out of range")
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) bool() bool { return d.uint(1) == 1 }

func (d *decoder) string() string {
	n := d.uint(uint64(len(d.rest)))
	if n > uint64(len(d.rest)) {
		d.fail("text cut short")
		return ""
	}
	s := string(d.rest[:n])
	d.rest = d.rest[n:]
	return s
}

// strings reads as many strings as it says, up to max.
func (d *decoder) strings(max uint64) []string {
	n := d.uint(min(max, uint64(len(d.rest))))
	if d.err != nil || n == 0 {
		return []string{}
	}
	list := make([]string, 0, n)
	for range n {
		list = append(list, d.string())
	}
	return list
}

// end reports the first error, or that something was left over.
func (d *decoder) end() error {
	if d.err == nil && len(d.rest) > 0 {
		d.fail("payload too long")
	}
	return d.err
}
