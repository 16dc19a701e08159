package jsruntime

import (
	"fmt"
	"strings"

	"github.com/dop251/goja"
)

// Fixed texts of errors, as existing clients know them (webtask API).
var summaries = map[ErrorKind]string{
	KindLoad:     "Compilation failed:",
	KindSync:     "Script generated an unhandled synchronous exception.",
	KindAsync:    "Script generated an unhandled asynchronous exception.",
	KindCallback: "Script returned an error.",
	KindResult:   "Error when JSON serializing the result of the JavaScript code.",
}

// maxDetail bounds what of a thrown value is kept.
const maxDetail = 8 << 10

// throwKind is the kind of an exception that nothing caught.
func (iso *Isolate) throwKind() ErrorKind {
	switch {
	case iso.live.request == nil:
		return KindLoad
	case iso.live.calling:
		return KindSync
	default:
		return KindAsync
	}
}

// thrown makes a ScriptError of a value that a script threw, rejected with or
// called back. Reading it may run more of the script, which may throw: what
// cannot be read is left out. exception, if known, has the stack of a value
// that is no Error.
func (iso *Isolate) thrown(value goja.Value, exception *goja.Exception, kind ErrorKind) *ScriptError {
	failure := &ScriptError{Kind: kind, Status: statusThrow, Summary: summaries[kind]}
	if kind == KindLoad || kind == KindCallback {
		failure.Status = statusBadCode
	}
	object, isObject := value.(*goja.Object)
	if !isObject {
		failure.Message = clip(iso.text(value))
		failure.Details = failure.Message
		iso.setTrace(failure, exception)
		return failure
	}
	failure.Name = clip(iso.property(object, "name"))
	failure.Message = clip(iso.property(object, "message"))
	failure.cause = iso.causeOf(object, 0)
	stack := iso.property(object, "stack")
	if stack == "" {
		iso.setTrace(failure, exception)
		failure.Details = iso.plain(object)
		return failure
	}
	iso.setStack(failure, stack)
	failure.Details = strings.TrimPrefix(fmt.Sprintf("%s: %s", failure.Name, failure.Message), ": ")
	return failure
}

// setTrace sets the stack of a value that has none. Its text begins with that
// of the value, which may be unreadable.
func (iso *Isolate) setTrace(failure *ScriptError, exception *goja.Exception) {
	if exception == nil {
		return
	}
	_ = iso.runtime.Try(func() { iso.setStack(failure, exception.String()) })
}

func (iso *Isolate) setStack(failure *ScriptError, stack string) {
	sources := iso.spec.Program.sources
	if at, ok := sources.locate(stack); ok {
		failure.Frame = sources.frame(at)
	}
	failure.Stack = clip(cleanStack(stack))
}

// property reads a property as text; empty when it is absent, no string or
// throws.
func (iso *Isolate) property(object *goja.Object, name string) (text string) {
	_ = iso.runtime.Try(func() {
		if v := object.Get(name); v != nil && goja.IsString(v) {
			text = v.String()
		}
	})
	return text
}

// text is String(value), or nothing when that throws.
func (iso *Isolate) text(value goja.Value) (text string) {
	_ = iso.runtime.Try(func() {
		if value != nil {
			text = value.String()
		}
	})
	return text
}

// plain is the JSON text of a thrown object, or nothing.
func (iso *Isolate) plain(object *goja.Object) (details any) {
	_ = iso.runtime.Try(func() {
		if text, ok := iso.StringifyJSON(object); ok && len(text) <= maxDetail {
			details = JSONText(text)
		}
	})
	return details
}

// statusOf reads the HTTP status that an error asks for; 0: none.
func (iso *Isolate) statusOf(object *goja.Object) (status int) {
	_ = iso.runtime.Try(func() {
		if v := object.Get("statusCode"); v != nil && goja.IsNumber(v) {
			if n := v.ToInteger(); n >= 400 && n <= 599 {
				status = int(n)
			}
		}
	})
	return status
}

// causeOf finds the Go error behind an error, or behind its cause.
func (iso *Isolate) causeOf(object *goja.Object, depth int) (cause error) {
	if err, ok := iso.live.causes.get(object); ok {
		return err
	}
	if depth == 4 || len(iso.live.causes.entries) == 0 {
		return nil
	}
	_ = iso.runtime.Try(func() {
		if inner, ok := object.Get("cause").(*goja.Object); ok {
			cause = iso.causeOf(inner, depth+1)
		}
	})
	return cause
}

// overflowError is the error of a stack overflow, which scripts cannot catch.
func (iso *Isolate) overflowError(err *goja.StackOverflowError) *ScriptError {
	kind := iso.throwKind()
	failure := &ScriptError{
		Kind:    kind,
		Status:  statusThrow,
		Summary: summaries[kind],
		Name:    "RangeError",
		Message: "Maximum call stack size exceeded",
		Details: "RangeError: Maximum call stack size exceeded",
	}
	if kind == KindLoad {
		failure.Status = statusBadCode
	}
	iso.setStack(failure, err.String())
	return failure
}

func noAnswer(message string) *ScriptError {
	return &ScriptError{
		Kind:    KindNoAnswer,
		Status:  statusTimeout,
		Summary: "Script will never answer:",
		Message: message,
		Details: message,
	}
}

func clip(text string) string {
	if len(text) > maxDetail {
		return strings.ToValidUTF8(text[:maxDetail], "") + "…"
	}
	return text
}

// NewTypeError makes a TypeError; panic with it to throw.
func (iso *Isolate) NewTypeError(format string, args ...any) *goja.Object {
	return iso.runtime.NewTypeError("%s", fmt.Sprintf(format, args...))
}

// NewRangeError makes a RangeError; panic with it to throw.
func (iso *Isolate) NewRangeError(format string, args ...any) *goja.Object {
	return iso.construct(iso.natives.rangeError, fmt.Sprintf(format, args...))
}

// NewError makes an Error named name that remembers cause, so that errors.Is
// finds it in what Do returns when the script lets it through. cause may be
// nil; its text is not shown to scripts.
func (iso *Isolate) NewError(name string, cause error, format string, args ...any) *goja.Object {
	object := iso.construct(iso.natives.plainError, fmt.Sprintf(format, args...))
	if name != "Error" {
		_ = object.DefineDataProperty("name", iso.runtime.ToValue(name), goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_FALSE)
	}
	if cause != nil && iso.live.request != nil {
		iso.live.causes.put(object, cause)
	}
	return object
}

// construct makes an error of one of the language's own constructors, which
// only fail when a script broke what they inherit from.
func (iso *Isolate) construct(constructor *goja.Object, message string) *goja.Object {
	object, err := iso.runtime.New(constructor, iso.runtime.ToValue(message))
	if err != nil {
		return iso.runtime.NewTypeError("%s", message)
	}
	return object
}
