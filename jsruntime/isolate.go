package jsruntime

import (
	"context"
	"time"

	"github.com/dop251/goja"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// Isolate is one JavaScript runtime with its globals and a loaded program. It
// serves one request at a time. But for Post, and unless said otherwise, its
// methods are for its own goroutine: the one that runs the platform's functions
// and the tasks of the event loop.
type Isolate struct {
	// Web and Node are the platforms' own state of this isolate.
	Web, Node any

	runtime *goja.Runtime
	spec    *Spec
	request *Request
}

// Runtime returns the goja runtime.
func (iso *Isolate) Runtime() *goja.Runtime { return iso.runtime }

// Spec returns the Spec of the live request; during Install and loading, the
// one that the isolate is made for.
func (iso *Isolate) Spec() *Spec { return iso.spec }

// Limits returns Spec().Limits.
func (iso *Isolate) Limits() *webtask.Limits { return &iso.spec.Limits }

// Request returns the live request; nil while loading and between requests.
func (iso *Isolate) Request() *Request { return iso.request }

// Context returns the context of the live request. It ends with the request:
// with its response, or when the body was sent and waitUntil is done. Between
// requests it is an ended one.
func (iso *Isolate) Context() context.Context { return context.Background() }

// Async runs work on a goroutine of its own. Work must not touch the isolate
// or any of its values, and must return soon after ctx, the request's, ended.
// The function that it returns, if not nil, is run as one task of the event
// loop; it is dropped when the request ended meanwhile. Until then the loop
// waits: the request is not taken for one that never answers.
//
// Without a live request, Async throws into the script.
func (iso *Isolate) Async(work func(ctx context.Context) (finish func())) {}

// Post queues a task for the live request, from any goroutine. It does not keep
// the loop waiting. A task whose request ended is dropped, also when the
// isolate serves another one by then: poster binds it to the request that was
// live when it was made.
//
// An exception that a task throws (a goja panic), like that of a timer or of a
// finish function, is uncaught: it fails the request.
func (iso *Isolate) Poster() (post func(task func())) { return func(func()) {} }

// SetTimer calls f after d, again and again if repeat, and returns an id for
// ClearTimer, never 0. It throws a RangeError when the request has Limits.Timers
// pending timers, and an Error without a live request.
func (iso *Isolate) SetTimer(d time.Duration, repeat bool, f func()) int { return 1 }

// ClearTimer cancels a timer; an unknown id is ignored.
func (iso *Isolate) ClearTimer(id int) {}

// OnRequestEnd has f run once everything of the live request has ended, so that
// what it holds outside the isolate is freed: fetches aborted, bodies closed.
// It may run when the isolate was interrupted and must not run JavaScript.
// stop takes f back, for what was freed or handed on before: a body that
// becomes a PassThrough response outlives the isolate's part of the request.
func (iso *Isolate) OnRequestEnd(f func()) (stop func()) { return func() {} }

// Uncaught reports an error that a call of a goja.Callable outside any script
// returned: an exception fails the request (or is logged, when its response was
// returned already); an interrupt ends it. Nil is ignored.
func (iso *Isolate) Uncaught(err error) {}

// Track has the loop and the rejection tracker treat p as awaited by the
// platform: its rejection is not unhandled.
func (iso *Isolate) Track(p *goja.Promise) {}

// ParseJSON is JSON.parse, out of reach of scripts, with a bound on nesting
// (goja's own recursion has none). It throws a SyntaxError.
func (iso *Isolate) ParseJSON(text string) goja.Value { return goja.Undefined() }

// StringifyJSON is JSON.stringify, out of reach of scripts; ok is false for
// what has no JSON form. It throws what toJSON and getters throw.
func (iso *Isolate) StringifyJSON(v goja.Value) (text string, ok bool) { return "", false }

// NewTypeError makes a TypeError; panic with it to throw.
func (iso *Isolate) NewTypeError(format string, args ...any) *goja.Object {
	return iso.runtime.NewTypeError(append([]any{format}, args...)...)
}

// NewRangeError makes a RangeError; panic with it to throw.
func (iso *Isolate) NewRangeError(format string, args ...any) *goja.Object {
	return iso.NewTypeError(format, args...)
}

// NewError makes an Error named name that remembers cause, so that errors.Is
// finds it in what Do returns when the script lets it through. cause may be
// nil; its text is not shown to scripts.
func (iso *Isolate) NewError(name string, cause error, format string, args ...any) *goja.Object {
	return iso.NewTypeError(format, args...)
}

// Log passes one line to the Host of the live request; without one it is
// dropped. stack may be empty.
func (iso *Isolate) Log(level LogLevel, message, stack string) {}
