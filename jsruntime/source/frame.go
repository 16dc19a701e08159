package source

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

const (
	frameBefore = 2   // lines shown before the one with the error
	frameAfter  = 1   // and after
	frameWidth  = 120 // characters of a line; minified code is cut around the place
)

// codeFrame shows the lines around a place, with a caret below it. Line and
// column are 1-based, the column in characters.
func codeFrame(code string, line, column int) string {
	if line < 1 {
		return ""
	}
	var b strings.Builder
	n := 0
	for text := range strings.Lines(code) {
		n++
		if n < line-frameBefore {
			continue
		}
		if n > line+frameAfter {
			break
		}
		cut := 0
		if column > frameWidth*2/3 {
			cut = column - frameWidth/2
		}
		mark := " "
		if n == line {
			mark = ">"
		}
		fmt.Fprintf(&b, "%s %4d | %s\n", mark, n, window(strings.TrimRight(text, "\r\n"), cut))
		if n == line {
			fmt.Fprintf(&b, "       | %s^\n", strings.Repeat(" ", max(column-1-cut, 0)))
		}
	}
	return b.String()
}

// window returns up to frameWidth characters of a line after the first cut
// ones, free of tabs and control characters, which would move the caret or
// the reader's terminal.
func window(text string, cut int) string {
	var b strings.Builder
	i := 0
	for _, r := range text {
		if i >= cut+frameWidth {
			break
		}
		if i >= cut {
			if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) {
				r = ' '
			}
			b.WriteRune(r)
		}
		i++
	}
	return b.String()
}

// column turns a 0-based byte offset in a line into a 1-based column in
// characters.
func column(lineText string, offset int) int {
	return 1 + utf8.RuneCountInString(lineText[:min(max(offset, 0), len(lineText))])
}
