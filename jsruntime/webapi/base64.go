package webapi

import (
	"encoding/base64"
	"strings"

	"github.com/dop251/goja"
)

// btoa is HTML §8.3: the argument's code units are bytes.
func btoa(r *realm, call goja.FunctionCall) goja.Value {
	text := r.toString(r.argument(call, 0, "btoa"))
	data := make([]byte, 0, len(text))
	for _, c := range text {
		if c > 0xff {
			panic(r.newDOMException("InvalidCharacterError", "btoa: the string contains a character outside of ISO-8859-1; encode it with TextEncoder first"))
		}
		data = append(data, byte(c))
	}
	return r.rt.ToValue(base64.StdEncoding.EncodeToString(data))
}

// atob is HTML §8.3 with the forgiving-base64 decode of Infra §7.
func atob(r *realm, call goja.FunctionCall) goja.Value {
	text := strings.Map(func(c rune) rune {
		switch c {
		case '\t', '\n', '\f', '\r', ' ':
			return -1
		}
		return c
	}, r.toString(r.argument(call, 0, "atob")))
	if len(text)%4 == 0 {
		text = strings.TrimSuffix(strings.TrimSuffix(text, "="), "=")
	}
	// Not strict: the unused bits of the last character may be anything.
	data, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		panic(r.newDOMException("InvalidCharacterError", "atob: the string is not correctly encoded base64"))
	}
	return r.rt.ToValue(isomorphicDecode(string(data)))
}
