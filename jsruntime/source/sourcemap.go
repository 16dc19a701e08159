package source

import (
	"encoding/json"
	"fmt"
	"strings"
)

// sourceMap is a source map of version 3 (ECMA-426) without content.
type sourceMap struct {
	Version  int      `json:"version"`
	Sources  []string `json:"sources"`
	Names    []string `json:"names"`
	Mappings string   `json:"mappings"`
}

// adjustMap fits esbuild's map to what is handed out: sources get the author's
// names; lines generated lines were put in front; and shift characters that
// were put in front of the first line of the first source are taken off its
// columns again.
func adjustMap(raw []byte, lines, shift int) ([]byte, error) {
	var m sourceMap
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("source map: %w", err)
	}
	for i, s := range m.Sources {
		m.Sources[i] = strings.TrimPrefix(s, namespace+":")
	}
	if shift != 0 {
		mappings, err := shiftFirstLine(m.Mappings, shift)
		if err != nil {
			return nil, err
		}
		m.Mappings = mappings
	}
	if m.Mappings == "" {
		return nil, nil // an empty file; readers take no map without mappings
	}
	m.Mappings = strings.Repeat(";", lines) + m.Mappings
	return json.Marshal(m)
}

// shiftFirstLine subtracts shift from the original columns of the first line
// of source 0. Every field of a segment is relative to the segment before it,
// so all are decoded and written anew.
func shiftFirstLine(mappings string, shift int) (string, error) {
	var out strings.Builder
	var in, last [5]int // running values: generated column, source, line, column, name
	for i := 0; i < len(mappings); {
		switch mappings[i] {
		case ';':
			in[0], last[0] = 0, 0
			fallthrough
		case ',':
			out.WriteByte(mappings[i])
			i++
			continue
		}
		fields := 0
		for ; i < len(mappings) && mappings[i] != ';' && mappings[i] != ','; fields++ {
			value, n := decodeVLQ(mappings[i:])
			if n == 0 || fields == len(in) {
				return "", fmt.Errorf("source map: malformed segment at %d", i)
			}
			in[fields] += value
			i += n
		}
		now := in
		if fields >= 4 && now[1] == 0 && now[2] == 0 {
			now[3] = max(now[3]-shift, 0)
		}
		for f := range fields {
			appendVLQ(&out, now[f]-last[f])
			last[f] = now[f]
		}
	}
	return out.String(), nil
}

const base64Digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

// decodeVLQ reads one base64 VLQ number; n is 0 when it is malformed.
func decodeVLQ(s string) (value, n int) {
	for shift := 0; n < len(s) && shift < 32; shift += 5 {
		digit := strings.IndexByte(base64Digits, s[n])
		if digit < 0 {
			return 0, 0
		}
		n++
		value |= (digit & 31) << shift
		if digit&32 == 0 {
			if value&1 != 0 {
				return -(value >> 1), n
			}
			return value >> 1, n
		}
	}
	return 0, 0
}

func appendVLQ(b *strings.Builder, value int) {
	u := value << 1
	if value < 0 {
		u = -value<<1 | 1
	}
	for {
		digit := u & 31
		if u >>= 5; u > 0 {
			digit |= 32
		}
		b.WriteByte(base64Digits[digit])
		if u == 0 {
			return
		}
	}
}
