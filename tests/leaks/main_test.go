package leaks

import (
	"os"
	"testing"

	"github.com/webtask-edge/caddy-webtask/tests/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.RunIsolated(m)) }
