package sessionstore

import (
	"fmt"
	"time"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// rateWindow is the window of a webtask.RateWindow that now falls into: windows
// start at multiples of their period since the Unix epoch.
type rateWindow struct {
	webtask.RateWindow
	number int64         // of the window since the epoch
	left   time.Duration // until its end
}

// rateWindows returns the windows that now falls into. Those without a limit
// are left out.
func rateWindows(now time.Time, windows []webtask.RateWindow) ([]rateWindow, error) {
	current := make([]rateWindow, 0, len(windows))
	for _, w := range windows {
		if w.Limit <= 0 {
			continue
		}
		if w.Period < time.Millisecond {
			return nil, fmt.Errorf("rate window %q: its period is %v; it must be at least 1ms", w.Key, w.Period)
		}
		at := now.UnixNano()
		number := at / int64(w.Period)
		current = append(current, rateWindow{w, number, time.Duration((number+1)*int64(w.Period) - at)})
	}
	return current, nil
}
