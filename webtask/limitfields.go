package webtask

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	josejson "github.com/go-jose/go-jose/v4/json"
)

// LimitKind says how the value of a limit is written.
type LimitKind string

const (
	LimitDuration LimitKind = "duration" // "5s", "90m", "30d"
	LimitSize     LimitKind = "size"     // "64MiB", "10MB", or bytes: "65536"
	LimitCount    LimitKind = "count"    // "4"
)

// LimitField describes one limit by the name that the Caddyfile and the claim
// `lim` share.
type LimitField struct {
	Name string
	Kind LimitKind

	duration func(*Limits) *time.Duration
	size     func(*Limits) *int64
	count    func(*Limits) *int
}

// limitFields is the one table of limits, in the order documents list them.
var limitFields = []LimitField{
	durationLimit("timeout", func(l *Limits) *time.Duration { return &l.Timeout }),
	durationLimit("stream_timeout", func(l *Limits) *time.Duration { return &l.StreamTimeout }),
	durationLimit("wait_until", func(l *Limits) *time.Duration { return &l.WaitUntil }),
	durationLimit("cpu_time", func(l *Limits) *time.Duration { return &l.CPUTime }),
	sizeLimit("memory", func(l *Limits) *int64 { return &l.Memory }),
	countLimit("isolates", func(l *Limits) *int { return &l.Isolates }),
	sizeLimit("request_body", func(l *Limits) *int64 { return &l.RequestBody }),
	sizeLimit("response_body", func(l *Limits) *int64 { return &l.ResponseBody }),
	sizeLimit("code_size", func(l *Limits) *int64 { return &l.CodeSize }),
	durationLimit("session_ttl", func(l *Limits) *time.Duration { return &l.SessionTTL }),
	sizeLimit("session_size", func(l *Limits) *int64 { return &l.SessionSize }),
	countLimit("sessions", func(l *Limits) *int { return &l.Sessions }),
	countLimit("subrequests", func(l *Limits) *int { return &l.Subrequests }),
	countLimit("fetch_rate", func(l *Limits) *int { return &l.FetchRate }),
	sizeLimit("fetch_bytes", func(l *Limits) *int64 { return &l.FetchBytes }),
	countLimit("timers", func(l *Limits) *int { return &l.Timers }),
	sizeLimit("log_bytes", func(l *Limits) *int64 { return &l.LogBytes }),
}

func durationLimit(name string, at func(*Limits) *time.Duration) LimitField {
	return LimitField{Name: name, Kind: LimitDuration, duration: at}
}

func sizeLimit(name string, at func(*Limits) *int64) LimitField {
	return LimitField{Name: name, Kind: LimitSize, size: at}
}

func countLimit(name string, at func(*Limits) *int) LimitField {
	return LimitField{Name: name, Kind: LimitCount, count: at}
}

// LimitFields returns every limit, in the order documents list them.
func LimitFields() []LimitField { return slices.Clone(limitFields) }

// LimitNames returns the names of all limits, in the same order.
func LimitNames() []string {
	names := make([]string, len(limitFields))
	for i, f := range limitFields {
		names[i] = f.Name
	}
	return names
}

// Set sets the limit called name from its text, written as in the Caddyfile:
// a duration with a unit (time.ParseDuration's, or whole days: "30d"), a size
// ("64MiB", "10MB", "65536") or a count. All are positive. The error is a
// *FieldError.
func (l *Limits) Set(name, value string) error {
	f, ok := findLimit(name)
	if !ok {
		return unknownLimit(name)
	}
	if err := f.set(l, value); err != nil {
		return err
	}
	return nil
}

// Get returns the limit called name as Set takes it; empty if it is unset or
// there is none of that name.
func (l Limits) Get(name string) string {
	if f, ok := findLimit(name); ok {
		return f.get(&l)
	}
	return ""
}

func findLimit(name string) (LimitField, bool) {
	i := slices.IndexFunc(limitFields, func(f LimitField) bool { return f.Name == name })
	if i < 0 {
		return LimitField{}, false
	}
	return limitFields[i], true
}

func unknownLimit(name string) *FieldError {
	return &FieldError{
		Field:   name,
		Problem: "is no limit",
		Remedy:  "the limits are " + strings.Join(LimitNames(), ", "),
	}
}

