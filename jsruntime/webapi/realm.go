package webapi

import (
	"context"

	"github.com/dop251/goja"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
)

// realm is the platform's state of one isolate.
type realm struct {
	platform *Platform
	iso      *jsruntime.Isolate
	rt       *goja.Runtime

	counted     context.Context // of the request whose fetches subrequests counts
	subrequests int
	aborts      uint64 // of signals, so far
	followers   uint64 // signals that follow others, so far

	// pristine is the global object that goja made. Scripts get another one
	// (see globals.go), so its bindings are never theirs.
	pristine *goja.Object

	classes   [classCount]*class
	awaiter   goja.Callable
	describer goja.Callable            // see descriptors
	loops     map[string]goja.Callable // see forEach
	console   *console

	headersEntries goja.Value // Headers.prototype.entries
	strategySizes  map[string]goja.Value
	bodyFunctions  map[string]goja.Value // of the Body mixin, see includeBody

	iteratorPrototype *goja.Object
	uint8Array        *goja.Object
	domBase           *goja.Object // Error.prototype
}

func realmOf(iso *jsruntime.Isolate) *realm { return iso.Web.(*realm) }

// intrinsic returns a global of the language, whatever scripts have put in its
// place.
func (r *realm) intrinsic(name string) *goja.Object {
	return r.pristine.Get(name).(*goja.Object)
}

// undefined is the usual return value of operations.
func undefined() goja.Value { return goja.Undefined() }

// isNullish reports whether v is absent, undefined or null.
func isNullish(v goja.Value) bool {
	return v == nil || goja.IsUndefined(v) || goja.IsNull(v)
}

// newBytes returns a Uint8Array over data, which it takes over.
func (r *realm) newBytes(data []byte) *goja.Object {
	if r.uint8Array == nil {
		r.uint8Array = r.intrinsic("Uint8Array")
	}
	array, err := r.rt.New(r.uint8Array, r.rt.ToValue(r.rt.NewArrayBuffer(data)))
	if err != nil {
		panic(err)
	}
	return array
}

// compiled is a program of the platform's own.
func compiled(name, source string) *goja.Program {
	return goja.MustCompile("webtask:"+name, source, true)
}

// run runs a program of the platform's own and returns its value. It cannot
// fail but by an interrupt, which is passed on.
func (r *realm) run(program *goja.Program) goja.Value {
	v, err := r.rt.RunProgram(program)
	if err != nil {
		panic(err)
	}
	return v
}

// iteratorPrototypeProgram finds %IteratorPrototype% without a global.
var iteratorPrototypeProgram = compiled("iterator", `(function* () {})`)

// iterators returns %IteratorPrototype%, which all iterators inherit from.
func (r *realm) iterators() *goja.Object {
	if r.iteratorPrototype == nil {
		generator := r.run(iteratorPrototypeProgram).(*goja.Object).Get("prototype").(*goja.Object)
		r.iteratorPrototype = generator.Prototype().Prototype()
	}
	return r.iteratorPrototype
}

// iteratorResult returns {value, done}.
func (r *realm) iteratorResult(v goja.Value, done bool) *goja.Object {
	o := r.rt.NewObject()
	r.must(o.Set("value", v))
	r.must(o.Set("done", done))
	return o
}

// report passes on what a callback threw that has no caller to tell: it is
// uncaught. Nil is ignored.
func (r *realm) report(thrown goja.Value) {
	if thrown == nil {
		return
	}
	r.iso.Uncaught(r.rt.Try(func() { panic(thrown) }))
}
