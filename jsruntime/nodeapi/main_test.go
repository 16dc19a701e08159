package nodeapi_test

import (
	"testing"

	"go.uber.org/goleak"
)

// TestMain checks that no goroutine of the platform outlives its request.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
