// Package nodeapi gives scripts what Node.js programs expect: the (req, res)
// pair of http.Server, and Buffer.
//
//	engine := jsruntime.NewEngine(jsruntime.Options{Web: webapi.New(), Node: nodeapi.New()})
//
//	module.exports = function (ctx, req, res) {
//	    res.writeHead(200, { 'Content-Type': 'text/plain' });
//	    req.pipe(res);
//	};
//
// The classes are JavaScript (js/) over a few functions in Go, and are made for
// an isolate when it first needs them. Their behaviour follows the
// documentation of Node.js 20.
package nodeapi

import (
	"github.com/dop251/goja"
	"strconv"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
)

// Platform is the jsruntime.NodePlatform. It has no state of its own and may
// serve any number of engines.
type Platform struct{}

var _ jsruntime.NodePlatform = (*Platform)(nil)

// New returns the platform.
func New() *Platform { return &Platform{} }

// realm is the platform's state of one isolate.
type realm struct {
	iso *jsruntime.Isolate
	rt  *goja.Runtime

	buffer *goja.Object // the class, once it is made
	http   *classes     // once they are made

	current *exchange // of the live request
	forget  func()    // ends it
}

// classes are what the objects of an exchange are made of.
type classes struct {
	request, response *goja.Object // prototypes
	states            [4]*goja.Object
}

// state returns the prototype of the state of an exchange.
func (c *classes) state(empty, head bool) *goja.Object {
	i := 0
	if empty {
		i += 2
	}
	if head {
		i++
	}
	return c.states[i]
}

// Install implements jsruntime.NodePlatform.
func (*Platform) Install(iso *jsruntime.Isolate) error {
	r := &realm{iso: iso, rt: iso.Runtime()}
	r.forget = func() { r.current = nil }
	iso.Node = r
	global := r.rt.GlobalObject()
	become := func(v goja.Value) {
		// Cannot fail: the property was defined as configurable here.
		_ = global.DefineDataProperty("Buffer", v, goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_FALSE)
	}
	return global.DefineAccessorProperty("Buffer",
		iso.Function("get Buffer", func(goja.FunctionCall) goja.Value {
			buffer := r.bufferClass()
			become(buffer)
			return buffer
		}),
		iso.Function("set Buffer", func(call goja.FunctionCall) goja.Value {
			become(call.Argument(0))
			return goja.Undefined()
		}),
		goja.FLAG_TRUE, goja.FLAG_FALSE)
}

// NewExchange implements jsruntime.NodePlatform.
func (*Platform) NewExchange(iso *jsruntime.Isolate, req *jsruntime.Request, w jsruntime.ResponseWriter) (reqObj, resObj goja.Value, err error) {
	r := iso.Node.(*realm)
	if r.http == nil {
		if thrown := r.rt.Try(r.makeClasses); thrown != nil {
			return nil, nil, thrown
		}
	}
	x := &exchange{r: r, req: req, w: w}
	r.current = x
	iso.OnRequestEnd(r.forget)
	reqObject, resObject := x.makeObjects()
	return reqObject, resObject, nil
}

// bufferClass returns the class Buffer.
func (r *realm) bufferClass() *goja.Object {
	if r.buffer == nil {
		native := r.rt.NewObject()
		r.define(native, "encode", r.encode)
		r.define(native, "decode", r.decode)
		r.buffer = r.call(r.run(bufferProgram()), native).(*goja.Object)
	}
	return r.buffer
}

func (r *realm) makeClasses() {
	native := r.rt.NewObject()
	r.define(native, "newDecoder", r.newDecoder)
	r.define(native, "decodePart", r.decodePart)
	r.define(native, "validName", r.validName)
	r.define(native, "validValue", r.validValue)
	r.define(native, "tick", r.tick)
	r.define(native, "state", r.stateOf)
	r.defineExchange(native)
	asyncIterator := r.rt.GlobalObject().Get("Symbol").(*goja.Object).Get("asyncIterator")
	made := r.call(r.run(httpProgram()), native, r.run(eventsProgram()), r.bufferClass(), asyncIterator).(*goja.Object)
	object := func(from *goja.Object, name string) *goja.Object { return from.Get(name).(*goja.Object) }
	r.http = &classes{request: object(made, "request"), response: object(made, "response")}
	for i := range r.http.states {
		r.http.states[i] = object(object(made, "states"), strconv.Itoa(i))
	}
}

// tick is native.tick(thenable): its then is called in a microtask, the one
// that a promise takes to be resolved with it (ECMA-262, 27.2.2.2).
func (r *realm) tick(call goja.FunctionCall) goja.Value {
	_, resolve, _ := r.rt.NewPromise()
	if err := resolve(call.Argument(0)); err != nil {
		panic(err)
	}
	return goja.Undefined()
}

// run runs a program of the platform's own. It fails by an interrupt only,
// which is passed on.
func (r *realm) run(program *goja.Program) goja.Value {
	v, err := r.rt.RunProgram(program)
	if err != nil {
		panic(err)
	}
	return v
}

func (r *realm) call(f goja.Value, args ...goja.Value) goja.Value {
	callable, _ := goja.AssertFunction(f)
	v, err := callable(goja.Undefined(), args...)
	if err != nil {
		panic(err)
	}
	return v
}

func (r *realm) define(o *goja.Object, name string, f func(goja.FunctionCall) goja.Value) {
	if err := o.Set(name, r.iso.Function(name, f)); err != nil {
		panic(err)
	}
}
