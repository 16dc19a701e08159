// Package egress is the only way out of the edge: which hosts and addresses
// may be reached, checked when the connection is dialled, after the name was
// resolved, so that DNS cannot rebind.
//
//	policy, _ := egress.ParsePolicy([]string{"api.example.com", "10.1.0.0/16", "127.0.0.1:9000"})
//	transport := egress.NewTransport(policy, egress.TransportOptions{})
//	resp, err := transport.RoundTrip(req) // *egress.DeniedError when the address is not allowed
//
// Without rules, public addresses on ports 80 and 443 are allowed and nothing
// else: no private, loopback, link-local, multicast, documentation, benchmark
// or otherwise special range (IANA special-purpose registries), in whatever
// notation or IPv4-in-IPv6 form.
package egress
