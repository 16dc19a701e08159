package sessionbackend

import (
	"net/netip"
	"time"
)

// clients counts the backends that each client has started in this minute.
type clients struct {
	limit  int // negative: none
	began  time.Time
	starts map[netip.Prefix]int
}

// allow counts a start, or returns a *ClientError.
func (c *clients) allow(service, client string) error {
	err := c.check(service, client)
	if network, ok := c.counted(client); ok && err == nil {
		c.starts[network]++
	}
	return err
}

// refund takes a start back that did not take place.
func (c *clients) refund(client string) {
	if network, ok := c.counted(client); ok && c.starts[network] > 0 {
		c.starts[network]--
	}
}

// counted returns what a client counts as; false: it is not counted.
func (c *clients) counted(client string) (netip.Prefix, bool) {
	address, err := netip.ParseAddr(client)
	if c.limit < 0 || err != nil {
		return netip.Prefix{}, false
	}
	return networkOf(address), true
}

// check returns a *ClientError for a client that has started as many as it may.
func (c *clients) check(service, client string) error {
	network, ok := c.counted(client)
	if !ok {
		return nil
	}
	now := time.Now()
	if now.Sub(c.began) >= time.Minute || c.starts == nil {
		c.began, c.starts = now, make(map[netip.Prefix]int)
	}
	if c.starts[network] >= c.limit {
		return &ClientError{Service: service, ClientStarts: c.limit, After: time.Minute - now.Sub(c.began)}
	}
	return nil
}

// networkOf is what counts as one client: an address, or of IPv6 the /64 that
// one customer has at least.
func networkOf(client netip.Addr) netip.Prefix {
	client = client.Unmap().WithZone("")
	bits := client.BitLen()
	if client.Is6() {
		bits = 64
	}
	prefix, _ := client.Prefix(bits) // fails for an invalid address only
	return prefix
}
