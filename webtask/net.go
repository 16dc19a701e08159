package webtask

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// HostPattern says which hosts, and at which ports, code may call (claim
// `net`, and `egress allow` of the Caddyfile):
//
//	api.example.com       that name
//	*.example.com         every name below it, at any depth, not itself
//	10.1.2.3  [::1]       that address
//	10.1.0.0/16           every address of the prefix (RFC 4632); [fd00::/8] for IPv6
//	*.internal:8080       any of these, at that port only
//
// Without a port it means 80 and 443. Names are lower-case ASCII (IDNA
// A-labels); addresses are canonical: 127.1, 0x7f000001 and 010.0.0.1 are
// refused, for resolvers disagree about them. The zero value matches nothing.
type HostPattern struct {
	name   string       // lower-case; ".example.com" for "*.example.com"
	prefix netip.Prefix // valid when the pattern is an address or a prefix
	port   uint16       // 0: 80 and 443
}

// ParseHostPattern reads a pattern. The error is a *FieldError whose Field is
// the pattern itself.
func ParseHostPattern(s string) (HostPattern, error) {
	host, port, err := splitPort(s)
	if err != nil {
		return HostPattern{}, err
	}
	p := HostPattern{port: port}
	bare := strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if addr, err := netip.ParseAddr(bare); err == nil {
		if addr.Zone() != "" {
			return HostPattern{}, patternError(s, "has a zone", "write the address without %zone")
		}
		addr = addr.Unmap()
		p.prefix = netip.PrefixFrom(addr, addr.BitLen())
		return p, nil
	}
	if strings.Contains(bare, "/") {
		prefix, err := netip.ParsePrefix(bare)
		if err != nil || prefix.Addr().Is4In6() {
			return HostPattern{}, patternError(s, "is not an address prefix", "write one like 10.1.0.0/16 or [fd00::/8]")
		}
		if prefix != prefix.Masked() {
			return HostPattern{}, patternError(s, "has address bits beyond its length", "write "+prefix.Masked().String())
		}
		p.prefix = prefix
		return p, nil
	}
	name, wildcard := strings.CutPrefix(host, "*.")
	if problem, remedy := checkHostname(name); problem != "" {
		return HostPattern{}, patternError(s, problem, remedy)
	}
	p.name = name
	if wildcard {
		p.name = "." + name
	}
	return p, nil
}

// splitPort cuts the port off a pattern. A colon is a port's only when no
// other is outside brackets, so that a bare IPv6 address is one.
func splitPort(s string) (host string, port uint16, err error) {
	end := strings.LastIndexByte(s, ']')
	colon := strings.LastIndexByte(s, ':')
	if colon <= end || (end < 0 && strings.Count(s, ":") > 1) {
		return s, 0, nil
	}
	n, parseErr := strconv.ParseUint(s[colon+1:], 10, 16)
	if parseErr != nil || n == 0 || s[colon+1] == '0' || s[colon+1] == '+' {
		return "", 0, patternError(s, "has no valid port", "write one from 1 to 65535 after the colon")
	}
	return s[:colon], uint16(n), nil
}

// checkHostname says what is wrong with name as a host name (RFC 952, 1123;
// underscores as RFC 8552 uses them), or nothing.
func checkHostname(name string) (problem, remedy string) {
	switch {
	case name == "" || name == "*":
		return "names no host", "write a name like api.example.com, or leave the list out to allow every host the edge allows"
	case len(name) > 253:
		return "is longer than 253 characters", "write a host name"
	case strings.Contains(name, "://") || strings.ContainsAny(name, "/@?#"):
		return "is not a host", "write the host alone, without scheme, user or path"
	}
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return "is not a host name", "write labels of letters, digits and hyphens between single dots"
		}
		for _, c := range []byte(label) {
			switch {
			case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
			case 'A' <= c && c <= 'Z':
				return "has upper-case letters", "write it in lower case"
			case c == '*':
				return "has a * inside", "a * may only stand for the first labels, as in *.example.com"
			case c >= 0x80:
				return "is not ASCII", "write its A-labels (xn--…)"
			default:
				return "is not a host name", "write labels of letters, digits and hyphens between single dots"
			}
		}
	}
	// The URL Standard's "ends in a number" check: such a host is always an
	// IPv4 address to a browser, and one in an odd notation here.
	if last := labels[len(labels)-1]; last[0] >= '0' && last[0] <= '9' {
		return "ends in a number but is no canonical address", "write it like 10.1.2.3"
	}
	return "", ""
}

