package webapi

import "strings"

// parseForm is the application/x-www-form-urlencoded parser (URL §5.1).
func parseForm(input string) []parameter {
	var list []parameter
	for part := range strings.SplitSeq(input, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		list = append(list, parameter{decodeForm(name), decodeForm(value)})
	}
	return list
}

// decodeForm replaces "+" and percent-encoded bytes; invalid UTF-8 becomes
// U+FFFD. A "%" that starts no encoded byte stays.
func decodeForm(s string) string {
	if !strings.ContainsAny(s, "%+") {
		return decodeUTF8(s)
	}
	decoded := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '+':
			c = ' '
		case c == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
			c = unhex(s[i+1])<<4 | unhex(s[i+2])
			i += 2
		}
		decoded = append(decoded, c)
	}
	return decodeUTF8(string(decoded))
}

// serializeForm is the application/x-www-form-urlencoded serializer (URL §5.2).
func serializeForm(list []parameter) string {
	var b strings.Builder
	for i, p := range list {
		if i > 0 {
			b.WriteByte('&')
		}
		encodeForm(&b, p.name)
		b.WriteByte('=')
		encodeForm(&b, p.value)
	}
	return b.String()
}

func encodeForm(b *strings.Builder, s string) {
	const digits = "0123456789ABCDEF"
	for i := range len(s) {
		switch c := s[i]; {
		case c == ' ':
			b.WriteByte('+')
		case c >= '0' && c <= '9', c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z', c == '*', c == '-', c == '.', c == '_':
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&0xf])
		}
	}
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	default:
		return c - 'a' + 10
	}
}
