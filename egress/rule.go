package egress

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

type ruleKind int

const (
	rulePublic    ruleKind = iota // any public address
	ruleName                      // a name
	ruleSubdomain                 // every name below one
	ruleRange                     // addresses
)

// rule is one entry of a policy.
type rule struct {
	kind   ruleKind
	name   string       // of ruleName and ruleSubdomain, normalised
	prefix netip.Prefix // of ruleRange
	port   uint16       // 0: none was written
	any    bool         // the port was written as *
}

// ruleForms is the remedy that every parse error ends with.
const ruleForms = "write public, a host name (api.example.com, *.internal), an address (127.0.0.1, [::1]) or a range (10.1.0.0/16), each with an optional :port or :*"

// parseRules parses a list; errors name the rule.
func parseRules(texts []string) ([]rule, error) {
	rules := make([]rule, 0, len(texts))
	for _, text := range texts {
		r, err := parseRule(text)
		if err != nil {
			return nil, fmt.Errorf("egress rule %q: %w", text, err)
		}
		rules = append(rules, r)
	}
	return rules, nil
}

func parseRule(text string) (rule, error) {
	host, port, err := splitRule(text)
	if err != nil {
		return rule{}, err
	}
	var r rule
	switch {
	case port == "*":
		r.any = true
	case port != "":
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return rule{}, fmt.Errorf("port %q is not a number from 1 to 65535 and not *", port)
		}
		r.port = uint16(n)
	}

	switch {
	case host == "public":
		r.kind = rulePublic
		return r, nil
	case host == "*":
		return rule{}, fmt.Errorf("a lone * is too wide: write public for every public address, or leave the list out")
	case strings.Contains(host, "/"):
		r.kind = ruleRange
		r.prefix, err = parseRange(host)
		return r, err
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		r.kind = ruleRange
		r.prefix, err = addressRange(addr, addr.BitLen())
		return r, err
	}
	name, wildcard := strings.CutPrefix(host, "*.")
	r.kind = ruleName
	if wildcard {
		r.kind = ruleSubdomain
	}
	r.name, err = normalizeName(name)
	if err != nil {
		return rule{}, fmt.Errorf("%w; %s", err, ruleForms)
	}
	return r, nil
}

// splitRule separates the port. An IPv6 address or range takes one only in
// brackets, as in a URL.
func splitRule(text string) (host, port string, err error) {
	if text == "" {
		return "", "", fmt.Errorf("it is empty; %s", ruleForms)
	}
	if strings.Contains(text, "://") {
		return "", "", fmt.Errorf("it is a URL; %s", ruleForms)
	}
	if rest, ok := strings.CutPrefix(text, "["); ok {
		host, port, ok = strings.Cut(rest, "]")
		if !ok || !strings.Contains(host, ":") {
			return "", "", fmt.Errorf("brackets are for one IPv6 address or range, as in [::1]:80")
		}
		if port == "" {
			return host, "", nil
		}
		if port, ok = strings.CutPrefix(port, ":"); !ok || port == "" {
			return "", "", fmt.Errorf("after the brackets only :port may follow")
		}
		return host, port, nil
	}
	if strings.Count(text, ":") > 1 {
		return text, "", nil // a bare IPv6 address or range
	}
	host, port, found := strings.Cut(text, ":")
	if found && port == "" {
		return "", "", fmt.Errorf("the port after the colon is missing")
	}
	return host, port, nil
}

func parseRange(text string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("it is not a range of addresses like 10.1.0.0/16 or [fd00::/8]:443")
	}
	if masked := prefix.Masked(); masked != prefix {
		return netip.Prefix{}, fmt.Errorf("its address has bits outside the mask: write %s for the range, or %s for the address", masked, prefix.Addr())
	}
	return addressRange(prefix.Addr(), prefix.Bits())
}

