package caddymodule

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/webtask-edge/caddy-webtask/jsruntime/source"
)

// errMangled refuses code that is not what its author wrote.
var errMangled = errors.New("code: the Caddyfile's own placeholders ({path}, {$NAME}, {args[0]} …) have changed this code before it could be read; " +
	"move it to a file and name the file here, or put a space after the opening brace")

// shorthand is what Caddy writes where code has {path}, {query.x} or the like:
// it expands these shorthands in every token of a site, heredocs included.
var shorthand = regexp.MustCompile(`\{(http\.(request|regexp|vars|reverse_proxy|intercept|error|matchers|handlers|shutting_down)\b|tls_|args\[|blocks?\.)`)

// checkMangled reports inline code that placeholders have changed. The values
// of an environment or of an import cannot be seen in the result, so that the
// code is compared with the file it came from. What cannot be found there was
// read from elsewhere (the file was edited since, or the Caddyfile was posted),
// and is not refused for it.
func checkMangled(code caddyfile.Token) error {
	if shorthand.MatchString(code.Text) {
		return errMangled
	}
	if err := source.LooksMangled(code.Text); err != nil {
		return fmt.Errorf("%w (%w)", errMangled, err)
	}
	raw, err := os.ReadFile(code.File)
	if err != nil {
		return nil // adapted from memory: nothing to compare with
	}
	file := string(raw)
	at, written, found := findCode(expandEnv(file, 0), code)
	switch {
	case !found:
		return nil
	case written.Text != code.Text:
		if !importChanged(written.Text, code.Text) {
			return nil
		}
		return errMangled
	}
	// The same once more, with a mark after each value from this line on: it is
	// within the code if one of the values is. What stands before keeps its
	// lines, so that the code keeps its place.
	marked, err := caddyfile.Tokenize([]byte(expandEnv(file, code.Line)), code.File)
	if err != nil || at >= len(marked) || marked[at].Text != code.Text {
		return errMangled
	}
	return nil
}

// findCode finds the argument of the option `code` that stands where the token
// does, and its index among all tokens.
func findCode(text string, code caddyfile.Token) (at int, written caddyfile.Token, found bool) {
	tokens, err := caddyfile.Tokenize([]byte(text), code.File)
	if err != nil {
		return 0, written, false
	}
	for i := 1; i < len(tokens); i++ {
		if tokens[i].Line == code.Line && tokens[i-1].Text == "code" {
			return i, tokens[i], true
		}
	}
	return 0, written, false
}

// mark stands after a value of the environment. It is of Unicode's private use,
// and neither ends a token nor begins one in the Caddyfile's syntax.
const mark = "\uf8ff"

// expandEnv replaces {$NAME} and {$NAME:default} as Caddy does before it reads
// a Caddyfile, so that the lines are those of its tokens. From a line of the
// result on, if one is named, a mark follows each value.
func expandEnv(text string, markFrom int) string {
	var b strings.Builder
	line := 1
	write := func(s string) {
		b.WriteString(s)
		line += strings.Count(s, "\n")
	}
	for {
		before, rest, found := strings.Cut(text, "{$")
		name, after, closed := strings.Cut(rest, "}")
		if !found || !closed {
			write(text)
			return b.String()
		}
		text = after
		write(before)
		if name == "" {
			write("{$}")
			continue
		}
		marked := markFrom > 0 && line >= markFrom
		name, value, _ := strings.Cut(name, ":")
		if set, ok := os.LookupEnv(name); ok {
			value = set
		}
		write(value)
		if marked {
			write(mark)
		}
	}
}

var (
	importArgument = regexp.MustCompile(`\{args[[.][^{}]*\}`)
	unescape       = strings.NewReplacer(`\{`, `{`, `\}`, `}`)
)

// importChanged reports whether code is what `import` made of what was written:
// it replaces arguments, and takes the backslash from escaped braces. Code that
// was given whole, as an argument, is as its author wrote it.
func importChanged(written, code string) bool {
	var pattern strings.Builder
	last := 0
	for _, found := range importArgument.FindAllStringIndex(written, -1) {
		pattern.WriteString(regexp.QuoteMeta(unescape.Replace(written[last:found[0]])) + `(?s:.*)`)
		last = found[1]
	}
	if last == len(written) && pattern.String() == `(?s:.*)` {
		return false
	}
	pattern.WriteString(regexp.QuoteMeta(unescape.Replace(written[last:])))
	matches, err := regexp.MatchString(`^`+pattern.String()+`$`, code)
	return err == nil && matches
}
