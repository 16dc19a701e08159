package harness

import (
	"os"
	"testing"
	"time"
)

// Length is the duration that the environment variable name holds, as
// time.ParseDuration reads it, or what `make test` has time for.
func Length(t testing.TB, name string, usual time.Duration) time.Duration {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return usual
	}
	length, err := time.ParseDuration(text)
	if err != nil || length <= 0 {
		t.Fatalf("%s is %q, want a duration such as 30m", name, text)
	}
	return length
}
