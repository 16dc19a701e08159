package webapi

import "github.com/dop251/goja"

// globals is the prototype of the global object that scripts get. It makes
// what the platform defines, and hands on what the language does, when a name
// is first looked up; from then on it is an own property like any other.
//
// Seen from a script, the one difference is that a global that nothing has
// touched yet is inherited, not own.
type globals struct {
	r    *realm
	made map[string]struct{}
}

// installGlobals puts a fresh global object in the place of goja's own, which
// stays behind as the source of the language's globals.
func (r *realm) installGlobals() {
	r.pristine = r.rt.GlobalObject()
	source := r.rt.NewDynamicObject(&globals{r: r, made: make(map[string]struct{})})
	r.must(source.SetPrototype(r.pristine.Prototype()))
	r.must(r.pristine.SetPrototype(nil)) // so that looking up a name finds globals only
	global := r.rt.CreateObject(source)
	r.must(global.DefineDataProperty("globalThis", global, goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_FALSE))
	r.rt.SetGlobalObject(global)
}

// Get implements goja.DynamicObject.
func (g *globals) Get(name string) goja.Value {
	if _, ok := g.made[name]; ok {
		return nil // scripts have deleted it
	}
	r := g.r
	flags := [3]goja.Flag{goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_FALSE} // writable, configurable, enumerable
	var v goja.Value
	switch define, ok := definedGlobals[name]; {
	case ok:
		v = define.make(r)
		if define.enumerable {
			flags[2] = goja.FLAG_TRUE
		}
	default:
		if v = r.pristine.Get(name); v == nil {
			return nil
		}
		switch name {
		case "Infinity", "NaN", "undefined":
			flags[0], flags[1] = goja.FLAG_FALSE, goja.FLAG_FALSE
		default:
			if patch, ok := languagePatches[name]; ok {
				v = patch(r, v.(*goja.Object))
			}
		}
	}
	g.made[name] = struct{}{}
	r.must(r.rt.GlobalObject().DefineDataProperty(name, v, flags[0], flags[1], flags[2]))
	return v
}

// Has implements goja.DynamicObject.
func (g *globals) Has(name string) bool {
	if _, ok := g.made[name]; ok {
		return false
	}
	if _, ok := definedGlobals[name]; ok {
		return true
	}
	return g.r.pristine.Get(name) != nil
}

// Set implements goja.DynamicObject: the object is reachable as the prototype
// of globalThis, but has nothing to set.
func (g *globals) Set(string, goja.Value) bool { return false }

// Delete implements goja.DynamicObject.
func (g *globals) Delete(string) bool { return false }

// Keys implements goja.DynamicObject: nothing here is enumerable.
func (g *globals) Keys() []string { return nil }

// definedGlobal is a global of the platform. Operations are enumerable,
// classes are not (Web IDL §3.7, §3.8).
type definedGlobal struct {
	make       func(r *realm) goja.Value
	enumerable bool
}

// definedGlobals is filled by init, since making a global may look up another.
var definedGlobals map[string]definedGlobal

func init() {
	defineClasses()
	definedGlobals = map[string]definedGlobal{
		"self":      {func(r *realm) goja.Value { return r.rt.GlobalObject() }, true},
		"console":   {func(r *realm) goja.Value { return r.newConsole() }, false},
		"crypto":    {func(r *realm) goja.Value { return r.create(classCrypto, &cryptoState{}) }, true},
		"navigator": {func(r *realm) goja.Value { return r.create(classNavigator, &navigatorState{}) }, true},
	}
	for id, definition := range definitions {
		if definition == nil {
			continue
		}
		if def := definition(); !unexposed[classID(id)] {
			definedGlobals[def.name] = definedGlobal{func(r *realm) goja.Value { return r.class(classID(id)).constructor }, false}
		}
	}
	for _, operation := range globalOperations {
		definedGlobals[operation.name] = definedGlobal{func(r *realm) goja.Value { return r.function(operation) }, true}
	}
}

// unexposed are the classes that have no global.
var unexposed = map[classID]bool{
	classHeadersIterator:             true,
	classURLSearchParamsIterator:     true,
	classReadableStreamAsyncIterator: true,
}

// globalOperations are the functions among the globals.
var globalOperations = []method{
	{"fetch", 1, fetchOperation},
	{"structuredClone", 1, structuredCloneOperation},
	{"atob", 1, atob},
	{"btoa", 1, btoa},
	{"queueMicrotask", 1, queueMicrotask},
	{"setTimeout", 1, setTimeout},
	{"setInterval", 1, setInterval},
	{"clearTimeout", 0, clearTimer},
	{"clearInterval", 0, clearTimer},
}
