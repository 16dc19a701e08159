package webapi

import (
	"strings"

	"github.com/dop251/goja"
)

// patchRegExp returns a RegExp that reads \p{…} in patterns with the flag u.
// goja hands a pattern to Go's regexp unless it needs backtracking, and then
// \p loses its meaning without an error; a lookahead that always holds sends it
// the other way, where \p works. Bundling turns literals that need it into
// calls of RegExp.
func patchRegExp(r *realm, original *goja.Object) goja.Value {
	construct, _ := goja.AssertConstructor(original)
	prototype := original.Get("prototype").(*goja.Object)
	var wrapper *goja.Object
	wrapper = r.rt.ToValue(func(call goja.ConstructorCall) *goja.Object {
		pattern, flags := call.Argument(0), call.Argument(1)
		if o := toObject(pattern); o != nil && o.ClassName() == "RegExp" && call.NewTarget == nil && goja.IsUndefined(flags) &&
			call.This.Prototype() != prototype {
			return o // RegExp(regexp) returns its argument
		}
		target := call.NewTarget
		if target == nil {
			target = original
		}
		args := []goja.Value{pattern, flags}
		hidden := ""
		if toObject(pattern) == nil && !goja.IsUndefined(pattern) && !goja.IsUndefined(flags) {
			source := r.toString(pattern)
			if strings.Contains(r.toString(flags), "u") && (strings.Contains(source, `\p{`) || strings.Contains(source, `\P{`)) {
				hidden = source
				args[0] = r.rt.ToValue("(?=)" + source)
			}
		}
		o, err := construct(target, args...)
		if err != nil {
			panic(err)
		}
		if hidden != "" {
			r.must(o.DefineDataProperty("source", r.rt.ToValue(hidden), goja.FLAG_FALSE, goja.FLAG_TRUE, goja.FLAG_FALSE))
		}
		return o
	}).(*goja.Object)
	r.rename(wrapper, "RegExp", 2)
	r.must(wrapper.SetPrototype(original)) // its static members
	r.must(wrapper.DefineDataProperty("prototype", prototype, goja.FLAG_FALSE, goja.FLAG_FALSE, goja.FLAG_FALSE))
	r.must(prototype.DefineDataProperty("constructor", wrapper, goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_FALSE))
	return wrapper
}
