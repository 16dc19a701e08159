// Package environ makes the environment of session backends.
package environ

import (
	"fmt"
	"slices"
	"strings"

	"github.com/webtask-edge/caddy-webtask/sessionbackend"
)

// Prefix begins names that no variable of a configuration may have.
const Prefix = "SESSION_"

// Check reports what is wrong with a variable of a configuration. Own are names
// that a driver sets itself, besides those with Prefix.
func Check(name, value string, own ...string) error {
	switch {
	case name == "" || strings.Contains(name, "=") || HasNUL(name):
		return fmt.Errorf("env: %q is no name of a variable", name)
	case HasNUL(value):
		return fmt.Errorf("env %s: the value has a NUL byte in it", name)
	case strings.HasPrefix(name, Prefix) || slices.Contains(own, name):
		return fmt.Errorf("env %s: is set for each backend; leave it out", name)
	}
	return nil
}

// HasNUL reports whether a text has a NUL byte in it, which neither arguments nor
// variables can have.
func HasNUL(text string) bool { return strings.IndexByte(text, 0) >= 0 }

// About returns the variables that tell a backend who it is.
func About(identity sessionbackend.Identity) []string {
	return []string{
		Prefix + "BACKEND_ID=" + identity.ID,
		Prefix + "BACKEND_KEY=" + identity.Key,
		fmt.Sprintf("%sBACKEND_FENCING_TOKEN=%d", Prefix, identity.Fence),
	}
}
