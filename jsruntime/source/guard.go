package source

import (
	"fmt"
	"regexp"
	"strings"
)

const (
	// guardFrom is the size below which code cannot hold enough levels to hurt.
	guardFrom = 8 << 10

	// maxNesting bounds open brackets. Minified real code stays below 200.
	maxNesting = 1000

	// maxChain bounds the tokens without a comma, a semicolon or a closing
	// brace: prefix operators, a=a=a, a?b:a?b, if(a)if(a), a=>a=>a.
	maxChain = 10000

	// maxSequence bounds the commas between two semicolons that may be the
	// comma operator, for which esbuild takes quadratic time: not those of an
	// array, nor of an object with keys.
	maxSequence = 10000
)

// CheckNesting refuses code that nests so deeply that a recursive parser would
// exhaust its stack, which kills the process (some 100,000 levels do), or that
// holds an expression so long that a parser would take minutes. The error is a
// *CompileError without a File.
//
// It is a cheap guard and no proof. It reads tokens as a JavaScript lexer
// does, but guesses at a slash after a closing brace, and does not see levels
// that need braces of their own (else if chains). Parsers that must survive
// any input belong into a process of their own.
func CheckNesting(code string) error {
	if len(code) < guardFrom {
		return nil
	}
	s := nestingScanner{code: code, regex: true}
	return s.scan()
}

// nestingScanner walks over code once.
type nestingScanner struct {
	code  string
	pos   int
	level nestingLevel   // where pos is
	stack []nestingLevel // those around it
	chain int
	regex bool   // a slash here begins a regular expression
	word  string // the token before, when it was a word
}

// nestingLevel is what an open bracket began.
type nestingLevel struct {
	// bracket is 0 at the top, '(' or 'c' (a parenthesis after if, while, for
	// or with: a regular expression may follow it), '[', '{' or '`' (a
	// template's ${).
	bracket byte
	commas  int  // that may be operators
	keyed   bool // a colon came after the last comma
}

func (s *nestingScanner) scan() error {
	for s.pos < len(s.code) {
		c := s.code[s.pos]
		word := s.word
		s.word = ""
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			s.word = word
			s.pos++
			continue
		case c == '/' && s.comment():
			s.word = word
			continue
		case c == '/' && s.regex && s.regularExpression():
			s.regex = false
		case c == '"' || c == '\'':
			s.quoted(c)
			s.regex = false
		case c == '`':
			s.pos++
			s.template()
		case c == '(' || c == '[' || c == '{':
			if c == '(' && (word == "if" || word == "while" || word == "for" || word == "with") {
				c = 'c'
			}
			s.open(c)
		case c == ')' || c == ']' || c == '}':
			s.close(c)
		case isWordByte(c):
			s.readWord()
		default:
			s.pos++
			s.regex = true
			s.punctuate(c)
		}
		s.chain++
		if len(s.stack) > maxNesting {
			return s.refuse(fmt.Sprintf("more than %d brackets are open at once", maxNesting))
		}
		if s.level.commas > maxSequence {
			return s.refuse(fmt.Sprintf("more than %d expressions are joined by commas", maxSequence))
		}
		if s.chain > maxChain {
			return s.refuse(fmt.Sprintf("one expression or statement has more than %d tokens without a comma, semicolon or closing brace", maxChain))
		}
	}
	return nil
}

func (s *nestingScanner) refuse(what string) error {
	s.pos = min(s.pos, len(s.code)) // a last backslash leads beyond the end
	return &CompileError{
		Line:    1 + strings.Count(s.code[:s.pos], "\n"),
		Column:  s.pos - (1 + strings.LastIndexByte(s.code[:s.pos], '\n')), // of what was just read
		Message: "the code is too complex: " + what + "; split it up, or load large data as JSON",
	}
}

func (s *nestingScanner) open(c byte) {
	s.stack = append(s.stack, s.level)
	s.level = nestingLevel{bracket: c}
	s.pos++
	s.regex = true
}

