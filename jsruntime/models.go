package jsruntime

import (
	"context"
	"net/http"
	"reflect"
	"time"

	"github.com/dop251/goja"
)

// model is a shape of handler.
type model int32

const (
	modelUnknown  model = iota // the program was never loaded
	modelCallback              // (cb)
	modelContext               // (ctx, cb)
	modelNode                  // (ctx, req, res)
	modelWeb                   // fetch(request, env, ctx)
)

// handler is what a program exports.
type handler struct {
	model model
	call  goja.Callable
	this  goja.Value
}

// load runs the program and finds its handler. It is called once, in a turn,
// before the first request, which waits for that no longer than the context,
// its deadline and giveUp allow.
func (iso *Isolate) load(ctx context.Context, deadline, giveUp time.Time) error {
	l := &iso.live
	l.caller, l.deadline, l.giveUp = ctx, deadline, giveUp
	iso.enter(iso.runModule)
	if iso.alarm != nil {
		iso.alarm.Stop()
	}
	failure := l.failure
	iso.live = live{}
	return failure
}

func (iso *Isolate) runModule() {
	rt := iso.runtime
	wrapper, err := rt.RunProgram(iso.spec.Program.code)
	if err != nil {
		iso.Uncaught(err)
		return
	}
	call, _ := goja.AssertFunction(wrapper)
	module, exports := rt.NewObject(), rt.NewObject()
	define(module, "exports", exports)
	define(module, "webtask", iso.moduleWebtask())
	returned, err := call(exports, exports, iso.Function("require", iso.require), module)
	if err != nil {
		iso.Uncaught(err)
		return
	}
	iso.checkRejections()
	if iso.live.failure != nil {
		return
	}
	found, failure := iso.findHandler(module, returned)
	if failure != nil {
		iso.live.fatal(failure)
		return
	}
	iso.handler = found
}

// require answers that there is no module: imports were bundled, and what the
// platform offers beyond that is the Node platform's to say.
func (iso *Isolate) require(call goja.FunctionCall) goja.Value {
	missing := iso.NewError("Error", nil, "Cannot find module '%s'", call.Argument(0).String())
	define(missing, "code", iso.runtime.ToValue("MODULE_NOT_FOUND"))
	panic(missing)
}

// moduleWebtask is module.webtask: what the program may know before a request.
func (iso *Isolate) moduleWebtask() goja.Value {
	object := iso.runtime.NewObject()
	define(object, "meta", iso.stringMap(iso.spec.Meta))
	define(object, "params", iso.stringMap(iso.spec.Params))
	define(object, "secrets", iso.stringMap(iso.spec.Secrets))
	return object
}

// Texts of programs without a usable handler; existing clients know the first
// two.
const (
	errNoFunction = "Supplied code must return or export a function."
	errArity      = "The JavaScript function must have one of the following signatures: ([ctx], callback) or (ctx, req, res)."
	errNoFetch    = "A module must have a default export that is a function or has a method fetch(request, env, ctx)."
)

func badHandler(message string) *ScriptError {
	return &ScriptError{
		Kind:    KindNoHandler,
		Status:  statusBadCode,
		Summary: "Invalid webtask code:",
		Message: message,
		Details: message,
	}
}

// findHandler looks at what the program returned or exported.
func (iso *Isolate) findHandler(module *goja.Object, returned goja.Value) (handler, error) {
	exported := module.Get("exports")
	if _, ok := goja.AssertFunction(returned); ok {
		exported = returned
	}
	object, _ := exported.(*goja.Object)
	if iso.spec.Program.ESM || (object != nil && isTrue(object.Get("__esModule"))) {
		return iso.findWebHandler(object)
	}
	call, ok := goja.AssertFunction(exported)
	if !ok {
		return handler{}, badHandler(errNoFunction)
	}
	found := handler{call: call, this: goja.Undefined()}
	arity := int64(0)
	if length := object.Get("length"); length != nil { // it can be deleted
		arity = length.ToInteger()
	}
	switch arity {
	case 1:
		found.model = modelCallback
	case 2:
		found.model = modelContext
	case 3:
		found.model = modelNode
	default:
		return handler{}, badHandler(errArity)
	}
	return found, nil
}

