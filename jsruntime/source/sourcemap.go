package source

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/webtask-edge/caddy-webtask/jsruntime/internal/vlq"
)

// adjustMap fits esbuild's map to what is handed out: sources get the author's
// names; lines generated lines were put in front; and shift characters that
// were put in front of the first line of the first source are taken off its
// columns again.
func adjustMap(raw []byte, lines, shift int) (*SourceMap, error) {
	m := &SourceMap{}
	if err := json.Unmarshal(raw, m); err != nil {
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
	if m.Mappings != "" {
		m.Mappings = strings.Repeat(";", lines) + m.Mappings
	}
	return m, nil
}

// shiftFirstLine subtracts shift from the original columns of the first line
// of source 0. Every field of a segment is relative to the segment before it,
// so all are decoded and written anew.
func shiftFirstLine(mappings string, shift int) (string, error) {
	out := make([]byte, 0, len(mappings))
	var in, last [5]int // running values: generated column, source, line, column, name
	for i := 0; i < len(mappings); {
		switch mappings[i] {
		case ';':
			in[0], last[0] = 0, 0
			fallthrough
		case ',':
			out = append(out, mappings[i])
			i++
			continue
		}
		fields := 0
		for ; i < len(mappings) && mappings[i] != ';' && mappings[i] != ','; fields++ {
			value, n := vlq.Decode(mappings[i:])
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
			out = vlq.Append(out, now[f]-last[f])
			last[f] = now[f]
		}
	}
	return string(out), nil
}
