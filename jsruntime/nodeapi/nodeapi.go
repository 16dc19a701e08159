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
	"strings"

	"github.com/dop251/goja"

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

	buffer   *goja.Object  // the class, once it is made
	exchange goja.Callable // makes (req, res), once it is made

	current *exchange // of the request that was live last
}

// Install implements jsruntime.NodePlatform.
func (*Platform) Install(iso *jsruntime.Isolate) error {
	r := &realm{iso: iso, rt: iso.Runtime()}
	iso.Node = r
	global := r.rt.GlobalObject()
	become := func(v goja.Value) {
		// Cannot fail: the property was defined as configurable here.
		_ = global.DefineDataProperty("Buffer", v, goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_FALSE)
	}
	return global.DefineAccessorProperty("Buffer",
		r.rt.ToValue(func(goja.FunctionCall) goja.Value {
			buffer := r.bufferClass()
			become(buffer)
			return buffer
		}),
		r.rt.ToValue(func(call goja.FunctionCall) goja.Value {
			become(call.Argument(0))
			return goja.Undefined()
		}),
		goja.FLAG_TRUE, goja.FLAG_FALSE)
}

// NewExchange implements jsruntime.NodePlatform.
func (*Platform) NewExchange(iso *jsruntime.Isolate, req *jsruntime.Request, w jsruntime.ResponseWriter) (reqObj, resObj goja.Value, err error) {
	r := iso.Node.(*realm)
	if r.exchange == nil {
		if thrown := r.rt.Try(r.makeClasses); thrown != nil {
			return nil, nil, thrown
		}
	}
	x := &exchange{r: r, id: 1, req: req, w: w}
	if r.current != nil {
		x.id = r.current.id + 1
	}
	r.current = x
	pair, err := r.exchange(goja.Undefined(),
		r.rt.ToValue(x.id), r.rt.ToValue(req.Method), r.rt.ToValue(x.path()),
		r.rt.ToValue(strings.TrimPrefix(req.Proto, "HTTP/")), r.rt.ToValue(x.hasBody()))
	if err != nil {
		return nil, nil, err
	}
	list := pair.(*goja.Object)
	return list.Get("0"), list.Get("1"), nil
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
	r.defineExchange(native)
	asyncIterator := r.rt.GlobalObject().Get("Symbol").(*goja.Object).Get("asyncIterator")
	made := r.call(r.run(httpProgram()), native, r.run(eventsProgram()), r.bufferClass(), asyncIterator)
	r.exchange, _ = goja.AssertFunction(made)
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
	if err := o.Set(name, f); err != nil {
		panic(err)
	}
}