func (iso *Isolate) findWebHandler(exports *goja.Object) (handler, error) {
	if exports != nil {
		exported, _ := exports.Get("default").(*goja.Object)
		if exported != nil {
			if call, ok := goja.AssertFunction(exported.Get("fetch")); ok {
				return handler{model: modelWeb, call: call, this: exported}, nil
			}
			if call, ok := goja.AssertFunction(exported); ok {
				return handler{model: modelWeb, call: call, this: goja.Undefined()}, nil
			}
		}
	}
	return handler{}, badHandler(errNoFetch)
}

func isTrue(v goja.Value) bool { return v != nil && v.ToBoolean() }

// callHandler calls the handler for the live request.
func (iso *Isolate) callHandler() {
	l := &iso.live
	var returned goja.Value
	var err error
	l.calling = true
	switch h := iso.handler; h.model {
	case modelWeb:
		var request goja.Value
		if request, err = iso.engine.options.Web.NewRequest(iso, l.request); err == nil {
			returned, err = h.call(h.this, request, iso.environment(), iso.newContext())
		}
	case modelCallback:
		returned, err = h.call(h.this, iso.callback())
	case modelContext:
		returned, err = h.call(h.this, iso.newContext(), iso.callback())
	case modelNode:
		l.writer = &nodeWriter{iso: iso, seq: l.seq}
		var req, res goja.Value
		if req, res, err = iso.engine.options.Node.NewExchange(iso, iso.nodeRequest(), l.writer); err == nil {
			returned, err = h.call(h.this, iso.newContext(), req, res)
		}
	}
	if err != nil {
		iso.Uncaught(err)
	}
	l.calling = false
	if err == nil {
		iso.returned(returned)
	}
}

// returned takes what the handler returned: a promise, anything that can be
// awaited, or a result.
func (iso *Isolate) returned(v goja.Value) {
	l := &iso.live
	if object, ok := v.(*goja.Object); ok {
		if p := iso.promiseOf(object); p != nil {
			l.main, l.awaiting = p, true
			return
		}
	}
	if iso.handler.model == modelWeb {
		iso.webResult(v)
	}
	// The other models answer by other ways; an arrow function returns
	// whatever its expression was.
}

// promiseOf returns v as a promise of the language, nil when it is nothing to
// await. Objects with a method then are awaited by a promise made for it.
func (iso *Isolate) promiseOf(object *goja.Object) *goja.Promise {
	if object.ExportType() == promiseType {
		return object.Export().(*goja.Promise)
	}
	then := object.Get("then")
	if then == nil {
		return nil
	}
	if _, ok := goja.AssertFunction(then); !ok {
		return nil
	}
	if iso.natives.await == nil {
		f, err := iso.runtime.RunProgram(awaitProgram)
		if err != nil {
			panic(err)
		}
		iso.natives.await, _ = goja.AssertFunction(f)
	}
	v, err := iso.natives.await(goja.Undefined(), object)
	if err != nil {
		panic(err)
	}
	return v.Export().(*goja.Promise)
}

var promiseType = reflect.TypeFor[*goja.Promise]()

// awaitProgram turns a thenable into a promise, by syntax: scripts cannot
// replace that.
var awaitProgram = goja.MustCompile("await", "(async thenable => await thenable)", true)

// settle looks, at the end of a turn, whether the request is answered by it. It
// reports whether it ran JavaScript, which may have left microtasks.
func (iso *Isolate) settle() (ran bool) {
	l := &iso.live
	if len(l.watched) > 0 {
		ran = iso.watch()
	}
	if l.main != nil && l.main.State() != goja.PromiseStatePending {
		p := l.main
		l.main, ran = nil, true
		if p.State() == goja.PromiseStateRejected {
			iso.trackRejection(p, goja.PromiseRejectionHandle)
			iso.hintOneParameter(LogWarn)
			iso.fail(iso.thrown(p.Result(), nil, KindAsync))
		} else {
			iso.fulfilled(p.Result())
		}
	}
	if l.response == nil && l.writer != nil {
		l.response = l.writer.response()
	}
	if waits := len(l.waits); waits > 0 {
		l.poll(iso)
		ran = ran || len(l.waits) != waits
	}
	if len(l.rejected) > 0 {
		iso.checkRejections()
		ran = true
	}
	return ran
}

