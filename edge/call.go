package edge

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"unicode"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
)

// call is one request being served: the Host that its script reaches the world
// through. What the script may do follows from the call alone; a script cannot
// name another. Everything that ends with the request says so by the context
// that the runtime passes in.
type call struct {
	edge    *Edge
	plan    *plan
	request jsruntime.Request
	header  http.Header // as the request came; the script sees request.Header
	body    *clientBody // nil: none
	loop    []string    // what its fetches carry on of headerLoop
	secure  bool
	foreign bool
	session session
	head    [6]string // values of the answer's headers, see keep
	kept    int       // how many of head are taken

	subrequests atomic.Int64
	logged      atomic.Int64 // bytes of console output
}

var (
	_ jsruntime.Host             = (*call)(nil)
	_ jsruntime.SessionNamer     = (*call)(nil)
	_ jsruntime.SessionCommitter = (*call)(nil)
)

// lineCost is what a line of the console counts besides its text: it takes that
// and more of the log, whatever is in it.
const lineCost = 100

// Log implements jsruntime.Host.
func (c *call) Log(entry jsruntime.LogEntry) {
	logger := c.edge.opts.Console
	checked := logger.Check(zapLevel(entry.Level), entry.Message)
	if checked == nil {
		return
	}
	size := int64(lineCost + len(entry.Message) + len(entry.Stack))
	if limit := c.plan.task.Limits.LogBytes; limit > 0 {
		after := c.logged.Add(size)
		if after > limit {
			if after-size <= limit {
				logger.Warn("console output exceeds log_bytes; the rest of this request's is dropped", c.logFields()...)
			}
			return
		}
	}
	checked.Message = printable(entry.Message)
	if !entry.Time.IsZero() {
		checked.Time = entry.Time
	}
	fields := c.logFields()
	if entry.Stack != "" {
		fields = append(fields, zap.String("stack", printable(entry.Stack)))
	}
	checked.Write(fields...)
}

// printable writes control characters as escapes, line breaks and tabs aside: a
// log may go to a terminal, and a script must not command that.
func printable(message string) string {
	if strings.IndexFunc(message, isCommand) < 0 {
		return message
	}
	var text strings.Builder
	for _, r := range message {
		switch {
		case !isCommand(r):
			text.WriteRune(r)
		case r <= 0xff:
			fmt.Fprintf(&text, `\x%02x`, r)
		default:
			fmt.Fprintf(&text, `\u%04x`, r)
		}
	}
	return text.String()
}

// errorField is zap.Error for an error that a script may have worded.
func errorField(err error) zap.Field {
	if err == nil {
		return zap.Skip()
	}
	return zap.String("error", printable(err.Error()))
}

// isCommand reports control characters, and the two separators that break
// lines for some readers.
func isCommand(r rune) bool {
	return unicode.IsControl(r) && r != '\n' && r != '\t' || r == '\u2028' || r == '\u2029'
}

func zapLevel(level jsruntime.LogLevel) zapcore.Level {
	switch level {
	case jsruntime.LogDebug:
		return zapcore.DebugLevel
	case jsruntime.LogWarn:
		return zapcore.WarnLevel
	case jsruntime.LogError:
		return zapcore.ErrorLevel
	default:
		return zapcore.InfoLevel
	}
}

// logFields says which request of which task it is.
func (c *call) logFields() []zap.Field {
	fields := make([]zap.Field, 0, 7) // the caller adds one
	return append(taskFields(fields, c.plan.task), zap.String("request_id", c.request.ID))
}

// ended reports that the request is over, whatever ctx ended for.
func ended(ctx context.Context) error {
	if ctx.Err() != nil {
		return jsruntime.ErrRequestEnded
	}
	return nil
}
