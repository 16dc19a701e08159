package nodeapi

import (
	"encoding/base64"
	"encoding/hex"
	"reflect"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/dop251/goja"
	"golang.org/x/text/encoding/unicode"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
)

// encode is native.encode(text, encoding): an ArrayBuffer. What is not hex or
// base64 ends or is left out, as Node.js does.
func (r *realm) encode(call goja.FunctionCall) goja.Value {
	text := call.Argument(0)
	return r.rt.ToValue(r.rt.NewArrayBuffer(encodeText(text, call.Argument(1).String())))
}

func encodeText(text goja.Value, encoding string) []byte {
	switch encoding {
	case "hex":
		digits := text.String()
		data := make([]byte, len(digits)/2)
		n, _ := hex.Decode(data, []byte(digits[:len(data)*2])) // stops at what is no digit
		return data[:n]
	case "base64", "base64url":
		return decodeBase64(text.String())
	case "latin1":
		units := codeUnits(text)
		data := make([]byte, len(units))
		for i, unit := range units {
			data[i] = byte(unit)
		}
		return data
	case "utf16le":
		units := codeUnits(text)
		data := make([]byte, 0, 2*len(units))
		for _, unit := range units {
			data = append(data, byte(unit), byte(unit>>8))
		}
		return data
	default:
		return []byte(text.String())
	}
}

// decodeBase64 takes both alphabets and skips what belongs to neither.
func decodeBase64(text string) []byte {
	clean := strings.Map(func(c rune) rune {
		switch {
		case c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '+', c == '/':
			return c
		case c == '-':
			return '+'
		case c == '_':
			return '/'
		}
		return -1
	}, strings.SplitN(text, "=", 2)[0])
	if len(clean)%4 == 1 {
		clean = clean[:len(clean)-1] // six bits are no byte
	}
	data, _ := base64.RawStdEncoding.DecodeString(clean) // of the alphabet only
	return data
}

func codeUnits(text goja.Value) []uint16 {
	s, ok := text.(goja.String)
	if !ok {
		return nil
	}
	units := make([]uint16, s.Length())
	for i := range units {
		units[i] = s.CharAt(i)
	}
	return units
}

// decode is native.decode(bytes, encoding).
func (r *realm) decode(call goja.FunctionCall) goja.Value {
	data := r.bytes(call.Argument(0))
	switch call.Argument(1).String() {
	case "hex":
		return r.rt.ToValue(hex.EncodeToString(data))
	case "base64":
		return r.rt.ToValue(base64.StdEncoding.EncodeToString(data))
	case "base64url":
		return r.rt.ToValue(base64.RawURLEncoding.EncodeToString(data))
	case "latin1":
		return r.latin1(string(data))
	case "utf16le":
		units := make([]uint16, len(data)/2)
		for i := range units {
			units[i] = uint16(data[2*i]) | uint16(data[2*i+1])<<8
		}
		return goja.StringFromUTF16(units)
	default:
		return r.rt.ToValue(utf8Text(data))
	}
}

// utf8Text decodes UTF-8 with U+FFFD for what is malformed.
func utf8Text(data []byte) string {
	if utf8.Valid(data) {
		return string(data)
	}
	text, _ := unicode.UTF8.NewDecoder().Bytes(data) // replaces, never fails
	return string(text)
}

// latin1 returns bytes as a string of one code unit each.
func (r *realm) latin1(s string) goja.Value {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			units := make([]uint16, len(s))
			for k := range units {
				units[k] = uint16(s[k])
			}
			return goja.StringFromUTF16(units)
		}
	}
	return r.rt.ToValue(s)
}

// bytes returns those of a Uint8Array or ArrayBuffer, not a copy, or throws a
// TypeError when the buffer is detached.
func (r *realm) bytes(v goja.Value) []byte {
	switch v.ExportType() {
	case bytesType, arrayBufferType:
		data, attached := jsruntime.BufferBytes(r.rt, v.(*goja.Object))
		if !attached {
			panic(r.iso.NewTypeError("the ArrayBuffer is detached: its content was transferred"))
		}
		return data
	}
	return nil
}

var (
	bytesType       = reflect.TypeFor[[]byte]()
	arrayBufferType = reflect.TypeFor[goja.ArrayBuffer]()
)

// decoder decodes text that comes in parts (req.setEncoding). It is a
// goja.Value, so that the script's object can hold it.
type decoder struct {
	goja.Value
	r        *realm
	encoding string
	rest     []byte
}

func (r *realm) newDecoder(call goja.FunctionCall) goja.Value {
	encoding := strings.ToLower(call.Argument(0).String())
	switch encoding {
	case "utf8", "utf-8":
		encoding = "utf8"
	case "ucs2", "ucs-2", "utf16le", "utf-16le":
		encoding = "utf16le"
	case "binary", "latin1", "ascii":
		encoding = "latin1"
	case "hex", "base64", "base64url":
	default:
		e := r.iso.NewTypeError("Unknown encoding: %s", call.Argument(0).String())
		_ = e.Set("code", "ERR_UNKNOWN_ENCODING") // a fresh object takes it
		panic(e)
	}
	return &decoder{Value: goja.Undefined(), r: r, encoding: encoding}
}

// decodePart is native.decodePart(decoder, bytes); bytes is null at the end.
func (r *realm) decodePart(call goja.FunctionCall) goja.Value {
	d, ok := call.Argument(0).(*decoder)
	if !ok {
		panic(r.iso.NewTypeError("Illegal invocation"))
	}
	last := goja.IsNull(call.Argument(1))
	if !last {
		d.rest = append(d.rest, r.bytes(call.Argument(1))...)
	}
	whole := d.whole(last)
	part := r.rt.NewArrayBuffer(d.rest[:whole:whole])
	text := r.decode(goja.FunctionCall{Arguments: []goja.Value{r.rt.ToValue(part), r.rt.ToValue(d.encoding)}})
	d.rest = append([]byte(nil), d.rest[whole:]...)
	return text
}

// whole returns how many bytes end with a whole character.
func (d *decoder) whole(last bool) int {
	n := len(d.rest)
	if last {
		return n
	}
	switch d.encoding {
	case "utf8":
		for i := max(n-utf8.UTFMax+1, 0); i < n; i++ {
			if utf8.RuneStart(d.rest[i]) && !utf8.FullRune(d.rest[i:]) {
				return i
			}
		}
		return n
	case "utf16le":
		n -= n % 2
		if n >= 2 && utf16.IsSurrogate(rune(d.rest[n-1])<<8) && d.rest[n-1] < 0xdc {
			n -= 2
		}
		return n
	case "base64", "base64url":
		return n - n%3
	default:
		return n
	}
}
