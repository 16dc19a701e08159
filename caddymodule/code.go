package caddymodule

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/webtask-edge/caddy-webtask/jsruntime/source"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

// Code says where the code of a route is. Exactly one field is set. It is
// never put through a replacer: what the author wrote is what runs.
type Code struct {
	// The path of a file, JavaScript or TypeScript. In the Caddyfile a
	// relative path is relative to the Caddyfile's folder; in JSON, to the
	// working directory of the server. A changed file is used without a
	// reload; one that does not compile leaves the last good version in use.
	File string `json:"file,omitempty"`

	// An http or https URL, under the rules of `code_allow`.
	URL string `json:"url,omitempty"`

	// The code itself.
	Inline string `json:"inline,omitempty"`
}

// inlineStart is how one-line code begins that is no path.
var inlineStart = regexp.MustCompile(`^\s*(\(|async\b|function\b|module\.exports\b|exports\.|export\b|return\b|import\b|"use |'use |//|/\*)`)

// parseCode tells a URL, code and a path apart: what begins with http:// or
// https:// is a URL; what has a line break or an arrow (=>), or begins like a
// function or an export, is code; anything else is a path.
func parseCode(d *caddyfile.Dispenser) (*Code, error) {
	line := d.Line()
	text, err := oneArg(d)
	if err != nil {
		return nil, err
	}
	switch {
	case strings.HasPrefix(text, "https://"), strings.HasPrefix(text, "http://"):
		return &Code{URL: text}, nil
	case strings.Contains(text, "\n"), strings.Contains(text, "=>"), inlineStart.MatchString(text):
		if err := checkMangled(d.File(), line, text); err != nil {
			return nil, d.WrapErr(err)
		}
		return &Code{Inline: text}, nil
	}
	path, err := filePath(d, text)
	if err != nil {
		return nil, err
	}
	return &Code{File: path}, nil
}

// errMangled refuses code that is not what its author wrote.
var errMangled = errors.New("code: the Caddyfile's own placeholders ({path}, {$NAME}, {args[0]} …) have changed this code before it could be read; " +
	"move it to a file and name the file here, or put a space after the opening brace")

// shorthand is what Caddy writes where code has {path}, {query.x} or the like:
// it expands these shorthands in every token of a site, heredocs included.
var shorthand = regexp.MustCompile(`\{(http\.(request|regexp|vars|reverse_proxy|intercept|error|matchers|handlers|shutting_down)\b|tls_|args\[|blocks?\.)`)

// checkMangled reports inline code that placeholders have changed. What an
// environment placeholder was replaced with cannot be seen in the result, so
// that the code is compared with the file it came from, where there is one.
func checkMangled(file string, line int, code string) error {
	if shorthand.MatchString(code) {
		return errMangled
	}
	if err := source.LooksMangled(code); err != nil {
		return fmt.Errorf("%w (%w)", errMangled, err)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil // adapted from memory: nothing to compare with
	}
	lines := strings.Split(string(raw), "\n")
	if line < 1 || line > len(lines) || !strings.HasPrefix(strings.TrimSpace(lines[line-1]), "code") {
		return nil // not the file that this was read from
	}
	rest := strings.Join(lines[line-1:], "\n")
	for written := range strings.Lines(code) {
		written = strings.TrimSpace(written)
		escaped := strings.ReplaceAll(written, `"`, `\"`) // as in a quoted token
		if !strings.Contains(rest, written) && !strings.Contains(rest, escaped) {
			return errMangled
		}
	}
	return nil
}

// ref returns the code as the edge names it.
func (c *Code) ref() (webtask.CodeRef, error) {
	set := slices.DeleteFunc([]string{c.File, c.URL, c.Inline}, func(s string) bool { return s == "" })
	if len(set) != 1 {
		return webtask.CodeRef{}, errors.New("code: set exactly one of file, url and inline")
	}
	switch {
	case c.Inline != "":
		return webtask.CodeRef{Kind: webtask.CodeInline, Value: c.Inline}, nil
	case c.URL != "":
		u, err := url.Parse(c.URL)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.User != nil || u.Fragment != "" {
			return webtask.CodeRef{}, errors.New("code: the URL must be an absolute http or https one, without user and fragment")
		}
		return webtask.CodeRef{Kind: webtask.CodeURL, Value: c.URL}, nil
	}
	path, err := filepath.Abs(c.File)
	if err != nil {
		return webtask.CodeRef{}, fmt.Errorf("code: %w", err)
	}
	return webtask.CodeRef{Kind: webtask.CodeFile, Value: path}, nil
}

// checkFile reports a file that is not there.
func (c *Code) checkFile() error {
	if c.File == "" {
		return nil
	}
	info, err := os.Stat(c.File)
	if err != nil {
		return fmt.Errorf("code: the file cannot be read: %w; name one that is there (in a Caddyfile, a relative path is relative to its folder)", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("code: %s is not a file; name the file that has the handler", c.File)
	}
	return nil
}
