package egress

import (
	"errors"
	"fmt"
	"net/netip"
)

// ErrClosed is returned by a Transport after Close.
var ErrClosed = errors.New("egress transport is closed")

// DeniedError reports a destination that the policy does not allow. Its text
// may be shown to the author of a script: it says what a name resolves to, but
// not the address.
type DeniedError struct {
	Host   string     // host and port as they were asked for
	Addr   netip.Addr // what the host resolved to; invalid: denied before that
	Reason string     // why, ending in the remedy
}

func (e *DeniedError) Error() string {
	return fmt.Sprintf("egress to %s is not allowed: %s", e.Host, e.Reason)
}
