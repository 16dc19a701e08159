package caddymodule

import (
	"os"
	"runtime/debug"
	"sync"

	"go.uber.org/zap"
)

// webtaskGCPercent is GOGC for a process that runs isolates. Their heap is
// small and mostly long-lived, while requests make much short-lived garbage:
// at Go's default of 100 the collector runs hundreds of times a second to free
// little, which costs a tenth of the throughput.
const webtaskGCPercent = 400

var gcOnce sync.Once

// raiseGCPercent sets the collector's pace for the process, once, unless
// whoever runs it has chosen one (GOGC, GOMEMLIMIT).
func raiseGCPercent(logger *zap.Logger) {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	gcOnce.Do(func() {
		debug.SetGCPercent(webtaskGCPercent)
		logger.Debug("set the pace of the garbage collector; GOGC or GOMEMLIMIT override it", zap.Int("percent", webtaskGCPercent))
	})
}
