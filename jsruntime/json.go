package jsruntime

import (
	"slices"

	"github.com/dop251/goja"
)

// JSONText is a value as JSON text, in ScriptError.Details.
type JSONText string

// MarshalJSON implements json.Marshaler.
func (t JSONText) MarshalJSON() ([]byte, error) { return []byte(t), nil }

// maxJSONDepth bounds the nesting of JSON that is parsed: goja's parser
// recurses, and a deep enough text would end the process.
const maxJSONDepth = 2000

// ParseJSON is JSON.parse, out of reach of scripts, with a bound on nesting
// (goja's own recursion has none). It throws a SyntaxError, or a RangeError for
// text that is nested too deeply.
func (iso *Isolate) ParseJSON(text string) goja.Value {
	if !shallow(text) {
		panic(iso.NewRangeError("JSON is nested more than %d levels deep", maxJSONDepth))
	}
	v, err := iso.natives.parse(goja.Undefined(), iso.runtime.ToValue(text))
	if err != nil {
		panic(err)
	}
	return v
}

// shallow reports whether JSON text stays within maxJSONDepth. Malformed text
// is left to the parser, which stops where it is malformed.
func shallow(text string) bool {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			if depth++; depth > maxJSONDepth {
				return false
			}
		case c == ']' || c == '}':
			depth--
		}
	}
	return true
}

// StringifyJSON is JSON.stringify, out of reach of scripts; ok is false for
// what has no JSON form: undefined, functions and symbols. It throws what
// toJSON and getters throw, and a TypeError for cycles and BigInts.
func (iso *Isolate) StringifyJSON(v goja.Value) (text string, ok bool) {
	return iso.stringify(v)
}

// stringify calls JSON.stringify with value and, perhaps, replacer.
func (iso *Isolate) stringify(args ...goja.Value) (text string, ok bool) {
	result, err := iso.natives.stringify(goja.Undefined(), args...)
	if err != nil {
		panic(err)
	}
	if goja.IsUndefined(result) {
		return "", false
	}
	return result.String(), true
}

// marshal is StringifyJSON for results, with fewer copies of the text.
func (iso *Isolate) marshal(v goja.Value) (text []byte, ok bool) {
	if object, isObject := v.(*goja.Object); isObject {
		if _, isFunction := goja.AssertFunction(object); isFunction {
			return nil, false
		}
		text, err := object.MarshalJSON()
		if err != nil {
			panic(err)
		}
		return text, true
	}
	if plain, isString := v.(goja.String); isString {
		if text := plain.String(); needsNoEscape(text) {
			return slices.Concat([]byte{'"'}, []byte(text), []byte{'"'}), true
		}
	}
	quoted, ok := iso.StringifyJSON(v)
	return []byte(quoted), ok
}

// needsNoEscape reports whether text is ASCII that JSON takes as it is.
func needsNoEscape(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
