package webapi

import "github.com/dop251/goja"

// slotKey is the property that holds the Go state of an instance.
var slotKey = goja.NewSymbol("webtask state")

// slot is embedded in the Go state of every platform object. It makes the
// state a goja.Value, one that scripts see as undefined, so that it can be held
// by an ordinary object without a wrapper.
//
// A script can find the property with Object.getOwnPropertySymbols and can
// copy its value to another object, but the state knows its holder, so the
// copy is refused: brand checks cannot be forged.
type slot struct {
	goja.Value
	holder *goja.Object
}

// state is what the generic functions here need of Go state; embedding slot
// provides it.
type state interface {
	goja.Value
	object() *goja.Object
	bind(holder *goja.Object)
}

func (s *slot) object() *goja.Object { return s.holder }

func (s *slot) bind(holder *goja.Object) {
	s.Value = goja.Undefined()
	s.holder = holder
}

// attach makes s the state of o. It throws a TypeError when o has one already
// or cannot have one (a frozen object passed to a constructor by call).
func (r *realm) attach(o *goja.Object, s state) {
	s.bind(o)
	if err := o.DefineDataPropertySymbol(slotKey, s, goja.FLAG_FALSE, goja.FLAG_FALSE, goja.FLAG_FALSE); err != nil {
		panic(r.rt.NewTypeError("Illegal invocation"))
	}
}

// stateOf returns the state of v when v is an instance of the class whose state
// is an S. A Proxy around an instance, or an object that inherits from one, is
// none.
func stateOf[S state](v goja.Value) (s S, ok bool) {
	o, ok := v.(*goja.Object)
	if !ok || o.ExportType() == proxyType { // whose traps must not be asked
		return s, false
	}
	s, ok = o.GetSymbol(slotKey).(S)
	return s, ok && s.object() == o
}
