// Package ports gives out TCP ports of 127.0.0.1 for session backends.
package ports

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
)

// The range is below the one from which systems take ports for outgoing
// connections. Its ports are used in turn, so that whoever still knows the port
// of a backend that is gone does not find another there.
const (
	firstPort = 20_000
	numPorts  = 10_000
)

// Ports gives out TCP ports. The zero value is ready for use, by one at a time.
type Ports struct {
	next int
	used map[int]bool
}

var errNoPort = errors.New("no TCP port between 20000 and 29999 is free")

// Take returns a port that nobody listens at.
func (p *Ports) Take() (int, error) {
	if p.used == nil {
		p.used, p.next = make(map[int]bool), rand.IntN(numPorts) //nolint:gosec // to be apart from others, not secret
	}
	for range numPorts {
		port := firstPort + p.next
		p.next = (p.next + 1) % numPorts
		if !p.used[port] && isFree(port) {
			p.used[port] = true
			return port, nil
		}
	}
	return 0, errNoPort
}

// Release takes a port back.
func (p *Ports) Release(port int) { delete(p.used, port) }

// isFree reports whether nobody listens at a port.
func isFree(port int) bool {
	listener, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	_ = listener.Close() // nobody came
	return true
}