func patternError(pattern, problem, remedy string) error {
	return &FieldError{Field: quote(pattern), Problem: problem, Remedy: remedy}
}

// String returns the pattern as ParseHostPattern reads it.
func (p HostPattern) String() string {
	host := p.name
	if strings.HasPrefix(host, ".") {
		host = "*" + host
	}
	if p.prefix.IsValid() {
		host = p.prefix.String()
		if p.prefix.IsSingleIP() {
			host = p.prefix.Addr().String()
		}
		if p.prefix.Addr().Is6() {
			host = "[" + host + "]"
		}
	}
	if p.port == 0 {
		return host
	}
	return host + ":" + strconv.Itoa(int(p.port))
}

// Port returns the port of the pattern; 0 stands for 80 and 443.
func (p HostPattern) Port() uint16 { return p.port }

// Prefix returns the addresses of the pattern; invalid if it is a name.
func (p HostPattern) Prefix() netip.Prefix { return p.prefix }

// MatchName reports whether the pattern names host (lower-case, no address)
// and port.
func (p HostPattern) MatchName(host string, port uint16) bool {
	return p.name != "" && p.coversName(host) && p.matchPort(port) && host[0] != '.'
}

// MatchAddr reports whether the pattern names addr and port. An IPv4-mapped
// IPv6 address is the IPv4 address it maps.
func (p HostPattern) MatchAddr(addr netip.Addr, port uint16) bool {
	return p.prefix.IsValid() && p.prefix.Contains(addr.Unmap().WithZone("")) && p.matchPort(port)
}

// Covers reports whether p allows everything that q allows.
func (p HostPattern) Covers(q HostPattern) bool {
	if p.port != q.port && (p.port != 0 || !p.matchPort(q.port) || q.port == 0) {
		return false
	}
	if p.prefix.IsValid() || q.prefix.IsValid() {
		return p.prefix.IsValid() && q.prefix.IsValid() &&
			p.prefix.Bits() <= q.prefix.Bits() && p.prefix.Contains(q.prefix.Addr())
	}
	return p.name != "" && q.name != "" && p.coversName(q.name)
}

// coversName reports whether p's name is host or a wildcard above it; host
// may be a wildcard's ".example.com" itself.
func (p HostPattern) coversName(host string) bool {
	if p.name[0] == '.' {
		return strings.HasSuffix(host, p.name)
	}
	return p.name == host
}

func (p HostPattern) matchPort(port uint16) bool {
	if p.port == 0 {
		return port == 80 || port == 443
	}
	return p.port == port
}

// checkNet checks the patterns of a claim `net`.
func checkNet(patterns []string) error {
	for _, s := range patterns {
		if _, err := ParseHostPattern(s); err != nil {
			field := err.(*FieldError)
			return claimError("net", field.Field+" "+field.Problem, field.Remedy)
		}
	}
	return nil
}

// netWithin returns the first pattern of child that no pattern of parent
// covers, or "". Both have been checked. A nil list allows what the edge
// allows, so a nil parent covers all and a nil child needs a nil parent.
func netWithin(parent, child []string) (outside string) {
	if parent == nil {
		return ""
	}
	covers := make([]HostPattern, len(parent))
	for i, s := range parent {
		covers[i], _ = ParseHostPattern(s)
	}
	for _, s := range child {
		q, _ := ParseHostPattern(s)
		if !slices.ContainsFunc(covers, func(p HostPattern) bool { return p.Covers(q) }) {
			return s
		}
	}
	return ""
}
