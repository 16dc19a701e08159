package webtask

import "time"

// RateLimits are requests per window (claims ls lm lh ld lw lo for the
// container, lts ltm lth ltd ltw lto for the token). Zero: unlimited.
type RateLimits struct {
	Container, Token RateWindows
}

// RateWindows counts requests per second, minute, hour, day, week and month
// (of 30 days).
type RateWindows struct {
	Second, Minute, Hour, Day, Week, Month int
}

// RateWindow is one rate limit to count against: at most Limit requests of Key
// per Period, in fixed windows that start at multiples of Period (UTC).
type RateWindow struct {
	Key    string
	Period time.Duration
	Limit  int
}

// rateWindows is the one table of windows, in the order of their claims.
var rateWindows = []struct {
	suffix string
	period time.Duration
	limit  func(*RateWindows) *int
}{
	{"s", time.Second, func(w *RateWindows) *int { return &w.Second }},
	{"m", time.Minute, func(w *RateWindows) *int { return &w.Minute }},
	{"h", time.Hour, func(w *RateWindows) *int { return &w.Hour }},
	{"d", 24 * time.Hour, func(w *RateWindows) *int { return &w.Day }},
	{"w", 7 * 24 * time.Hour, func(w *RateWindows) *int { return &w.Week }},
	{"o", 30 * 24 * time.Hour, func(w *RateWindows) *int { return &w.Month }},
}

// Windows returns the windows to count a request of the token id, in its
// container, against; nil if it has no rate limit.
func (r *RateLimits) Windows(container, id string) []RateWindow {
	if *r == (RateLimits{}) {
		return nil
	}
	// The suffix keeps windows of one subject apart; a container's name has no
	// slash, so no name can reach into another's.
	windows := appendWindows(nil, &r.Container, "container/"+container+"/")
	return appendWindows(windows, &r.Token, "token/"+id+"/")
}

func appendWindows(windows []RateWindow, limits *RateWindows, key string) []RateWindow {
	for _, w := range rateWindows {
		if n := *w.limit(limits); n != 0 {
			windows = append(windows, RateWindow{Key: key + w.suffix, Period: w.period, Limit: n})
		}
	}
	return windows
}