// fulfilled takes the value of the promise that the handler returned.
func (iso *Isolate) fulfilled(v goja.Value) {
	l := &iso.live
	switch iso.handler.model {
	case modelWeb:
		iso.webResult(v)
	case modelCallback, modelContext:
		// A function that both is async and calls back: the first one wins,
		// and undefined only stands for a result when nothing else comes.
		if !l.called && v != nil && !goja.IsUndefined(v) {
			iso.hintOneParameter(LogInfo)
			l.called = true
			iso.jsonResult(v)
		}
	}
}

// hintOneParameter tells the author, once per isolate, what a handler of one
// parameter is given. Its code cannot show what the author took it for: async
// (cb) and async (ctx) look the same, and both may answer by their promise.
func (iso *Isolate) hintOneParameter(level LogLevel) {
	if iso.handler.model != modelCallback || iso.live.called || iso.hinted {
		return
	}
	iso.hinted = true
	iso.Log(level, "the handler has one parameter, so that it is given the callback, which it did not call; if it is meant to be ctx, write two: async (ctx, cb) => …", "")
}

// webResult takes what a handler of the Web model answered.
func (iso *Isolate) webResult(v goja.Value) {
	var resp *Response
	var err error
	if thrown := iso.runtime.Try(func() { resp, err = iso.engine.options.Web.ReadResponse(iso, v) }); thrown != nil {
		iso.Uncaught(thrown)
		return
	}
	if err != nil {
		iso.fail(err)
		return
	}
	iso.live.response = resp
}

// callback makes the function that a handler of the cb-models answers with.
func (iso *Isolate) callback() goja.Value {
	seq := iso.live.seq
	return iso.Function("callback", func(call goja.FunctionCall) goja.Value {
		l := &iso.live
		if l.seq != seq {
			return goja.Undefined() // of a request that is over
		}
		if l.called {
			iso.Log(LogWarn, "the callback was called again; only its first call answers", "")
			return goja.Undefined()
		}
		l.called = true
		if failure := call.Argument(0); failure.ToBoolean() {
			iso.fail(iso.callbackError(failure))
		} else {
			iso.jsonResult(call.Argument(1))
		}
		return goja.Undefined()
	})
}

// callbackError is the error of cb(err); err.statusCode becomes the status.
func (iso *Isolate) callbackError(value goja.Value) *ScriptError {
	failure := iso.thrown(value, nil, KindCallback)
	if object, ok := value.(*goja.Object); ok {
		if status := iso.statusOf(object); status != 0 {
			failure.Status = status
		}
	}
	return failure
}

const jsonType = "application/json"

var emptyResult = []byte("{}")

// jsonResult answers with a result of the cb-models. Falsy ones give {}, as
// they always did.
func (iso *Isolate) jsonResult(v goja.Value) {
	body := emptyResult
	if v.ToBoolean() {
		var ok bool
		thrown := iso.runtime.Try(func() { body, ok = iso.marshal(v) })
		switch {
		case thrown != nil:
			failure := iso.thrown(thrown.Value(), thrown, KindResult)
			failure.Status = statusBadCode
			iso.fail(failure)
			return
		case !ok:
			iso.fail(&ScriptError{
				Kind:    KindResult,
				Status:  statusBadCode,
				Summary: summaries[KindResult],
				Message: "a function or symbol has no JSON form; call back with data",
				Details: "a function or symbol has no JSON form; call back with data",
			})
			return
		}
	}
	iso.live.response = &Response{
		Status:      http.StatusOK,
		ContentType: jsonType,
		Bytes:       body,
		BodyLength:  int64(len(body)),
	}
}

// runDry ends a request whose loop has nothing left to wait for.
func (iso *Isolate) runDry() {
	l := &iso.live
	switch iso.handler.model {
	case modelWeb:
		l.fatal(noAnswer("the promise that the handler returned is never settled, and nothing is left that could settle it; resolve it with a Response"))
	case modelNode:
		l.fatal(noAnswer("the response is never ended, and nothing is left that could end it; call res.end()"))
	default:
		if l.awaiting && l.main == nil {
			iso.enter(func() { iso.jsonResult(goja.Undefined()) })
			return
		}
		l.fatal(noAnswer("the callback is never called, and nothing is left that could call it; call it with an error or a result, cb(null, result)"))
	}
}
