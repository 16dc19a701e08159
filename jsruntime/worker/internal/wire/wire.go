// Package wire is what the protocols of worker processes have in common: the
// encoding of payloads, and their sockets.
//
// A payload is a sequence of varints and of byte strings after their length.
// An encoder appends to a slice:
//
//	b = wire.PutString(wire.PutUint(b, 7), "name")
//
// A decoder remembers its first error, so that a message is read in one go and
// checked once:
//
//	d := wire.Decoder{Rest: payload}
//	number, name := d.Uint(), d.String()
//	err := d.End()
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unsafe"
)

// ErrProtocol reports a peer that does not keep to the protocol.
var ErrProtocol = errors.New("protocol violation")

// Violation returns an error that wraps ErrProtocol.
func Violation(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrProtocol, fmt.Sprintf(format, args...))
}

// PutUint appends a number.
func PutUint(b []byte, v uint64) []byte { return binary.AppendUvarint(b, v) }

// PutInt appends a number that may be negative (-1: unknown).
func PutInt(b []byte, v int64) []byte { return binary.AppendVarint(b, v) }

// PutBool appends 1 for true.
func PutBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// PutString appends a text.
func PutString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// PutBytes appends bytes.
func PutBytes(b, p []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(p))), p...)
}

// Decoder reads a payload. Texts and bytes that it returns are parts of the
// payload, which nobody may change any more.
type Decoder struct {
	Rest []byte // not read yet
	Err  error  // the first one
}

// Fail makes what is read from now on empty.
func (d *Decoder) Fail(what string) {
	if d.Err == nil {
		d.Err = Violation("%s", what)
		d.Rest = nil
	}
}

// Uint reads a number.
func (d *Decoder) Uint() uint64 { return d.UintUpTo(math.MaxUint64) }

// UintUpTo reads a number that is not beyond max.
func (d *Decoder) UintUpTo(max uint64) uint64 {
	v, n := binary.Uvarint(d.Rest)
	if n <= 0 || v > max {
		d.Fail("number cut short or out of range")
		return 0
	}
	d.Rest = d.Rest[n:]
	return v
}

// Uint32 reads a number of 32 bits.
func (d *Decoder) Uint32() uint32 { return uint32(d.UintUpTo(math.MaxUint32)) }

// Int reads a number that may be negative.
func (d *Decoder) Int() int64 {
	v, n := binary.Varint(d.Rest)
	if n <= 0 {
		d.Fail("number cut short")
		return 0
	}
	d.Rest = d.Rest[n:]
	return v
}

// Bool reads 0 or 1.
func (d *Decoder) Bool() bool { return d.UintUpTo(1) == 1 }

// Bytes reads bytes.
func (d *Decoder) Bytes() []byte {
	n := d.Uint()
	if n > uint64(len(d.Rest)) {
		d.Fail("text cut short")
		return nil
	}
	p := d.Rest[:n:n]
	d.Rest = d.Rest[n:]
	return p
}

// String reads a text.
func (d *Decoder) String() string {
	p := d.Bytes()
	return unsafe.String(unsafe.SliceData(p), len(p))
}

// Strings reads as many texts as it says, up to max. Each takes a byte at
// least, so that a count alone reserves no memory.
func (d *Decoder) Strings(max uint64) []string {
	n := d.UintUpTo(min(max, uint64(len(d.Rest))))
	list := make([]string, 0, n)
	for range n {
		list = append(list, d.String())
	}
	return list
}

// End returns the first error, or that something was left over.
func (d *Decoder) End() error {
	if d.Err == nil && len(d.Rest) > 0 {
		d.Fail("payload too long")
	}
	return d.Err
}
