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
	text, err := oneArg(d)
	if err != nil {
		return nil, err
	}
	switch {
	case strings.HasPrefix(text, "https://"), strings.HasPrefix(text, "http://"):
		return &Code{URL: text}, nil
	case strings.Contains(text, "\n"), strings.Contains(text, "=>"), inlineStart.MatchString(text):
		if err := checkMangled(d.Token()); err != nil {
			return nil, d.WrapErr(err)
		}
		return &Code{Inline: text}, nil
	}
	path, err := FilePath(d, text)
	if err != nil {
		return nil, err
	}
	return &Code{File: path}, nil
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