// addressRange makes the prefix of a rule out of an address and a length.
func addressRange(addr netip.Addr, bits int) (netip.Prefix, error) {
	if addr.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("an address with a zone cannot be allowed: leave %%%s out", addr.Zone())
	}
	if addr.Is4In6() || nat64.Contains(addr) {
		return netip.Prefix{}, fmt.Errorf("it stands for an IPv4 address: write that as IPv4, like 192.0.2.1 or 10.1.0.0/16")
	}
	prefix := netip.PrefixFrom(addr, bits)
	for _, u := range undialable {
		if u.Contains(addr) && u.Bits() <= bits {
			return netip.Prefix{}, fmt.Errorf("nothing can be dialled there (unspecified, multicast or broadcast)")
		}
	}
	return prefix, nil
}

// normalizeName returns the lower-case ASCII form of a host name, without the
// root's dot. A name that a resolver could take for an address in some odd
// notation (0x7f.1, 017700000001, 127.1) is refused, as the URL Standard
// does with a host that ends in a number.
func normalizeName(name string) (string, error) {
	ascii := strings.ToLower(strings.TrimSuffix(name, "."))
	for i := 0; i < len(ascii); i++ {
		if ascii[i] >= 0x80 {
			var err error
			if ascii, err = idna.Lookup.ToASCII(ascii); err != nil {
				return "", fmt.Errorf("%q is not a valid host name", name)
			}
			break
		}
	}
	if ascii == "" || len(ascii) > 253 {
		return "", fmt.Errorf("a host name has 1 to 253 characters")
	}
	last := ""
	for label := range strings.SplitSeq(ascii, ".") {
		if label == "" || len(label) > 63 {
			return "", fmt.Errorf("%q is not a valid host name: each label has 1 to 63 characters", name)
		}
		for _, c := range []byte(label) {
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return "", fmt.Errorf("%q is not a valid host name: %q cannot stand in it", name, c)
			}
		}
		last = label
	}
	if looksNumeric(last) {
		return "", fmt.Errorf("%q ends in a number but is not an address in its canonical form", name)
	}
	return ascii, nil
}

func looksNumeric(label string) bool {
	if hex, ok := strings.CutPrefix(label, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(label, "0123456789") == ""
}

// ownSuffixes are the top-level names that public DNS does not answer.
var ownSuffixes = []string{"localhost", "internal", "local", "home.arpa", "test", "lan", "home", "corp", "intranet", "private"}

// ownName reports whether a normalised name is the operator's own to answer.
func ownName(name string) bool {
	if !strings.Contains(name, ".") {
		return true
	}
	for _, suffix := range ownSuffixes {
		if strings.HasSuffix(name, "."+suffix) {
			return true
		}
	}
	return false
}

// matchesName reports whether the rule names the host; host is normalised, or
// empty for an address.
func (r *rule) matchesName(host string) bool {
	switch r.kind {
	case ruleName:
		return host == r.name
	case ruleSubdomain:
		return len(host) > len(r.name)+1 && strings.HasSuffix(host, r.name) && host[len(host)-len(r.name)-1] == '.'
	}
	return false
}

// opensPort applies the edge's defaults: see the package comment.
func (r *rule) opensPort(port uint16) bool {
	switch {
	case r.any:
		return true
	case r.port != 0:
		return port == r.port
	case r.kind == ruleRange:
		return true
	}
	return port == 80 || port == 443
}

// leavesPort is opensPort for a narrowing list.
func (r *rule) leavesPort(port uint16) bool {
	return r.port == 0 || port == r.port
}

// opensSpecial reports whether a range rule that holds a special address opens
// it.
func (r *rule) opensSpecial(addr netip.Addr, c class) bool {
	if r.prefix.IsSingleIP() {
		return true
	}
	if c == classMetadata {
		return false
	}
	block := specialBlock(addr)
	return block != nil && block.prefix.Bits() <= r.prefix.Bits() && block.prefix.Contains(r.prefix.Addr())
}
