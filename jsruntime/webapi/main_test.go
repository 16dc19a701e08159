package webapi_test

import (
	"testing"

	"go.uber.org/goleak"
)

// TestMain checks that no goroutine of the platform outlives its request. The
// clock of regexp2 is the process's and ends by itself.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/dlclark/regexp2/v2.runClock"))
}
