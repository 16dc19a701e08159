package source_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/webtask-edge/caddy-webtask/jsruntime/source"
	"github.com/webtask-edge/caddy-webtask/jsruntime/worker/bundler"
)

// The thread that starts processes lives as long as the program.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(bothModes{m}, goleak.IgnoreAnyFunction("github.com/webtask-edge/caddy-webtask/jsruntime/worker/process.(*forker).live"))
}

// bothModes runs all tests twice: bundling in this process, and in processes
// that are thrown away. Nobody shall be able to tell which.
type bothModes struct{ tests *testing.M }

func (b bothModes) Run() int {
	if code := b.tests.Run(); code != 0 {
		return code
	}
	fmt.Println("again, with a process for each bundle")
	pool, err := bundler.New(bundler.Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer pool.Close()
	source.SetBundler(pool)
	return b.tests.Run()
}
