package caddymodule

import (
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// ownListeners knows which sockets of this process serve no website, the
// administration endpoint above all, wherever it is configured to listen: a
// module cannot read that setting. No name and no range of `egress allow`
// opens them to scripts. It follows the configuration that started last.
var ownListeners listeners

type listeners struct {
	websites atomic.Pointer[map[uint16]bool] // ports of HTTP servers
}

// use notes the ports of the HTTP servers of a configuration; app may be nil.
func (l *listeners) use(app *caddyhttp.App) {
	ports := make(map[uint16]bool)
	if app != nil {
		ports[uint16(app.HTTPPort)], ports[uint16(app.HTTPSPort)] = true, true
		for _, server := range app.Servers {
			for _, listen := range server.Listen {
				// What does not parse, the HTTP app itself has refused.
				address, err := caddy.ParseNetworkAddress(listen)
				if err != nil || address.IsUnixNetwork() {
					continue
				}
				for port := address.StartPort; port <= address.EndPort; port++ {
					ports[uint16(port)] = true
				}
			}
		}
	}
	l.websites.Store(&ports)
}

// isPrivate reports whether this process listens on address, and not for
// websites.
func (l *listeners) isPrivate(address netip.AddrPort) bool {
	if ports := l.websites.Load(); ports != nil && (*ports)[address.Port()] {
		return false
	}
	port := strconv.Itoa(int(address.Port()))
	// The hosts that a listener which takes connections to the address may
	// have been configured with.
	hosts := []string{"", "0.0.0.0", "::", address.Addr().String()}
	if address.Addr().IsLoopback() {
		hosts = append(hosts, "localhost", "127.0.0.1", "::1")
	}
	for _, host := range hosts {
		for _, network := range []string{"tcp", "tcp4", "tcp6"} {
			if caddy.ListenerUsage(network, net.JoinHostPort(host, port)) > 0 {
				return true
			}
		}
	}
	return false
}
