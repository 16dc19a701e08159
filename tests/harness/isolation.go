package harness

import (
	"fmt"
	"os"
	"testing"
)

// Values of the option isolation.
const (
	IsolationNone    = "none"
	IsolationProcess = "process"
)

// isolation is what `isolation none` of a Config's Caddyfile is replaced by.
var isolation = IsolationNone

// Isolation returns in which mode servers run.
func Isolation() string { return isolation }

// RunIsolated runs the tests of a package in every mode of isolation, and
// returns what TestMain exits with. ISOLATION limits it to one mode.
func RunIsolated(m *testing.M) (code int) {
	for _, mode := range []string{IsolationNone, IsolationProcess} {
		if only := os.Getenv("ISOLATION"); only != "" && only != mode {
			continue
		}
		isolation = mode
		if failed := m.Run(); failed != 0 {
			fmt.Printf("with isolation %s\n", mode)
			code = failed
		}
	}
	return code
}
