package webtask

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"unicode/utf8"

	josejson "github.com/go-jose/go-jose/v4/json"
)

// This file reads JSON strictly: RFC 8259 lets a reader choose among members
// of the same name, and two readers that choose differently see two tokens in
// one. go-jose's fork of encoding/json refuses them and matches names exactly.

// readObject returns the members of the one JSON object that data is. It
// fails on repeated members, on anything after the object, and on bytes that
// are not UTF-8, which a lenient reader would replace.
func readObject(data []byte) (map[string]json.RawMessage, bool) {
	var members map[string]json.RawMessage
	if !utf8.Valid(data) || josejson.Unmarshal(data, &members) != nil || members == nil {
		return nil, false
	}
	return members, true
}

// readString returns the JSON string that raw is.
func readString(raw []byte) (string, bool) {
	var s *string
	if josejson.Unmarshal(raw, &s) != nil || s == nil {
		return "", false
	}
	return *s, true
}

// readStrings returns the JSON array of strings that raw is, never nil.
func readStrings(raw []byte) ([]string, bool) {
	var list []*string
	if josejson.Unmarshal(raw, &list) != nil || list == nil {
		return nil, false
	}
	out := make([]string, len(list))
	for i, s := range list {
		if s == nil {
			return nil, false
		}
		out[i] = *s
	}
	return out, true
}

// readStringMap returns the JSON object of strings that raw is, never nil.
// On failure it names the member that is no string, if that is the reason.
func readStringMap(raw []byte) (m map[string]string, wrong string, ok bool) {
	members, ok := readObject(raw)
	if !ok {
		return nil, "", false
	}
	m = make(map[string]string, len(members))
	for _, name := range sortedKeys(members) {
		value, ok := readString(members[name])
		if !ok {
			return nil, name, false
		}
		m[name] = value
	}
	return m, "", true
}

// scalarText returns the text of a JSON number, or of a JSON string.
func scalarText(raw []byte) (string, bool) {
	raw = bytes.TrimSpace(raw)
	if len(raw) > 0 && (raw[0] == '-' || (raw[0] >= '0' && raw[0] <= '9')) {
		return string(raw), true
	}
	return readString(raw)
}

// marshal is json.Marshal without escaping &, < and >: a token is no HTML,
// and its length counts.
func marshal(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}
