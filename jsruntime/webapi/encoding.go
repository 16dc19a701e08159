package webapi

import (
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/dop251/goja"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/transform"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
)

// textEncoder is the state of a TextEncoder (Encoding §7.2): it has none.
type textEncoder struct{ slot }

func textEncoderClass() *classDef {
	return &classDef{
		name:      "TextEncoder",
		construct: func(r *realm, call goja.ConstructorCall) { r.attach(call.This, &textEncoder{}) },
		methods: []method{
			{"encode", 0, on(func(r *realm, _ *textEncoder, call goja.FunctionCall) goja.Value {
				if v := call.Argument(0); !goja.IsUndefined(v) {
					return r.newBytes([]byte(r.toString(v)))
				}
				return r.newBytes(nil)
			})},
			{"encodeInto", 2, on(encodeInto)},
		},
		accessors: []accessor{
			{"encoding", get(func(r *realm, _ *textEncoder) goja.Value { return r.rt.ToValue("utf-8") }), nil},
		},
	}
}

func encodeInto(r *realm, _ *textEncoder, call goja.FunctionCall) goja.Value {
	source := r.toString(r.argument(call, 0, "TextEncoder.encodeInto"))
	target := toObject(r.argument(call, 1, "TextEncoder.encodeInto"))
	if target == nil || typedArrayNames[target.ExportType()] != "Uint8Array" {
		panic(r.rt.NewTypeError("TextEncoder.encodeInto: the second argument must be a Uint8Array"))
	}
	dst, _ := jsruntime.BufferBytes(r.rt, target) // nothing fits into a detached one
	read, written := 0, 0
	for _, c := range source {
		n := utf8.RuneLen(c)
		if written+n > len(dst) {
			break
		}
		written += utf8.EncodeRune(dst[written:], c)
		read += utf16.RuneLen(c)
	}
	result := r.rt.NewObject()
	r.must(result.Set("read", read))
	r.must(result.Set("written", written))
	return result
}

// textDecoder is the state of a TextDecoder (Encoding §7.1).
type textDecoder struct {
	slot
	name             string
	fatal, ignoreBOM bool

	decode  func(data []byte, last bool) (text string, rest []byte, valid bool)
	pending []byte // an incomplete sequence of a streamed input
	started bool   // the place of a byte order mark is behind
}

func textDecoderClass() *classDef {
	return &classDef{
		name: "TextDecoder",
		construct: func(r *realm, call goja.ConstructorCall) {
			label := "utf-8"
			if v := call.Argument(0); !goja.IsUndefined(v) {
				label = r.toString(v)
			}
			d := &textDecoder{}
			if !d.choose(label) {
				panic(r.iso.NewRangeError("TextDecoder: %q is not an encoding", label))
			}
			options := r.dictionary(call.Argument(1), "TextDecoder: options")
			d.fatal = boolMember(options, "fatal")
			d.ignoreBOM = boolMember(options, "ignoreBOM")
			r.attach(call.This, d)
		},
		methods: []method{{"decode", 0, on(decodeText)}},
		accessors: []accessor{
			{"encoding", get(func(r *realm, d *textDecoder) goja.Value { return r.rt.ToValue(d.name) }), nil},
			{"fatal", get(func(r *realm, d *textDecoder) goja.Value { return r.rt.ToValue(d.fatal) }), nil},
			{"ignoreBOM", get(func(r *realm, d *textDecoder) goja.Value { return r.rt.ToValue(d.ignoreBOM) }), nil},
		},
	}
}

// choose sets the encoding by one of its labels (Encoding §4.2).
func (d *textDecoder) choose(label string) bool {
	label = strings.Trim(label, "\t\n\f\r ")
	if !isASCII(label) || strings.Contains(label, "\v") { // which htmlindex trims
		return false
	}
	e, err := htmlindex.Get(label)
	if err != nil {
		return false
	}
	name, err := htmlindex.Name(e)
	if err != nil || name == "replacement" {
		return false
	}
	d.name = name
	switch name {
	case "utf-8":
		d.decode = decodeUTF8Part
	case "utf-16le":
		d.decode = func(data []byte, last bool) (string, []byte, bool) { return decodeUTF16Part(data, last, 0) }
	case "utf-16be":
		d.decode = func(data []byte, last bool) (string, []byte, bool) { return decodeUTF16Part(data, last, 1) }
	default:
		if strings.HasPrefix(name, "iso-8859-") || strings.HasPrefix(name, "windows-") {
			d.decode = singleByteDecoder(e)
		} else {
			d.decode = legacyDecoder(e)
		}
	}
	return true
}

