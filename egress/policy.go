package egress

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
)

// Policy says which destinations may be reached. It is immutable and may be
// shared; Narrow makes another.
type Policy struct {
	rules  []rule
	narrow [][]rule
}

// ParsePolicy parses the rules of `egress allow`; the package comment has
// their syntax. No rules mean the default, "public". The error names the rule
// and what to write instead.
func ParsePolicy(rules []string) (*Policy, error) {
	if len(rules) == 0 {
		return &Policy{rules: []rule{{kind: rulePublic}}}, nil
	}
	parsed, err := parseRules(rules)
	if err != nil {
		return nil, err
	}
	return &Policy{rules: parsed}, nil
}

// Narrow returns a policy that allows what p allows and rules name, the claim
// `net` of a token. Nil rules change nothing; an empty list that is not nil
// allows nothing. Parsing costs: keep the result, for as long as the token is
// cached.
func (p *Policy) Narrow(rules []string) (*Policy, error) {
	if rules == nil {
		return p, nil
	}
	parsed, err := parseRules(rules)
	if err != nil {
		return nil, err
	}
	// A full slice expression, so that two policies narrowed from one never
	// write to the same array.
	return &Policy{rules: p.rules, narrow: append(p.narrow[:len(p.narrow):len(p.narrow)], parsed)}, nil
}

// destination is what a request asks for: a name, or an address.
type destination struct {
	name string     // normalised; empty: addr was asked for
	addr netip.Addr // effective
	port uint16
}

func (d destination) String() string {
	host := d.name
	if host == "" {
		host = d.addr.String()
	}
	return hostport(host, d.port)
}

func hostport(host string, port uint16) string {
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

// parseDestination reads a URL's host (without brackets) and port.
func parseDestination(host string, port uint16) (destination, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		if addr.Zone() != "" {
			return destination{}, &DeniedError{Host: hostport(host, port), Addr: addr, Reason: "addresses with a zone are never reached; leave the zone out"}
		}
		return destination{addr: effective(addr), port: port}, nil
	}
	name, err := normalizeName(host)
	if err != nil {
		return destination{}, &DeniedError{Host: hostport(host, port), Reason: err.Error()}
	}
	return destination{name: name, port: port}, nil
}

// checkHost decides what can be decided before the name is resolved. With a
// nil error, needsAddr says whether a narrowing list still has to see the
// address behind the name.
func (p *Policy) checkHost(d destination) (needsAddr bool, err error) {
	if d.name == "" {
		return false, p.checkAddr(d, d.addr, nil)
	}
	if !p.mayOpen(d) {
		return false, &DeniedError{Host: d.String(), Reason: "no rule of this edge opens that host and port; " + remedy(d.String())}
	}
	for _, rules := range p.narrow {
		byName, byAddr := narrowHost(rules, d)
		if !byName && !byAddr {
			return false, &DeniedError{Host: d.String(), Reason: narrowReason}
		}
		needsAddr = needsAddr || !byName
	}
	return needsAddr, nil
}

const narrowReason = "the task may call only the hosts that its token (claim `net`) or route lists; list it there"

// mayOpen reports whether a rule of the edge could open a name, at the right
// address.
func (p *Policy) mayOpen(d destination) bool {
	for i := range p.rules {
		r := &p.rules[i]
		if r.opensPort(d.port) && (r.kind == rulePublic || r.kind == ruleRange || r.matchesName(d.name)) {
			return true
		}
	}
	return false
}

func narrowHost(rules []rule, d destination) (byName, byAddr bool) {
	for i := range rules {
		r := &rules[i]
		if !r.leavesPort(d.port) {
			continue
		}
		if r.matchesName(d.name) {
			return true, false
		}
		byAddr = byAddr || r.kind == rulePublic || r.kind == ruleRange
	}
	return false, byAddr
}

// checkAddr decides about the address that is going to be dialled for d.
// Forbidden addresses need a rule with that very address and port; a nil
// forbidden forbids none.
func (p *Policy) checkAddr(d destination, addr netip.Addr, forbidden func(netip.AddrPort) bool) error {
	if addr.Zone() != "" {
		return &DeniedError{Host: d.String(), Addr: addr, Reason: "it resolves to an address with a zone, which is never reached"}
	}
	addr = effective(addr)
	class, what := classify(addr)
	isForbidden := forbidden != nil && forbidden(netip.AddrPortFrom(addr, d.port))
	if !p.opens(d, addr, class, isForbidden) {
		return &DeniedError{Host: d.String(), Addr: addr, Reason: denial(d, class, what, isForbidden)}
	}
	for _, rules := range p.narrow {
		if !leaves(rules, d, addr, class) {
			return &DeniedError{Host: d.String(), Addr: addr, Reason: narrowReason}
		}
	}
	return nil
}

func (p *Policy) opens(d destination, addr netip.Addr, c class, forbidden bool) bool {
	for i := range p.rules {
		r := &p.rules[i]
		if !r.opensPort(d.port) {
			continue
		}
		if forbidden {
			if r.kind == ruleRange && r.prefix.IsSingleIP() && r.prefix.Addr() == addr && r.port == d.port {
				return true
			}
			continue
		}
		switch r.kind {
		case rulePublic:
			if c == classPublic {
				return true
			}
		case ruleRange:
			if r.prefix.Contains(addr) && (c == classPublic || r.opensSpecial(addr, c)) {
				return true
			}
		default:
			if r.matchesName(d.name) && (c == classPublic || ((c == classPrivate || c == classLoopback) && ownName(d.name))) {
				return true
			}
		}
	}
	return false
}

func leaves(rules []rule, d destination, addr netip.Addr, c class) bool {
	for i := range rules {
		r := &rules[i]
		if !r.leavesPort(d.port) {
			continue
		}
		if r.matchesName(d.name) || (r.kind == rulePublic && c == classPublic) || (r.kind == ruleRange && r.prefix.Contains(addr)) {
			return true
		}
	}
	return false
}

// denial words why no rule of the edge opens an address.
func denial(d destination, c class, what string, forbidden bool) string {
	subject := "it is " + what
	if d.name != "" {
		subject = "it resolves to " + what
	}
	switch {
	case forbidden:
		return subject + " on which this edge itself listens for its administration; only a rule with that very address and port opens it"
	case c == classPublic:
		return subject + ", and no rule of this edge opens that host and port; " + remedy(d.String())
	case d.name == "":
		return subject + "; " + remedy(d.String())
	case c == classMetadata || c == classSpecial || !ownName(d.name):
		return subject + ", which a name never opens; the operator can open the address itself: egress allow ADDRESS" + fmt.Sprintf(":%d", d.port)
	}
	return subject + "; " + remedy(d.String())
}

func remedy(destination string) string {
	return "the operator can open it: egress allow " + destination
}
