package webapi

import "github.com/dop251/goja"

// SignalCounts returns how many an AbortSignal would tell of its abort: signals
// that follow it, and work of the platform.
func SignalCounts(v goja.Value) (dependents, algorithms int) {
	s, _ := stateOf[*abortSignal](v)
	return len(s.dependents), len(s.algorithms)
}