func (s *nestingScanner) close(c byte) {
	s.pos++
	s.regex = false
	if len(s.stack) == 0 {
		return
	}
	closed := s.level.bracket
	s.level = s.stack[len(s.stack)-1]
	s.stack = s.stack[:len(s.stack)-1]
	switch {
	case c == '}' && closed == '`':
		s.template()
	case c == '}':
		s.chain = 0
	case closed == 'c':
		s.regex = true
	}
}

// punctuate takes note of what separates expressions.
func (s *nestingScanner) punctuate(c byte) {
	switch c {
	case ':':
		s.level.keyed = true
	case ',':
		s.chain = 0
		if s.level.bracket != '[' && !(s.level.bracket == '{' && s.level.keyed) {
			s.level.commas++
		}
		s.level.keyed = false
	case ';':
		s.chain = 0
		s.level.commas = 0
	}
}

func (s *nestingScanner) readWord() {
	start := s.pos
	for s.pos < len(s.code) && isWordByte(s.code[s.pos]) {
		s.pos++
	}
	s.regex = false
	if start > 0 && s.code[start-1] == '.' {
		return
	}
	s.word = s.code[start:s.pos]
	switch s.word {
	case "return", "typeof", "instanceof", "in", "of", "new", "delete", "void", "throw", "case", "do", "else", "yield", "await":
		s.regex = true
	}
}

// comment skips a comment, if there is one.
func (s *nestingScanner) comment() bool {
	rest := s.code[s.pos:]
	var end, after int
	switch {
	case strings.HasPrefix(rest, "//"):
		end, after = strings.IndexByte(rest, '\n'), 1
	case strings.HasPrefix(rest, "/*"):
		end, after = strings.Index(rest[2:], "*/"), 4
	default:
		return false
	}
	if end < 0 {
		s.pos = len(s.code)
	} else {
		s.pos += end + after
	}
	return true
}

// regularExpression skips a regular expression, if it ends on its line.
func (s *nestingScanner) regularExpression() bool {
	inClass := false
	for i := s.pos + 1; i < len(s.code); i++ {
		switch s.code[i] {
		case '\n':
			return false
		case '\\':
			i++
		case '[':
			inClass = true
		case ']':
			inClass = false
		case '/':
			if !inClass {
				s.pos = i + 1
				return true
			}
		}
	}
	return false
}

// quoted skips a string; one that is not closed ends with its line.
func (s *nestingScanner) quoted(quote byte) {
	for s.pos++; s.pos < len(s.code); s.pos++ {
		switch s.code[s.pos] {
		case '\\':
			s.pos++
		case '\n', quote:
			s.pos++
			return
		}
	}
}

// template skips the text of a template up to its end or its next ${.
func (s *nestingScanner) template() {
	for ; s.pos < len(s.code); s.pos++ {
		switch {
		case s.code[s.pos] == '\\':
			s.pos++
		case s.code[s.pos] == '`':
			s.pos++
			s.regex = false
			return
		case strings.HasPrefix(s.code[s.pos:], "${"):
			s.pos++
			s.open('`')
			return
		}
	}
}

func isWordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '$' || c >= 0x80
}

// mangled matches what Caddy makes of its placeholder shorthands: {path}
// becomes {http.request.uri.path} everywhere in a Caddyfile's site blocks,
// quoted or not.
var mangled = regexp.MustCompile(`\{http\.(request|vars|regexp|reverse_proxy|intercept|error|matchers)\.[^{}\s]*\}`)

// LooksMangled reports code that was changed on its way through a Caddyfile:
// Caddy replaces shorthands such as {path}, {host} or {query} by placeholders
// before any directive sees them. The error quotes one and names the remedy.
//
// It cannot see {$NAME}, which the Caddyfile replaces by a variable of the
// environment or by nothing: whoever has the Caddyfile's text must look there.
func LooksMangled(code string) error {
	found := mangled.FindString(code)
	if found == "" {
		return nil
	}
	return fmt.Errorf("the Caddyfile replaced a placeholder within the code by %s; put the code into a file (`code tasks/hello.js`), or write the braces with a space: { path }", found)
}
