package webtask

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// netPattern is one entry of a claim `net`, which says what code may call:
//
//	api.example.com      that name
//	*.example.com        every name below it, at any depth, not itself
//	10.1.2.3  [::1]      that address
//	10.1.0.0/16          every address of the prefix (RFC 4632); [fd00::/8] for IPv6
//	public               every public address
//	*.internal:8080      any of these, at that port only
//
// Without a port it means every port that the edge allows. The list is a
// narrowing one of package egress, which enforces it; here it is checked when
// a token is issued, and compared when one is derived, by its text alone: what
// a name resolves to is known only when it is dialled. So a name is within a
// wildcard and an address within a prefix, but no name within a prefix.
type netPattern struct {
	name   string       // "public"; ".example.com" for "*.example.com"
	prefix netip.Prefix // valid when the pattern is an address or a prefix
	port   uint16       // 0: all
}

// parseNetPattern reads a pattern; the error names neither claim nor pattern.
func parseNetPattern(s string) (netPattern, *FieldError) {
	host, port, err := splitPort(s)
	if err != nil {
		return netPattern{}, err
	}
	p := netPattern{port: port}
	bare := host
	if inside, ok := strings.CutPrefix(host, "["); ok && strings.HasSuffix(inside, "]") && strings.Contains(inside, ":") {
		bare = strings.TrimSuffix(inside, "]")
	}
	switch addr, err := netip.ParseAddr(bare); {
	case err == nil && addr.Zone() != "":
		return p, &FieldError{Problem: "has a zone", Remedy: "write the address without %zone"}
	case err == nil:
		p.prefix = netip.PrefixFrom(addr, addr.BitLen())
	case strings.Contains(bare, "/") && !strings.Contains(bare, "://"):
		if p.prefix, err = netip.ParsePrefix(bare); err != nil {
			return p, &FieldError{Problem: "is not a range of addresses", Remedy: "write one like 10.1.0.0/16 or [fd00::/8]"}
		}
		if masked := p.prefix.Masked(); p.prefix != masked {
			return p, &FieldError{Problem: "has address bits beyond its length", Remedy: "write " + masked.String()}
		}
	default:
		name, wildcard := strings.CutPrefix(host, "*.")
		p.name = name
		if wildcard {
			p.name = "." + name
		}
		return p, checkHostname(name)
	}
	if first := p.prefix.Addr(); first.IsMulticast() || first == broadcast || (first.IsUnspecified() && p.prefix.IsSingleIP()) {
		return p, &FieldError{Problem: "is no address that can be dialled", Remedy: "leave it out"}
	}
	if p.prefix.Addr().Is4In6() || nat64.Contains(p.prefix.Addr()) {
		return p, &FieldError{Problem: "stands for an IPv4 address", Remedy: "write that address"}
	}
	return p, nil
}

var (
	nat64     = netip.MustParsePrefix("64:ff9b::/96") // carries IPv4 addresses (RFC 6052)
	broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})
)

// splitPort cuts the port off a pattern. A bare IPv6 address has colons but
// no port.
func splitPort(s string) (host string, port uint16, _ *FieldError) {
	colon := strings.LastIndexByte(s, ':')
	bracket := strings.LastIndexByte(s, ']')
	if colon <= bracket || (bracket < 0 && strings.Count(s, ":") > 1) || strings.Contains(s, "://") {
		return s, 0, nil
	}
	n, err := strconv.ParseUint(s[colon+1:], 10, 16)
	if err != nil || n == 0 {
		return "", 0, &FieldError{Problem: "has no port after the colon", Remedy: "write one from 1 to 65535, or none for all that the edge allows"}
	}
	return s[:colon], uint16(n), nil
}

// checkHostname says what is wrong with name as a host name in lower-case
// ASCII (RFC 1123; underscores as RFC 8552 uses them).
func checkHostname(name string) *FieldError {
	const remedy = "write the host alone, like api.example.com, in lower case, international names as A-labels (xn--…)"
	if name == "" || len(name) > 253 {
		return &FieldError{Problem: "is not a host name of 1 to 253 characters", Remedy: remedy}
	}
	last := ""
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return &FieldError{Problem: "is not a host name", Remedy: remedy}
		}
		for _, c := range []byte(label) {
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return &FieldError{Problem: "is not a host name: " + quote(string(rune(c))) + " cannot stand in it", Remedy: remedy}
			}
		}
		last = label
	}
	// The URL Standard takes a host that ends in a number for an IPv4 address
	// (127.1, 0x7f000001); resolvers disagree about which one.
	hex, isHex := strings.CutPrefix(last, "0x")
	if strings.Trim(last, "0123456789") == "" || (isHex && strings.Trim(hex, "0123456789abcdef") == "") {
		return &FieldError{Problem: "ends in a number but is no canonical address", Remedy: "write it like 10.1.2.3"}
	}
	return nil
}

// covers reports whether p allows everything that q allows.
func (p netPattern) covers(q netPattern) bool {
	if p.port != 0 && p.port != q.port {
		return false
	}
	if p.prefix.IsValid() || q.prefix.IsValid() {
		return p.prefix.IsValid() && q.prefix.IsValid() &&
			p.prefix.Bits() <= q.prefix.Bits() && p.prefix.Contains(q.prefix.Addr())
	}
	return p.name == q.name || (p.name[0] == '.' && strings.HasSuffix(q.name, p.name))
}

// checkNet checks the patterns of a claim `net`.
func checkNet(patterns []string) error {
	for _, s := range patterns {
		if _, err := parseNetPattern(s); err != nil {
			return claimError("net", quote(s)+" "+err.Problem, err.Remedy)
		}
	}
	return nil
}

// outsideNet returns the first pattern of child that no pattern of parent
// covers, or "". Both lists have been checked. A nil parent restricts nothing.
func outsideNet(parent, child []string) string {
	if parent == nil {
		return ""
	}
	allowed := make([]netPattern, len(parent))
	for i, s := range parent {
		allowed[i], _ = parseNetPattern(s)
	}
	for _, s := range child {
		q, _ := parseNetPattern(s)
		if !slices.ContainsFunc(allowed, func(p netPattern) bool { return p.covers(q) }) {
			return s
		}
	}
	return ""
}
