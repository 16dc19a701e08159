package webtask

import "time"

// Limits bound what one request, or the isolates of one container, may take.
// A zero field is unset. In a token they are the claim `lim`, written as in
// the Caddyfile: {"timeout":"5s","memory":"64MiB","isolates":4}.
type Limits struct {
	Timeout       time.Duration // to the response's headers
	StreamTimeout time.Duration // from the headers to the end of the body
	WaitUntil     time.Duration // of promises given to ctx.waitUntil, after the response
	CPUTime       time.Duration // of one turn of the event loop, and of loading
	Memory        int64         // bytes, of a worker above its baseline
	Isolates      int           // per container
	RequestBody   int64         // bytes a script may read
	ResponseBody  int64         // bytes a script may make
	CodeSize      int64         // bytes of fetched code
	SessionTTL    time.Duration //
	SessionSize   int64         // bytes of one session's keys and values
	Sessions      int           // per container
	Subrequests   int           // fetch() calls of one request
	FetchRate     int           // fetch() calls per container and second
	FetchBytes    int64         // bytes of fetch() calls, per container and second
	Timers        int           // pending timers of one request
	LogBytes      int64         // console output of one request
}

// Narrow returns the smaller of each field of l and m, where an unset field
// never wins: what both allow.
func (l Limits) Narrow(m Limits) Limits {
	return Limits{
		Timeout:       narrower(l.Timeout, m.Timeout),
		StreamTimeout: narrower(l.StreamTimeout, m.StreamTimeout),
		WaitUntil:     narrower(l.WaitUntil, m.WaitUntil),
		CPUTime:       narrower(l.CPUTime, m.CPUTime),
		Memory:        narrower(l.Memory, m.Memory),
		Isolates:      narrower(l.Isolates, m.Isolates),
		RequestBody:   narrower(l.RequestBody, m.RequestBody),
		ResponseBody:  narrower(l.ResponseBody, m.ResponseBody),
		CodeSize:      narrower(l.CodeSize, m.CodeSize),
		SessionTTL:    narrower(l.SessionTTL, m.SessionTTL),
		SessionSize:   narrower(l.SessionSize, m.SessionSize),
		Sessions:      narrower(l.Sessions, m.Sessions),
		Subrequests:   narrower(l.Subrequests, m.Subrequests),
		FetchRate:     narrower(l.FetchRate, m.FetchRate),
		FetchBytes:    narrower(l.FetchBytes, m.FetchBytes),
		Timers:        narrower(l.Timers, m.Timers),
		LogBytes:      narrower(l.LogBytes, m.LogBytes),
	}
}

func narrower[T ~int | ~int64](a, b T) T {
	if a == 0 || (b != 0 && b < a) {
		return b
	}
	return a
}
