package webtask

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

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
	name   string
	period time.Duration
	limit  func(*RateWindows) *int
}{
	{"s", "second", time.Second, func(w *RateWindows) *int { return &w.Second }},
	{"m", "minute", time.Minute, func(w *RateWindows) *int { return &w.Minute }},
	{"h", "hour", time.Hour, func(w *RateWindows) *int { return &w.Hour }},
	{"d", "day", 24 * time.Hour, func(w *RateWindows) *int { return &w.Day }},
	{"w", "week", 7 * 24 * time.Hour, func(w *RateWindows) *int { return &w.Week }},
	{"o", "month", 30 * 24 * time.Hour, func(w *RateWindows) *int { return &w.Month }},
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

// Set sets the limit of one window, written like 100/minute. The error is a
// *FieldError without a Field.
func (w *RateWindows) Set(text string) error {
	count, name, _ := strings.Cut(text, "/")
	n, err := strconv.Atoi(count)
	wrong := &FieldError{
		Problem: quote(text) + " is no rate",
		Remedy:  "write a whole number of requests, a slash and one of second, minute, hour, day, week, month: 100/minute",
	}
	if err != nil || n < 1 || n > math.MaxInt32 {
		return wrong
	}
	for _, window := range rateWindows {
		if window.name != name {
			continue
		}
		limit := window.limit(w)
		if *limit != 0 {
			return &FieldError{Problem: fmt.Sprintf("the requests per %s are given twice", name), Remedy: "give them once"}
		}
		*limit = n
		return nil
	}
	return wrong
}
