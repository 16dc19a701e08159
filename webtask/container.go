package webtask

import (
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
)

// containerPattern is what a claim `ten` allows: one container ("acme"),
// several ("acme,beta"), or all that a regular expression matches whole
// ("/^wt-[0-9a-f]{32}-[01]$/", flag i allowed). The zero value allows none.
type containerPattern struct {
	text  string
	names []string
	expr  *regexp.Regexp
}

// maxContainerPattern bounds ten in bytes: it is compiled for every token.
const maxContainerPattern = 512

// parseContainers reads a claim `ten`.
func parseContainers(ten string) (containerPattern, error) {
	p := containerPattern{text: ten}
	if len(ten) > maxContainerPattern {
		return p, claimError("ten", "is longer than 512 bytes", "name fewer containers, or write a regular expression")
	}
	if body, isExpr := strings.CutPrefix(ten, "/"); isExpr {
		expr, err := compileContainers(body)
		p.expr = expr
		return p, err
	}
	p.names = strings.Split(ten, ",")
	for _, name := range p.names {
		if err := checkName(name); err != nil {
			return p, claimError("ten", quote(name)+" "+err.Problem, err.Remedy)
		}
	}
	return p, nil
}

// compileContainers compiles what follows the first slash of /expr/ or /expr/i.
// RE2 matches in time linear in the name and the expression's size, so both are
// bounded.
func compileContainers(text string) (*regexp.Regexp, error) {
	end := strings.LastIndexByte(text, '/')
	if end < 1 || (text[end:] != "/" && text[end:] != "/i") {
		return nil, claimError("ten", "starts like a regular expression but does not end like one", "write /^name$/")
	}
	body := text[:end]
	parsed, err := syntax.Parse(body, syntax.Perl)
	if err != nil {
		return nil, claimError("ten", "is not a regular expression", "use the syntax of RE2: no look-around, no back-references")
	}
	const largest = 1000
	if expressionSize(parsed) > largest {
		return nil, claimError("ten", "is too large a regular expression", "repeat less")
	}
	flags := ""
	if strings.HasSuffix(text, "i") {
		flags = "(?i)"
	}
	// It has to match whole names, even if its author forgot the anchor of an
	// alternative (/^a|b$/).
	expr, err := regexp.Compile(`\A` + flags + `(?:` + body + `)\z`)
	if err != nil {
		return nil, claimError("ten", "is not a regular expression", "write /^name$/")
	}
	return expr, nil
}

// expressionSize estimates the instructions that an expression compiles to.
func expressionSize(re *syntax.Regexp) int {
	size := 1
	if re.Op == syntax.OpLiteral {
		size = len(re.Rune)
	}
	for _, sub := range re.Sub {
		size += expressionSize(sub)
	}
	if re.Op == syntax.OpRepeat {
		size *= max(re.Min, re.Max, 1)
	}
	return size
}

// single returns the container if the pattern names exactly one.
func (p containerPattern) single() (string, bool) {
	if len(p.names) == 1 {
		return p.names[0], true
	}
	return "", false
}

// allows reports whether the pattern names container. Containers of the
// Caddyfile's own sites ("@…") are no token's, whatever an expression matches.
func (p containerPattern) allows(container string) bool {
	if checkName(container) != nil {
		return false
	}
	if p.expr != nil {
		return p.expr.MatchString(container)
	}
	return slices.Contains(p.names, container)
}

// within reports whether every container of p is one of parent's. Inclusion
// of one expression in another is decided by equal text only.
func (p containerPattern) within(parent containerPattern) bool {
	if p.expr != nil {
		return p.text == parent.text
	}
	return len(p.names) > 0 && !slices.ContainsFunc(p.names, func(name string) bool { return !parent.allows(name) })
}

// checkName says what is wrong with the name of a container or webtask, or
// nothing. The characters are those that existing clients allow.
func checkName(name string) *FieldError {
	const others = "-._~!$+=:@"
	const remedy = "write 1 to 128 letters, digits or " + others
	if name == "" || name == "." || name == ".." || len(name) > 128 {
		return &FieldError{Problem: "is no name", Remedy: remedy}
	}
	for _, c := range []byte(name) {
		isAlnum := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !isAlnum && strings.IndexByte(others, c) < 0 {
			return &FieldError{Problem: "has a character that names cannot have", Remedy: remedy}
		}
	}
	if name[0] == '@' {
		return &FieldError{Problem: "starts with @, as only the containers of the Caddyfile's sites do", Remedy: "choose another name"}
	}
	return nil
}
