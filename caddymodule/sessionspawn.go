package caddymodule

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// BackendProgram may be implemented by a BackendDriver that can say what it runs.
type BackendProgram interface {
	// Program returns the names, as a configuration writes them, of the program or
	// image that all backends run. Callers of `session_api` may name it, and no other.
	Program() []string
}

// variableName is what a variable of the environment may be called.
var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// ownVariables are set by drivers, or say which code runs.
var ownVariables = []string{"PATH", "HOME", "PORT", "SOCKET", "NOTIFY_SOCKET", "NODE_OPTIONS"}

// ownVariablePrefixes begin others of that kind.
var ownVariablePrefixes = []string{"LD_", "SESSION_"}

// checkAllowEnv reports what is wrong with the option allow_env.
func checkAllowEnv(names []string) error {
	for _, name := range names {
		switch {
		case !variableName.MatchString(name):
			return fmt.Errorf("allow_env: %q is no name of a variable; write letters, digits and _", name)
		case slices.Contains(ownVariables, name) || slices.ContainsFunc(ownVariablePrefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) }):
			return fmt.Errorf("allow_env: %s is set by the driver, or decides which code runs; leave it out", name)
		}
	}
	return nil
}
