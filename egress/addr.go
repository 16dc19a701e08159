package egress

import (
	"net/netip"
)

// class says what an address is for.
type class int

const (
	classPublic   class = iota
	classPrivate        // of the operator's own networks: RFC 1918, RFC 6598, RFC 4193
	classLoopback       // this machine
	classMetadata       // a cloud's instance metadata: whoever reads it becomes the machine
	classSpecial        // every other range that is not globally reachable unicast
)

// special is one block of the IANA special-purpose address registries, of
// multicast, or of the unallocated space.
type special struct {
	prefix netip.Prefix
	class  class
	name   string
}

// specials holds the IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890
// and its updates) as of 2026, multicast, and what is not unicast at all. The
// few blocks that the registries mark globally reachable (AS112, AMT, TURN
// anycast) are here as well: no web server stands there.
var specials = []special{
	{netip.MustParsePrefix("0.0.0.0/8"), classSpecial, "an unspecified address"},
	{netip.MustParsePrefix("10.0.0.0/8"), classPrivate, "a private address"},
	{netip.MustParsePrefix("100.64.0.0/10"), classPrivate, "a shared (carrier-grade NAT) address"},
	{netip.MustParsePrefix("127.0.0.0/8"), classLoopback, "a loopback address"},
	{netip.MustParsePrefix("169.254.0.0/16"), classSpecial, "a link-local address"},
	{netip.MustParsePrefix("172.16.0.0/12"), classPrivate, "a private address"},
	{netip.MustParsePrefix("192.0.0.0/24"), classSpecial, "a protocol-assignment address"},
	{netip.MustParsePrefix("192.0.2.0/24"), classSpecial, "a documentation address"},
	{netip.MustParsePrefix("192.31.196.0/24"), classSpecial, "an AS112 address"},
	{netip.MustParsePrefix("192.52.193.0/24"), classSpecial, "a multicast-tunnel address"},
	{netip.MustParsePrefix("192.88.99.0/24"), classSpecial, "a 6to4 relay address"},
	{netip.MustParsePrefix("192.168.0.0/16"), classPrivate, "a private address"},
	{netip.MustParsePrefix("192.175.48.0/24"), classSpecial, "an AS112 address"},
	{netip.MustParsePrefix("198.18.0.0/15"), classSpecial, "a benchmarking address"},
	{netip.MustParsePrefix("198.51.100.0/24"), classSpecial, "a documentation address"},
	{netip.MustParsePrefix("203.0.113.0/24"), classSpecial, "a documentation address"},
	{netip.MustParsePrefix("224.0.0.0/4"), classSpecial, "a multicast address"},
	{netip.MustParsePrefix("240.0.0.0/4"), classSpecial, "a reserved or broadcast address"},

	{netip.MustParsePrefix("::/128"), classSpecial, "an unspecified address"},
	{netip.MustParsePrefix("::1/128"), classLoopback, "a loopback address"},
	{netip.MustParsePrefix("64:ff9b:1::/48"), classSpecial, "a local-use NAT64 address"},
	{netip.MustParsePrefix("100::/64"), classSpecial, "a discard-only address"},
	{netip.MustParsePrefix("100:0:0:1::/64"), classSpecial, "a dummy address"},
	{netip.MustParsePrefix("2001::/23"), classSpecial, "a protocol-assignment (Teredo, ORCHID …) address"},
	{netip.MustParsePrefix("2001:db8::/32"), classSpecial, "a documentation address"},
	{netip.MustParsePrefix("2002::/16"), classSpecial, "a 6to4 address"},
	{netip.MustParsePrefix("2620:4f:8000::/48"), classSpecial, "an AS112 address"},
	{netip.MustParsePrefix("3fff::/20"), classSpecial, "a documentation address"},
	{netip.MustParsePrefix("5f00::/16"), classSpecial, "a segment-routing address"},
	{netip.MustParsePrefix("fc00::/7"), classPrivate, "a unique-local address"},
	{netip.MustParsePrefix("fe80::/10"), classSpecial, "a link-local address"},
	{netip.MustParsePrefix("fec0::/10"), classSpecial, "a site-local address"},
	{netip.MustParsePrefix("ff00::/8"), classSpecial, "a multicast address"},
}

var (
	// Everything else in IPv6 is unallocated or, like the IPv4-compatible
	// ::/96, deprecated.
	globalUnicast6 = netip.MustParsePrefix("2000::/3")

	// nat64 is the well-known prefix that carries an IPv4 address in its last
	// 32 bits (RFC 6052): the IPv4 address is what is reached.
	nat64 = netip.MustParsePrefix("64:ff9b::/96")

	// Undialable ranges make a rule that names them a mistake.
	undialable = []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/8"),
		netip.MustParsePrefix("224.0.0.0/4"),
		netip.MustParsePrefix("255.255.255.255/32"),
		netip.MustParsePrefix("::/128"),
		netip.MustParsePrefix("ff00::/8"),
	}
)

// metadata lists the well-known addresses of clouds' metadata services. Some
// lie in private, shared or even public space.
var metadata = map[netip.Addr]bool{
	netip.MustParseAddr("169.254.169.254"): true, // AWS, Azure, Google, OpenStack …
	netip.MustParseAddr("169.254.170.2"):   true, // AWS ECS task credentials
	netip.MustParseAddr("169.254.170.23"):  true, // AWS EKS pod identity
	netip.MustParseAddr("fd00:ec2::254"):   true, // AWS
	netip.MustParseAddr("fd00:ec2::23"):    true, // AWS EKS pod identity
	netip.MustParseAddr("fd20:ce::254"):    true, // Google
	netip.MustParseAddr("100.100.100.200"): true, // Alibaba
	netip.MustParseAddr("192.0.0.192"):     true, // Oracle
	netip.MustParseAddr("168.63.129.16"):   true, // Azure wire server
}

// effective returns the address that is really reached: an IPv4 address for
// its IPv4-mapped and NAT64 forms.
func effective(addr netip.Addr) netip.Addr {
	addr = addr.Unmap()
	if nat64.Contains(addr) {
		b := addr.As16()
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	return addr
}

// classify names what an effective address is. The name reads well after
// "is" or "resolves to".
func classify(addr netip.Addr) (class, string) {
	if metadata[addr] {
		return classMetadata, "the address of a cloud metadata service"
	}
	if s := specialBlock(addr); s != nil {
		return s.class, s.name
	}
	if addr.Zone() != "" || !addr.IsValid() || (addr.Is6() && !globalUnicast6.Contains(addr)) {
		return classSpecial, "not a public address"
	}
	return classPublic, "a public address"
}

// specialBlock returns the block that holds addr, or nil.
func specialBlock(addr netip.Addr) *special {
	for i := range specials {
		if specials[i].prefix.Contains(addr) {
			return &specials[i]
		}
	}
	return nil
}
