package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"time"
)

// Resolver turns a host name into addresses, in the order in which they should
// be tried; network is "ip". *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

var defaultResolver Resolver = net.DefaultResolver

const (
	// attemptDelay is how long one address gets before the next is tried beside
	// it (RFC 8305, section 5: Connection Attempt Delay).
	attemptDelay = 250 * time.Millisecond

	// maxAddrs bounds the addresses of one name that are tried.
	maxAddrs = 16
)

// dial connects to host:port. The name is resolved once; each of its addresses
// is checked, and what was checked is what is dialled.
func (t *Transport) dial(ctx context.Context, network, hostport string) (net.Conn, error) {
	policy := t.policy
	if p, ok := ctx.Value(policyKey{}).(*Policy); ok {
		policy = p
	}
	host, portText, err := net.SplitHostPort(hostport)
	if err != nil {
		return nil, fmt.Errorf("egress: %w", err)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("egress: port %q: %w", portText, err)
	}
	d, err := parseDestination(host, uint16(port))
	if err != nil {
		return nil, err
	}

	ctx, cancel := context.WithTimeout(ctx, t.dialTimeout)
	defer cancel()
	addrs := []netip.Addr{d.addr}
	if d.name != "" {
		if addrs, err = t.resolve(ctx, d.name); err != nil {
			return nil, err
		}
	}
	var allowed []netip.Addr
	for _, addr := range addrs {
		if denied := policy.checkAddr(d, addr, t.forbidden); denied != nil {
			if err == nil {
				err = denied
			}
			continue
		}
		allowed = append(allowed, addr)
	}
	if len(allowed) == 0 {
		return nil, err
	}
	conn, err := t.connect(ctx, network, policy, d, interleave(allowed))
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", d, withoutAddress(err))
	}
	return conn, nil
}

func (t *Transport) resolve(ctx context.Context, name string) ([]netip.Addr, error) {
	addrs, err := t.resolver.LookupNetIP(ctx, "ip", name)
	if dns := (*net.DNSError)(nil); errors.As(err, &dns) {
		// The text of a DNSError names the resolver, which is nobody's business.
		scrubbed := *dns
		scrubbed.Server = ""
		scrubbed.UnwrapErr = nil
		return nil, &scrubbed
	}
	if err != nil {
		return nil, fmt.Errorf("resolving %s: %w", name, err)
	}
	if len(addrs) == 0 {
		return nil, &net.DNSError{Err: "no addresses", Name: name, IsNotFound: true}
	}
	return addrs[:min(len(addrs), maxAddrs)], nil
}

// interleave alternates the address families, beginning with the first
// address's own (RFC 8305, section 4), so that one broken family costs one
// attempt.
func interleave(addrs []netip.Addr) []netip.Addr {
	var first, second []netip.Addr
	for _, a := range addrs {
		if a.Is4() == addrs[0].Is4() {
			first = append(first, a)
		} else {
			second = append(second, a)
		}
	}
	ordered := make([]netip.Addr, 0, len(addrs))
	for i := range addrs {
		if i < len(first) {
			ordered = append(ordered, first[i])
		}
		if i < len(second) {
			ordered = append(ordered, second[i])
		}
	}
	return ordered
}

// connect races the addresses, each a little after the one before, and returns
// the first connection. The attempts that lost are cancelled and closed.
func (t *Transport) connect(ctx context.Context, network string, policy *Policy, d destination, addrs []netip.Addr) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	dialer := net.Dialer{
		KeepAlive: 15 * time.Second,
		// The second check sees the very socket address, whatever chose it.
		Control: func(_, address string, _ syscall.RawConn) error {
			ap, err := netip.ParseAddrPort(address)
			if err != nil {
				return fmt.Errorf("egress: address %q: %w", address, err)
			}
			if ap.Port() != d.port {
				return fmt.Errorf("egress: dialling port %d instead of %d", ap.Port(), d.port)
			}
			return policy.checkAddr(d, ap.Addr(), t.forbidden)
		},
	}
	type result struct {
		conn net.Conn
		err  error
	}
	results := make(chan result, len(addrs))
	delay := time.NewTimer(attemptDelay)
	defer delay.Stop()
	var firstErr error
	for started, ended := 0, 0; ; {
		next := started < len(addrs)
		if next && started == ended {
			// Nothing is under way: no reason to wait.
			delay.Reset(0)
		}
		if !next && ended == len(addrs) {
			return nil, firstErr
		}
		var due <-chan time.Time
		if next {
			due = delay.C
		}
		select {
		case <-due:
			address := netip.AddrPortFrom(addrs[started], d.port).String()
			started++
			go func() {
				conn, err := dialer.DialContext(ctx, network, address)
				results <- result{conn, err}
			}()
			delay.Reset(attemptDelay)
		case r := <-results:
			ended++
			if r.err == nil {
				if pending := started - ended; pending > 0 {
					go func() {
						for range pending {
							if late := <-results; late.err == nil {
								late.conn.Close()
							}
						}
					}()
				}
				return r.conn, nil
			}
			if firstErr == nil {
				firstErr = r.err
			}
		}
	}
}

// withoutAddress drops the address that net puts into its errors: what a
// private name resolves to is not for a script to read.
func withoutAddress(err error) error {
	if op := (*net.OpError)(nil); errors.As(err, &op) && op.Err != nil {
		return op.Err
	}
	return err
}
