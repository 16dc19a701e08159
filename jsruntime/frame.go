package jsruntime

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/dop251/goja/file"
)

// Of a frame: lines around the one that failed, and how much of a line is
// shown; minified code has lines of any length.
const (
	frameContext = 2
	frameWidth   = 120
)

// frame returns the lines around a position of the author's files, with a mark
// under its column:
//
//	  2 | export default {
//	> 3 |   fetch() { return boom() }
//	    |                    ^
//	  4 | }
//
// It is empty when the file is not known.
func (s *sourceFiles) frame(at file.Position) string {
	text := s.text(at.Filename)
	if text == "" || at.Line < 1 {
		return ""
	}
	lines := strings.Split(text, "\n")
	if at.Line > len(lines) {
		return ""
	}
	first, last := max(1, at.Line-frameContext), min(len(lines), at.Line+frameContext)
	gutter := len(strconv.Itoa(last))
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d:%d\n", at.Filename, at.Line, at.Column)
	for number := first; number <= last; number++ {
		line := []rune(strings.TrimRight(lines[number-1], "\r"))
		// A window around the column, the same for all lines.
		from := max(0, at.Column-frameWidth*2/3)
		var shown []rune
		if from < len(line) {
			shown = line[from:min(len(line), from+frameWidth)]
		}
		marker := ' '
		if number == at.Line {
			marker = '>'
		}
		fmt.Fprintf(&b, "%c %*d | %s\n", marker, gutter, number, string(shown))
		if number == at.Line {
			indent := max(0, min(at.Column-1-from, len(shown)))
			fmt.Fprintf(&b, "  %*s | %s^\n", gutter, "", blank(string(shown[:indent])))
		}
	}
	return b.String()
}

// blank returns white space as wide as text: tabs stay tabs.
func blank(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		return ' '
	}, text)
}

var (
	// framePosition is where a line of a goja stack points to:
	// "at name (file:line:col(pc))".
	framePosition = regexp.MustCompile(`(?m)^\s*at (?:.* \()?(.+):(\d+):(\d+)\(\d+\)\)?$`)
	framePC       = regexp.MustCompile(`(?m)(:\d+:\d+)\(\d+\)(\)?)$`)
)

// locate returns the first position of a goja stack that is in one of the
// author's files.
func (s *sourceFiles) locate(stack string) (file.Position, bool) {
	for _, match := range framePosition.FindAllStringSubmatch(stack, -1) {
		if s.text(match[1]) == "" {
			continue
		}
		line, err1 := strconv.Atoi(match[2])
		column, err2 := strconv.Atoi(match[3])
		if err1 == nil && err2 == nil {
			return file.Position{Filename: match[1], Line: line, Column: column}, true
		}
	}
	return file.Position{}, false
}

// cleanStack takes goja's program counters out of a stack.
func cleanStack(stack string) string { return framePC.ReplaceAllString(stack, "$1$2") }
