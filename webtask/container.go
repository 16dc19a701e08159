package webtask

import (
	"regexp"
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
		end := strings.LastIndexByte(body, '/')
		if end < 1 || (body[end:] != "/" && body[end:] != "/i") {
			return p, claimError("ten", "starts like a regular expression but does not end like one", "write /^name$/")
		}
		// RE2 matches in linear time, and the group makes it match whole names
		// even if the author forgot an anchor of an alternative (/^a|b$/).
		expr := `(?:` + body[:end] + `)`
		if strings.HasSuffix(body[end:], "i") {
			expr = `(?i)` + expr
		}
		re, err := regexp.Compile(`\A` + expr + `\z`)
		if _, alone := regexp.Compile(body[:end]); err != nil || alone != nil {
			return p, claimError("ten", "is not a regular expression", "use the syntax of RE2: no look-around, no back-references")
		}
		p.expr = re
		return p, nil
	}
	p.names = strings.Split(ten, ",")
	for _, name := range p.names {
		if err := checkName(name); err != nil {
			return p, claimError("ten", quote(name)+" "+err.Problem, err.Remedy)
		}
	}
	return p, nil
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
