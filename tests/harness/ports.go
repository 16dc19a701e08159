package harness

import (
	"math/rand/v2"
	"net"
	"strconv"
	"testing"
)

// Port returns a free port of the loopback interface. It lies below the range
// that the system gives to outgoing connections, so that none of those takes
// it between this test and the server's bind.
func Port(t testing.TB) int {
	t.Helper()
	const first, last, tries = 20000, 32000, 200
	for range tries {
		port := first + rand.IntN(last-first)
		if free("tcp4", "127.0.0.1", port) && free("tcp6", "::1", port) {
			return port
		}
	}
	t.Fatalf("no free port among %d tried between %d and %d", tries, first, last)
	return 0
}

func free(network, host string, port int) bool {
	ln, err := net.Listen(network, net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return ln.Close() == nil
}
