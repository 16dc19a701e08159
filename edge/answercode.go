package edge

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"path"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/webtask-edge/caddy-webtask/egress"
	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/jsruntime/source"
)

// answerCode answers what package source reports about code that cannot be
// had, may not be run, or is no JavaScript.
func answerCode(err error) *Answer {
	var (
		compile   *source.CompileError
		fetch     *source.FetchError
		integrity *source.IntegrityError
		allowed   *source.NotAllowedError
		large     *source.TooLargeError
		busy      *source.BusyError
	)
	a := &Answer{Source: SourceProxy, Outcome: OutcomeCodeFailed}
	switch {
	case errors.As(err, &compile):
		a.Status, a.Source = http.StatusBadRequest, SourceCompiler
		a.Kind = compile.Message
		a.Message = "Compilation failed: " + place(compile) + compile.Message
	case errors.As(err, &integrity):
		a.Status = http.StatusBadGateway
		a.Message = "The webtask's code is not the code that its integrity pins. Restore the code, or pin the new code: in the token, or in the option integrity of the route."
	case errors.As(err, &allowed):
		a.Status = http.StatusForbidden
		a.Message = "The webtask's code may not come from there: " + allowed.Reason
	case errors.As(err, &large):
		a.Status, a.Outcome = http.StatusRequestEntityTooLarge, OutcomeLimit
		a.Message = fmt.Sprintf("The webtask's code is larger than %d bytes. Make it smaller, or raise the limit `code_size`.", large.Limit)
	case errors.As(err, &busy):
		a.Status, a.RetryAfter, a.Outcome = http.StatusServiceUnavailable, time.Second, OutcomeOverload
		a.Message = "The edge is busy making other code ready. Try again."
	case errors.As(err, &fetch):
		a.Status = http.StatusBadGateway
		a.Message = "The webtask's code cannot be loaded: " + unreachable(fetch)
	case errors.Is(err, source.ErrClosed):
		a.Status, a.RetryAfter, a.Outcome = http.StatusServiceUnavailable, time.Second, OutcomeOverload
		a.Message = "The edge is shutting down. Try again."
	default:
		return nil
	}
	return a
}

// place says where in the author's code an error is. The folder of a file is
// the operator's business.
func place(e *source.CompileError) string {
	file, _, _ := strings.Cut(e.File, "?")
	if strings.HasPrefix(file, "/") || strings.Contains(file, "://") {
		file = path.Base(file)
	}
	if e.Line == 0 {
		return file + ": "
	}
	return fmt.Sprintf("%s:%d:%d: ", file, e.Line, e.Column)
}

// unreachable words why code could not be had, without the addresses and paths
// that its cause may name.
func unreachable(e *source.FetchError) string {
	var (
		denied *egress.DeniedError
		dns    *net.DNSError
	)
	switch {
	case !strings.Contains(e.URL, "://"):
		return "its file cannot be read."
	case e.Status != 0:
		return fmt.Sprintf("its origin answered %d.", e.Status)
	case errors.Is(e.Err, source.ErrRedirects):
		return "its origin redirects too often."
	case errors.As(e.Err, &denied):
		return denied.Error() + "."
	case errors.As(e.Err, &dns):
		return "the name of its origin cannot be resolved."
	default:
		return "its origin cannot be reached."
	}
}

// whereFields are the log fields that say where in the author's code an error
// is: what the caller is not told.
func whereFields(err error) []zap.Field {
	var (
		script  *jsruntime.ScriptError
		compile *source.CompileError
		fields  []zap.Field
	)
	add := func(name, value string) {
		if value != "" {
			fields = append(fields, zap.String(name, printable(value)))
		}
	}
	switch {
	case errors.As(err, &script):
		add("stack", script.Stack)
		add("frame", script.Frame)
	case errors.As(err, &compile):
		add("frame", compile.Frame)
	}
	return fields
}