func decodeText(r *realm, d *textDecoder, call goja.FunctionCall) goja.Value {
	var input []byte
	if v := call.Argument(0); !goja.IsUndefined(v) {
		var ok bool
		if input, ok = r.bufferSource(v); !ok {
			panic(r.rt.NewTypeError("TextDecoder.decode: the argument must be an ArrayBuffer or a view of one"))
		}
	}
	last := !boolMember(r.dictionary(call.Argument(1), "TextDecoder.decode: options"), "stream")
	if len(d.pending) > 0 {
		input = append(d.pending, input...)
		d.pending = nil
	}
	text, rest, valid := d.decode(input, last)
	if d.fatal && !valid {
		d.started = false
		panic(r.invalidEncoding(d.name))
	}
	if !d.started && text != "" {
		d.started = true
		if !d.ignoreBOM && (d.name == "utf-8" || d.name == "utf-16le" || d.name == "utf-16be") {
			text = strings.TrimPrefix(text, "\ufeff")
		}
	}
	if last {
		d.started = false
	} else if len(rest) > 0 {
		d.pending = append([]byte(nil), rest...)
	}
	return r.rt.ToValue(text)
}

func (r *realm) invalidEncoding(name string) *goja.Object {
	e := r.rt.NewTypeError("The encoded data was not valid %s", name)
	r.must(e.Set("code", "ERR_ENCODING_INVALID_ENCODED_DATA"))
	return e
}

// decodeUTF8 replaces what is not UTF-8 by U+FFFD, one for each maximal part of
// a sequence as the Encoding Standard says; Go replaces each byte.
func decodeUTF8(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	text, _, _ := decodeUTF8Part([]byte(s), true)
	return text
}

func decodeUTF8Part(data []byte, last bool) (text string, rest []byte, valid bool) {
	if utf8.Valid(data) {
		return string(data), nil, true
	}
	valid = true
	var b strings.Builder
	b.Grow(len(data))
	for i := 0; i < len(data); {
		c, n := utf8.DecodeRune(data[i:])
		if c != utf8.RuneError || n > 1 {
			b.WriteRune(c)
			i += n
			continue
		}
		n = maximalPart(data[i:])
		if i+n == len(data) && !last && !utf8.FullRune(data[i:]) {
			return b.String(), data[i:], valid
		}
		valid = false
		b.WriteRune(utf8.RuneError)
		i += n
	}
	return b.String(), nil, valid
}

// maximalPart returns the length of the longest start of data that could have
// started a character, at least 1.
func maximalPart(data []byte) int {
	n := 1
	for n < len(data) && n < utf8.UTFMax && !utf8.FullRune(data[:n]) {
		n++
	}
	if utf8.FullRune(data[:n]) && n > 1 {
		return n - 1 // the last byte is what made it invalid
	}
	return n
}

// decodeUTF16Part decodes UTF-16; high is the index of the high byte of a unit.
func decodeUTF16Part(data []byte, last bool, high int) (text string, rest []byte, valid bool) {
	valid = true
	var b strings.Builder
	b.Grow(len(data))
	unit := func(i int) rune { return rune(data[i+1-high])<<8 | rune(data[i+high]) }
	for i := 0; i < len(data); i += 2 {
		incomplete := i+1 == len(data)
		var c rune
		if !incomplete {
			c = unit(i)
			lead := c >= 0xd800 && c < 0xdc00
			incomplete = lead && i+3 >= len(data)
			if lead && !incomplete {
				if pair := utf16.DecodeRune(c, unit(i+2)); pair != utf8.RuneError {
					b.WriteRune(pair)
					i += 2
					continue
				}
			}
		}
		switch {
		case incomplete && !last:
			return b.String(), data[i:], valid
		case incomplete:
			b.WriteRune(utf8.RuneError)
			return b.String(), nil, false
		case utf16.IsSurrogate(c):
			b.WriteRune(utf8.RuneError)
			valid = false
		default:
			b.WriteRune(c)
		}
	}
	return b.String(), nil, valid
}

// singleByteDecoder decodes one of ISO 8859 or a Windows code page. Of these
// x/text leaves out control characters from 0x80 to 0x9F, which the Encoding
// Standard has.
func singleByteDecoder(e encoding.Encoding) func([]byte, bool) (string, []byte, bool) {
	var table [256]rune
	for i := range table {
		text, _ := e.NewDecoder().Bytes([]byte{byte(i)}) // replaces, never fails
		if table[i], _ = utf8.DecodeRune(text); table[i] == utf8.RuneError && i >= 0x80 && i < 0xa0 {
			table[i] = rune(i)
		}
	}
	return func(data []byte, _ bool) (string, []byte, bool) {
		var b strings.Builder
		b.Grow(len(data))
		valid := true
		for _, c := range data {
			b.WriteRune(table[c])
			valid = valid && table[c] != utf8.RuneError
		}
		return b.String(), nil, valid
	}
}

// legacyDecoder decodes one of the other encodings, keeping shift states
// between calls.
func legacyDecoder(e encoding.Encoding) func([]byte, bool) (string, []byte, bool) {
	decoder := e.NewDecoder()
	return func(data []byte, last bool) (string, []byte, bool) {
		var b strings.Builder
		buffer := make([]byte, 2*len(data)+64)
		for {
			written, read, err := decoder.Transform(buffer, data, last)
			b.Write(buffer[:written])
			data = data[read:]
			if err == transform.ErrShortDst {
				continue
			}
			if last {
				decoder.Reset()
				data = nil
			}
			// None of these encodings has U+FFFD but for an error.
			text := b.String()
			return text, data, !strings.ContainsRune(text, utf8.RuneError)
		}
	}
}