func (f LimitField) set(l *Limits, value string) *FieldError {
	switch f.Kind {
	case LimitDuration:
		d, err := parseDuration(value)
		if err != nil || d <= 0 {
			return &FieldError{f.Name, quote(value) + " is not a positive duration", `write one with a unit, like "5s", "10m" or "30d"`, nil}
		}
		*f.duration(l) = d
	case LimitSize:
		// ParseBytes would read "1,024" as 1024 and "1e3" not at all: only
		// digits with one point and a unit are a size here.
		n, err := humanize.ParseBytes(value)
		if err != nil || n == 0 || n > math.MaxInt64 || strings.ContainsAny(value, ",+") {
			return &FieldError{f.Name, quote(value) + " is not a positive size", `write bytes or a unit, like "64MiB"`, nil}
		}
		*f.size(l) = int64(n)
	case LimitCount:
		n, err := strconv.ParseInt(value, 10, 32)
		if err != nil || n <= 0 {
			return &FieldError{f.Name, quote(value) + " is not a positive whole number", "write one, like 4", nil}
		}
		*f.count(l) = int(n)
	}
	return nil
}

func (f LimitField) get(l *Limits) string {
	switch f.Kind {
	case LimitDuration:
		if d := *f.duration(l); d != 0 {
			return d.String()
		}
	case LimitSize:
		if n := *f.size(l); n != 0 {
			return formatSize(n)
		}
	case LimitCount:
		if n := *f.count(l); n != 0 {
			return strconv.Itoa(n)
		}
	}
	return ""
}

// value returns the limit as a number, to compare two of them.
func (f LimitField) value(l *Limits) int64 {
	switch f.Kind {
	case LimitDuration:
		return int64(*f.duration(l))
	case LimitSize:
		return *f.size(l)
	default:
		return int64(*f.count(l))
	}
}

// parseDuration is time.ParseDuration, and whole days besides.
func parseDuration(s string) (time.Duration, error) {
	days, isDays := strings.CutSuffix(s, "d")
	if !isDays {
		return time.ParseDuration(s)
	}
	n, err := strconv.ParseUint(days, 10, 32)
	if err != nil || n > math.MaxInt64/uint64(24*time.Hour) {
		return 0, fmt.Errorf("%q is not a number of days", s)
	}
	return time.Duration(n) * 24 * time.Hour, nil
}

// formatSize writes n exactly, in the largest binary unit that divides it.
// humanize's own formatter rounds, which a signed limit must not.
func formatSize(n int64) string {
	units := []string{"", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for n%1024 == 0 && i < len(units)-1 {
		n /= 1024
		i++
	}
	return strconv.FormatInt(n, 10) + units[i]
}

// MarshalJSON writes the limits that are set as the claim `lim` holds them:
// {"timeout":"5s","memory":"64MiB","isolates":4}.
func (l Limits) MarshalJSON() ([]byte, error) {
	out := []byte{'{'}
	for _, f := range limitFields {
		text := f.get(&l)
		if text == "" {
			continue
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(strconv.AppendQuote(out, f.Name), ':')
		if f.Kind == LimitCount {
			out = append(out, text...)
		} else {
			out = strconv.AppendQuote(out, text)
		}
	}
	return append(out, '}'), nil
}

// UnmarshalJSON reads what MarshalJSON writes. A size may be a number of
// bytes and a count a numeric string; a duration needs its unit. Unknown and
// repeated names are errors (*FieldError).
func (l *Limits) UnmarshalJSON(data []byte) error {
	var members map[string]json.RawMessage
	if err := josejson.Unmarshal(data, &members); err != nil || members == nil {
		return &FieldError{
			Field:   "limits",
			Problem: "are not an object with each limit once",
			Remedy:  `write them like {"timeout":"5s","memory":"64MiB","isolates":4}`,
		}
	}
	var read Limits
	for _, name := range sortedKeys(members) {
		f, ok := findLimit(name)
		if !ok {
			return unknownLimit(name)
		}
		text, ok := scalarText(members[name])
		isNumber := ok && !bytes.HasPrefix(members[name], []byte(`"`))
		if !ok || (f.Kind == LimitDuration && isNumber) {
			return &FieldError{
				Field:   name,
				Problem: "is not written as a " + string(f.Kind),
				Remedy:  map[LimitKind]string{LimitDuration: `write a string with a unit, like "5s"`, LimitSize: `write a string like "64MiB"`, LimitCount: "write a whole number"}[f.Kind],
			}
		}
		if err := f.set(&read, text); err != nil {
			return err
		}
	}
	*l = read
	return nil
}
