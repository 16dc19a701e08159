package jsruntime

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/dop251/goja/file"
	"github.com/go-sourcemap/sourcemap"

	"github.com/webtask-edge/caddy-webtask/jsruntime/internal/vlq"
)

// sourceFiles knows the author's files behind the code that runs.
type sourceFiles struct {
	entry    string
	code     string              // of the entry, when there is no map
	consumer *sourcemap.Consumer // nil: code is the author's
	table    map[string]json.RawMessage
	names    map[string]string // source name in the map, by name as errors show it
}

func newSourceFiles(script Script) (*sourceFiles, error) {
	sources := &sourceFiles{entry: script.Name}
	if len(script.Map) == 0 {
		sources.code = script.Code
		return sources, nil
	}
	var listed []string
	if err := json.Unmarshal(script.Map, &sources.table); err != nil {
		return nil, fmt.Errorf("reading the source map of %s: %w", script.Name, err)
	}
	if err := json.Unmarshal(sources.table["sources"], &listed); err != nil {
		return nil, fmt.Errorf("reading the sources of the source map of %s: %w", script.Name, err)
	}
	sources.names = make(map[string]string, len(listed))
	for _, source := range listed {
		shown := source
		if resolved := file.ResolveSourcemapURL(script.Name, source); resolved != nil {
			shown = resolved.String()
		}
		sources.names[shown] = source
	}
	return sources, sources.load(0)
}

// shiftLine accounts for a line that was put in front of the code.
func (s *sourceFiles) shiftLine() error { return s.load(1) }

// load makes the consumer. Goja counts columns from 1 and source maps from 0,
// on both sides, and goja hands them over as they are; so the map is moved
// to columns from 1, and down by as many lines as stand before the code.
func (s *sourceFiles) load(lines int) error {
	var mappings string
	if err := json.Unmarshal(s.table["mappings"], &mappings); err != nil {
		return fmt.Errorf("reading the mappings of the source map of %s: %w", s.entry, err)
	}
	moved, err := columnsFromOne(mappings)
	if err != nil {
		return fmt.Errorf("reading the mappings of the source map of %s: %w", s.entry, err)
	}
	table := make(map[string]any, len(s.table))
	for field, value := range s.table {
		table[field] = value
	}
	table["mappings"] = strings.Repeat(";", lines) + moved
	raw, err := json.Marshal(table)
	if err != nil {
		return fmt.Errorf("moving the source map of %s: %w", s.entry, err)
	}
	s.consumer, err = sourcemap.Parse("", raw)
	if err != nil {
		return fmt.Errorf("reading the source map of %s: %w", s.entry, err)
	}
	return nil
}

// original maps a position of the code that runs to the author's.
func (s *sourceFiles) original(at file.Position) file.Position {
	if s.consumer == nil {
		return at
	}
	source, _, line, column, ok := s.consumer.Source(at.Line, at.Column)
	if !ok {
		return at
	}
	if resolved := file.ResolveSourcemapURL(s.entry, source); resolved != nil {
		source = resolved.String()
	}
	return file.Position{Filename: source, Line: line, Column: column}
}

// text returns the content of one of the author's files, as errors name it.
func (s *sourceFiles) text(name string) string {
	if s.consumer == nil {
		if name == s.entry {
			return s.code
		}
		return ""
	}
	return s.consumer.SourceContent(s.names[name])
}

// columnsFromOne rewrites the mappings of a source map (ECMA-426: lines apart
// by semicolons, segments by commas, Base64 VLQ fields relative to the segment
// before) so that generated and original columns count from 1. Generated
// columns start anew on each line, original ones never do.
func columnsFromOne(mappings string) (string, error) {
	lines := strings.Split(mappings, ";")
	originals := false
	for i, line := range lines {
		if line == "" {
			continue
		}
		segments := strings.Split(line, ",")
		for k, segment := range segments {
			if k > 0 && originals {
				break
			}
			fields, err := decodeSegment(segment)
			if err != nil {
				return "", err
			}
			if k == 0 {
				fields[0]++
			}
			if len(fields) >= 4 && !originals {
				fields[3]++
				originals = true
			}
			segments[k] = encodeSegment(fields)
		}
		lines[i] = strings.Join(segments, ",")
	}
	return strings.Join(lines, ";"), nil
}

var errVLQ = errors.New("not Base64 VLQ")

func decodeSegment(segment string) (fields []int, err error) {
	for at := 0; at < len(segment); {
		field, n := vlq.Decode(segment[at:])
		if n == 0 {
			return nil, errVLQ
		}
		fields = append(fields, field)
		at += n
	}
	if len(fields) == 0 {
		return nil, errVLQ
	}
	return fields, nil
}

func encodeSegment(fields []int) string {
	var text []byte
	for _, field := range fields {
		text = vlq.Append(text, field)
	}
	return string(text)
}
