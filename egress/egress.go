// Package egress is the only way out of the edge: which hosts and addresses
// may be reached, checked when the connection is dialled, after the name was
// resolved, so that DNS cannot rebind.
//
//	policy, _ := egress.ParsePolicy([]string{"public", "*.internal:8080", "10.1.0.0/16", "127.0.0.1:9000"})
//	transport := egress.NewTransport(policy, egress.TransportOptions{})
//	defer transport.Close()
//	resp, err := transport.RoundTrip(req) // *egress.DeniedError when the address is not allowed
//
//	narrower, _ := policy.Narrow([]string{"api.example.com"}) // a token's `net`
//	resp, err = transport.For("acme", narrower).RoundTrip(req)
//
// Without rules, public addresses on ports 80 and 443 are allowed and nothing
// else: no private, loopback, link-local, multicast, documentation, benchmark
// or otherwise special range (IANA special-purpose registries), in whatever
// notation or IPv4-in-IPv6 form. A list of rules takes the place of that
// default. A destination is allowed when one of them opens it:
//
//	rule              opens
//	public            public addresses, by address or by any name; ports 80 and 443
//	api.example.com   that name at its public addresses; ports 80 and 443
//	*.example.com     every name below it, not the name itself
//	*.internal:8080   a name that public DNS cannot answer, at private addresses too
//	10.1.0.0/16       those addresses, by address or by any name; every port
//	127.0.0.1:9000    that address and port; IPv6 as ::1 or [::1]:9000, ranges as [fd00::/8]:80
//	host:*            every port, after any kind of rule; host:8443 exactly that one
//
// Whoever answers for a name in public DNS must not choose which address of
// the operator's network a task reaches: such a name never opens a special
// address, so name the address or range as well (`db.corp.example.com` at
// 10.1.2.3 needs `10.1.2.3:5432`). Names without a dot and names under
// localhost, internal, local, home.arpa, test, lan, home, corp, intranet and
// private are the operator's own (RFC 6761, 6762 appendix G, 8375) and open
// loopback and private addresses. A range opens special addresses only when
// it lies within one special-purpose block, so 0.0.0.0/0 means every public
// address. Cloud metadata services, and what TransportOptions.Forbidden
// lists, are opened by no range and no name, only by their very address.
//
// Policy.Narrow adds a list that must allow the destination too; it can only
// take away. There a rule without a port leaves the ports to the edge.
package egress
