// Package docs runs every fenced block of README.md, docs/ and the examples'
// READMEs, so that none of them is wrong. The info string of a block says what
// it is:
//
//	caddyfile         a whole Caddyfile: adapted and validated
//	caddyfile site    the inside of a site block
//	caddyfile global  the inside of the global `webtask` block
//	caddyfile serve   a whole Caddyfile: the page's server runs it from here on
//	js NAME, ts NAME  a file that the page's server finds beside its Caddyfile
//	js, ts            a task of its own: run once by `caddy webtask run`
//	sh                commands, run in order; each must succeed
//	sh server         a command that goes on running until the page ends
//	sh make           targets of the Makefile, which the tests themselves call
//	output            what the block before printed; … stands for anything
//	json, text        for reading; json must parse
//
// Ports are moved to free ones, in blocks as in the environment.
package docs

import (
	"fmt"
	"strings"
)

// block is one fenced block of a page.
type block struct {
	line int
	lang string
	arg  string // the rest of the info string
	text string
}

// parse returns the fenced blocks of a Markdown page (CommonMark 0.31, §4.5:
// backtick fences, without nesting).
func parse(markdown string) ([]block, error) {
	var blocks []block
	var open *block
	var fence string
	for i, line := range strings.Split(markdown, "\n") {
		trimmed := strings.TrimLeft(line, " ")
		if open == nil {
			if ticks := len(trimmed) - len(strings.TrimLeft(trimmed, "`")); ticks >= 3 {
				fence = trimmed[:ticks]
				lang, arg, _ := strings.Cut(strings.TrimSpace(trimmed[ticks:]), " ")
				open = &block{line: i + 1, lang: lang, arg: arg}
			}
			continue
		}
		if trimmed == fence {
			blocks = append(blocks, *open)
			open = nil
			continue
		}
		open.text += line + "\n"
	}
	if open != nil {
		return nil, fmt.Errorf("line %d: the block is never closed", open.line)
	}
	return blocks, nil
}

// whole wraps a part of a Caddyfile into a whole one.
func (b block) whole() (string, error) {
	switch b.arg {
	case "", "serve":
		return b.text, nil
	case "site":
		return "{\n\twebtask {\n\t\tisolation none\n\t}\n}\n\nhttp://localhost:8080 {\n" + b.text + "}\n", nil
	case "global":
		return "{\n\twebtask {\n\t\tisolation none\n" + b.text + "\t}\n}\n\nhttp://localhost:8080 {\n\twebtask /run\n}\n", nil
	}
	return "", fmt.Errorf("line %d: a caddyfile block is none of `site`, `global` and `serve`, but %q", b.line, b.arg)
}

// matches compares an output block with what was printed, line by line, where
// … stands for any text of one line.
func matches(want, got string) error {
	wants, gots := strings.Split(strings.TrimSpace(want), "\n"), strings.Split(strings.TrimSpace(got), "\n")
	if len(wants) != len(gots) {
		return fmt.Errorf("printed %d lines, the page shows %d:\n%s", len(gots), len(wants), got)
	}
	for i := range wants {
		if !matchLine(strings.Split(wants[i], "…"), gots[i]) {
			return fmt.Errorf("printed %q, the page shows %q", gots[i], wants[i])
		}
	}
	return nil
}

// matchLine reports whether line consists of the parts in order with anything
// between them.
func matchLine(parts []string, line string) bool {
	rest, ok := strings.CutPrefix(line, parts[0])
	if !ok {
		return false
	}
	if len(parts) == 1 {
		return rest == ""
	}
	for _, part := range parts[1 : len(parts)-1] {
		at := strings.Index(rest, part)
		if at < 0 {
			return false
		}
		rest = rest[at+len(part):]
	}
	return strings.HasSuffix(rest, parts[len(parts)-1])
}
