package jsruntime

import "github.com/dop251/goja"

// WebPlatform is what scripts see besides the language and the webtask API:
// the Web-standard globals. It is implemented by a guest (package webapi),
// which imports this package and not the other way round.
//
// All methods are called on the isolate's goroutine.
type WebPlatform interface {
	// Install defines globals on a new isolate. It is called once per isolate,
	// before any code of the author runs, so it must be lean in time and heap.
	Install(iso *Isolate) error

	// NewRequest returns the Request object of the Web model.
	NewRequest(iso *Isolate, req *Request) (goja.Value, error)

	// ReadResponse turns what a Web-model handler returned into a Response.
	// A value that is no Response is a *ScriptError that says so.
	//
	// Response.Body is read on the goroutine of who called Do; its Close may
	// come from any goroutine, must be idempotent and must end a Read that
	// waits. Unless it is PassThrough, the isolate stays with the request
	// until it ended. A PassThrough body must not depend on the isolate, nor
	// be closed by OnRequestEnd; the request's context lives as long as it.
	ReadResponse(iso *Isolate, v goja.Value) (*Response, error)
}

// Starving is implemented by a Response.Body that a script makes and that knows
// whether its reader waits for more than the script has given. The event loop
// breaks a starved body once nothing is pending: nothing would ever come. Such
// a body wakes the loop (Poster) when its reader begins to wait.
type Starving interface {
	Starved() bool
}

// NodePlatform is what the Node model needs (package nodeapi).
type NodePlatform interface {
	// Install defines what Node-style code expects on a new isolate.
	Install(iso *Isolate) error

	// NewExchange returns the (req, res) pair of the Node model. What the
	// handler writes to res reaches w: the head once, then the body. req.Body
	// is memory when the body was read beforehand, else it may block and is
	// to be read by Async.
	NewExchange(iso *Isolate, req *Request, w ResponseWriter) (reqObj, resObj goja.Value, err error)
}

// ResponseWriter takes a response piece by piece, on the isolate's goroutine.
type ResponseWriter interface {
	// WriteHead commits status and header. A second call is an error.
	WriteHead(status int, header map[string][]string) error
	// Write adds to the body. It never blocks; it reports whether the caller
	// should wait for drain (then called on the loop once there is room).
	Write(p []byte, drain func()) (more bool, err error)
	// End ends the body; the response is then complete.
	End() error
	// Fail ends the response with an error: an error answer when nothing was
	// committed, else a broken body.
	Fail(err error)
}
