package webapi

import (
	"math"
	"strings"
	"unicode/utf8"

	"github.com/dop251/goja"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
)

// toString converts v to a USVString: a string without lone surrogates.
func (r *realm) toString(v goja.Value) string {
	if v == nil {
		return "undefined"
	}
	if _, ok := v.(*goja.Symbol); ok {
		panic(r.rt.NewTypeError("Cannot convert a Symbol value to a string"))
	}
	return v.String()
}

// argument returns argument i, which the operation requires.
func (r *realm) argument(call goja.FunctionCall, i int, operation string) goja.Value {
	if i >= len(call.Arguments) {
		panic(r.rt.NewTypeError("%s: %d argument(s) required, but only %d present", operation, i+1, len(call.Arguments)))
	}
	return call.Arguments[i]
}

// toByteString converts v to a ByteString, each byte one code unit, or throws a
// TypeError for a code unit above 255.
func (r *realm) toByteString(v goja.Value, what string) string {
	s := r.toString(v)
	if isASCII(s) {
		return s
	}
	encoded := make([]byte, 0, len(s))
	for _, c := range s {
		if c > 0xff {
			panic(r.rt.NewTypeError("%s: character %q cannot be sent; only ISO-8859-1 can", what, c))
		}
		encoded = append(encoded, byte(c))
	}
	return string(encoded)
}

// byteString returns bytes that came over the wire as a string of one code unit
// per byte.
func (r *realm) byteString(s string) goja.Value { return r.rt.ToValue(isomorphicDecode(s)) }

func isomorphicDecode(s string) string {
	if isASCII(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 8)
	for i := range len(s) {
		b.WriteRune(rune(s[i]))
	}
	return b.String()
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// toObject returns v as an object, or nil when it is none.
func toObject(v goja.Value) *goja.Object {
	o, _ := v.(*goja.Object)
	return o
}

// dictionary converts an argument to a Web IDL dictionary: nil for undefined
// and null, and a TypeError for a primitive.
func (r *realm) dictionary(v goja.Value, what string) *goja.Object {
	if isNullish(v) {
		return nil
	}
	o := toObject(v)
	if o == nil {
		panic(r.rt.NewTypeError("%s is not an object", what))
	}
	return o
}

// member returns a member of a dictionary; ok is false when it is absent.
func member(dictionary *goja.Object, name string) (v goja.Value, ok bool) {
	if dictionary == nil {
		return nil, false
	}
	v = dictionary.Get(name)
	return v, v != nil && !goja.IsUndefined(v)
}

// boolMember returns a boolean member of a dictionary, false when it is absent.
func boolMember(dictionary *goja.Object, name string) bool {
	v, ok := member(dictionary, name)
	return ok && v.ToBoolean()
}

// toInteger converts v to a Web IDL integer of the given bounds with
// [EnforceRange]: a TypeError for what is outside.
func (r *realm) toInteger(v goja.Value, least, most float64, what string) int64 {
	f := math.Trunc(r.toNumber(v))
	if math.IsNaN(f) || f < least || f > most {
		panic(r.rt.NewTypeError("%s must be between %.0f and %.0f, not %s", what, least, most, r.toString(v)))
	}
	return int64(f)
}

// toUint16 converts v to a Web IDL unsigned short, modulo 2^16.
func (r *realm) toUint16(v goja.Value) int {
	f := r.toNumber(v)
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return 0
	}
	return int(uint16(int64(math.Mod(math.Trunc(f), 1<<16))))
}

// toInt32 converts v to a Web IDL long, modulo 2^32.
func (r *realm) toInt32(v goja.Value) int32 {
	f := r.toNumber(v)
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return 0
	}
	return int32(uint32(int64(math.Mod(math.Trunc(f), 1<<32))))
}

func (r *realm) toNumber(v goja.Value) float64 {
	if v == nil {
		return math.NaN()
	}
	if _, ok := v.(*goja.Symbol); ok {
		panic(r.rt.NewTypeError("Cannot convert a Symbol value to a number"))
	}
	return v.ToNumber().ToFloat()
}

// bufferSource returns the bytes of an ArrayBuffer or a view of one, without
// copying them, or throws a TypeError when the buffer is detached; ok is false
// for any other value.
func (r *realm) bufferSource(v goja.Value) (data []byte, ok bool) {
	o := toObject(v)
	if o == nil || !r.isBufferSource(o) {
		return nil, false
	}
	data, attached := jsruntime.BufferBytes(r.rt, o)
	if !attached {
		panic(r.rt.NewTypeError("the ArrayBuffer is detached: its content was transferred"))
	}
	return data, true
}

func (r *realm) isBufferSource(o *goja.Object) bool {
	return isArrayBuffer(o) || isTypedArray(o) || r.isDataView(o)
}

func isArrayBuffer(o *goja.Object) bool {
	return o.ExportType() == arrayBufferType
}

func isTypedArray(o *goja.Object) bool {
	_, ok := typedArrayNames[o.ExportType()]
	return ok
}

func (r *realm) isDataView(o *goja.Object) bool {
	// A DataView has no Go type of its own: goja treats it as an object.
	return o.ExportType() == objectType && r.rt.InstanceOf(o, r.intrinsic("DataView")) && ownsBuffer(r, o)
}

// ownsBuffer tells a DataView from an object that merely inherits from one:
// the accessor throws for the latter. Others throw for a detached buffer too.
func ownsBuffer(r *realm, o *goja.Object) bool {
	return r.rt.Try(func() { o.Get("buffer") }) == nil
}

// sequence calls f for each item of an iterable.
func (r *realm) sequence(v goja.Value, f func(item goja.Value)) {
	r.rt.ForOf(v, func(item goja.Value) bool {
		f(item)
		return true
	})
}

// pairs calls f for each pair of a sequence of pairs or of a record: what
// Headers and URLSearchParams take.
func (r *realm) pairs(o *goja.Object, what string, f func(name, value goja.Value)) {
	if iterator := o.GetSymbol(goja.SymIterator); isNullish(iterator) {
		for _, name := range o.Keys() {
			f(r.rt.ToValue(name), o.Get(name))
		}
		return
	}
	r.sequence(o, func(item goja.Value) {
		if toObject(item) == nil {
			panic(r.rt.NewTypeError("%s: each item must be a pair of name and value", what))
		}
		pair := make([]goja.Value, 0, 2)
		r.sequence(item, func(part goja.Value) { pair = append(pair, part) })
		if len(pair) != 2 {
			panic(r.rt.NewTypeError("%s: each item must be a pair of name and value, not %d value(s)", what, len(pair)))
		}
		f(pair[0], pair[1])
	})
}
