package webapi

import (
	"maps"
	"slices"

	"github.com/dop251/goja"
)

// classID names a platform class within a realm.
type classID int

const (
	classNone classID = iota
	classDOMException
	classEvent
	classCustomEvent
	classEventTarget
	classAbortSignal
	classAbortController
	classHeaders
	classHeadersIterator
	classRequest
	classResponse
	classURL
	classURLSearchParams
	classURLSearchParamsIterator
	classTextEncoder
	classTextDecoder
	classReadableStream
	classReadableStreamDefaultReader
	classReadableStreamDefaultController
	classReadableStreamAsyncIterator
	classCountQueuingStrategy
	classByteLengthQueuingStrategy
	classCrypto
	classNavigator
	classCount
)

// definitions says how each class is made. It is filled during init, since the
// functions in it refer to it through the realm.
var definitions [classCount]func() *classDef

func defineClasses() {
	definitions = [classCount]func() *classDef{
		classDOMException:                    domExceptionClass,
		classEvent:                           eventClass,
		classCustomEvent:                     customEventClass,
		classEventTarget:                     eventTargetClass,
		classAbortSignal:                     abortSignalClass,
		classAbortController:                 abortControllerClass,
		classHeaders:                         headersClass,
		classHeadersIterator:                 headersIteratorClass,
		classRequest:                         requestClass,
		classResponse:                        responseClass,
		classURL:                             urlClass,
		classURLSearchParams:                 searchParamsClass,
		classURLSearchParamsIterator:         searchParamsIteratorClass,
		classTextEncoder:                     textEncoderClass,
		classTextDecoder:                     textDecoderClass,
		classReadableStream:                  readableStreamClass,
		classReadableStreamDefaultReader:     readerClass,
		classReadableStreamDefaultController: controllerClass,
		classReadableStreamAsyncIterator:     streamIteratorClass,
		classCountQueuingStrategy:            countStrategyClass,
		classByteLengthQueuingStrategy:       byteLengthStrategyClass,
		classCrypto:                          cryptoClass,
		classNavigator:                       navigatorClass,
	}
}

// classDef describes a class: what Web IDL calls an interface.
type classDef struct {
	name   string
	length int     // of the constructor
	parent classID // classNone: Object

	// construct initialises call.This, which has the right prototype also in
	// subclasses. Nil: the class has no constructor.
	construct func(r *realm, call goja.ConstructorCall)

	methods   []method
	accessors []accessor
	statics   []method
	constants []constant // on constructor and prototype

	// tag is Symbol.toStringTag, when it is not name.
	tag string
	// finish adds what the tables cannot say: iterators, a prototype.
	finish func(r *realm, c *class)
}

// method is one operation. Its function checks the receiver, see on.
type method struct {
	name   string
	length int
	call   func(r *realm, call goja.FunctionCall) goja.Value
}

// accessor is one attribute; without set it is read-only.
type accessor struct {
	name string
	get  func(r *realm, call goja.FunctionCall) goja.Value
	set  func(r *realm, call goja.FunctionCall) goja.Value
}

// constant is a number that a class defines.
type constant struct {
	name  string
	value int
}

// class is a class of one realm.
type class struct {
	constructor *goja.Object
	prototype   *goja.Object
}

// on makes the function of an operation of the class whose state is an S: it
// throws a TypeError for any other receiver.
func on[S state](f func(r *realm, self S, call goja.FunctionCall) goja.Value) func(*realm, goja.FunctionCall) goja.Value {
	return func(r *realm, call goja.FunctionCall) goja.Value {
		self, ok := stateOf[S](call.This)
		if !ok {
			panic(r.rt.NewTypeError("Illegal invocation"))
		}
		return f(r, self, call)
	}
}

// get makes the getter of an attribute of the class whose state is an S.
func get[S state](f func(r *realm, self S) goja.Value) func(*realm, goja.FunctionCall) goja.Value {
	return on(func(r *realm, self S, _ goja.FunctionCall) goja.Value { return f(r, self) })
}

// set makes the setter of an attribute of the class whose state is an S.
func set[S state](f func(r *realm, self S, v goja.Value)) func(*realm, goja.FunctionCall) goja.Value {
	return on(func(r *realm, self S, call goja.FunctionCall) goja.Value {
		f(r, self, call.Argument(0))
		return goja.Undefined()
	})
}

// promising makes the function of an operation that returns a promise: what it
// throws, a wrong receiver included, becomes a rejection.
func promising[S state](f func(r *realm, self S, call goja.FunctionCall) goja.Value) func(*realm, goja.FunctionCall) goja.Value {
	checked := on(f)
	return func(r *realm, call goja.FunctionCall) (result goja.Value) {
		if thrown := r.rt.Try(func() { result = checked(r, call) }); thrown != nil {
			return r.rejected(thrown.Value())
		}
		return result
	}
}

// class returns the class, making it on first use.
func (r *realm) class(id classID) *class {
	if c := r.classes[id]; c != nil {
		return c
	}
	def := definitions[id]()
	c := &class{}
	c.constructor = r.rt.ToValue(func(call goja.ConstructorCall) *goja.Object {
		// Without new, goja passes an instance all the same; by
		// C.call(object) anything.
		if def.construct == nil {
			panic(r.rt.NewTypeError("Illegal constructor"))
		}
		if call.NewTarget == nil && call.This.Prototype() != c.prototype {
			panic(r.rt.NewTypeError("Class constructor %s cannot be invoked without 'new'", def.name))
		}
		def.construct(r, call)
		return nil
	}).(*goja.Object)
	c.prototype = c.constructor.Get("prototype").(*goja.Object)
	r.classes[id] = c
	r.rename(c.constructor, def.name, def.length)
	r.must(c.constructor.DefineDataProperty("prototype", c.prototype, goja.FLAG_FALSE, goja.FLAG_FALSE, goja.FLAG_FALSE))

	if def.parent != classNone {
		parent := r.class(def.parent)
		r.must(c.constructor.SetPrototype(parent.constructor))
		r.must(c.prototype.SetPrototype(parent.prototype))
	}
	for _, m := range def.methods {
		r.defineMethod(c.prototype, m)
	}
	for _, m := range def.statics {
		r.defineMethod(c.constructor, m)
	}
	for _, a := range def.accessors {
		r.defineAccessor(c.prototype, a)
	}
	for _, each := range def.constants {
		for _, o := range []*goja.Object{c.constructor, c.prototype} {
			r.must(o.DefineDataProperty(each.name, r.rt.ToValue(each.value), goja.FLAG_FALSE, goja.FLAG_FALSE, goja.FLAG_TRUE))
		}
	}
	tag := def.tag
	if tag == "" {
		tag = def.name
	}
	r.must(c.prototype.DefineDataPropertySymbol(goja.SymToStringTag, r.rt.ToValue(tag), goja.FLAG_FALSE, goja.FLAG_TRUE, goja.FLAG_FALSE))
	if def.finish != nil {
		def.finish(r, c)
	}
	return c
}

// create returns a new instance of a class with the given state, without
// running its constructor.
func (r *realm) create(id classID, s state) *goja.Object {
	o := r.rt.CreateObject(r.class(id).prototype)
	r.attach(o, s)
	return o
}

func (r *realm) defineMethod(o *goja.Object, m method) {
	r.must(o.DefineDataProperty(m.name, r.function(m), goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_TRUE))
}

func (r *realm) defineAccessor(o *goja.Object, a accessor) {
	getter, setter := r.accessorFunctions(a)
	r.must(o.DefineAccessorProperty(a.name, getter, setter, goja.FLAG_TRUE, goja.FLAG_TRUE))
}

func (r *realm) accessorFunctions(a accessor) (getter, setter goja.Value) {
	getter = r.function(method{name: "get " + a.name, call: a.get})
	if a.set != nil {
		setter = r.function(method{name: "set " + a.name, length: 1, call: a.set})
	}
	return getter, setter
}

// pendingMethods is the prototype of an object whose methods become its own when
// they are first looked up.
type pendingMethods struct {
	r       *realm
	target  *goja.Object
	methods map[string]method
}

// Get implements goja.DynamicObject.
func (p *pendingMethods) Get(name string) goja.Value {
	m, ok := p.methods[name]
	if !ok {
		return nil
	}
	delete(p.methods, name)
	p.r.defineMethod(p.target, m)
	return p.target.Get(name)
}

// Has implements goja.DynamicObject.
func (p *pendingMethods) Has(name string) bool {
	_, ok := p.methods[name]
	return ok
}

// Set implements goja.DynamicObject.
func (p *pendingMethods) Set(string, goja.Value) bool { return false }

// Delete implements goja.DynamicObject.
func (p *pendingMethods) Delete(string) bool { return false }

// Keys implements goja.DynamicObject: for (name in object) finds all methods.
func (p *pendingMethods) Keys() []string { return slices.Sorted(maps.Keys(p.methods)) }

// defineSymbol defines a method under a symbol.
func (r *realm) defineSymbol(o *goja.Object, symbol *goja.Symbol, f goja.Value) {
	r.must(o.DefineDataPropertySymbol(symbol, f, goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_FALSE))
}

// function returns a function object of the realm.
func (r *realm) function(m method) *goja.Object {
	f := r.rt.ToValue(func(call goja.FunctionCall) goja.Value { return m.call(r, call) }).(*goja.Object)
	r.rename(f, m.name, m.length)
	return f
}

// callback returns a function for the platform's own use, whose name and
// length nobody sees.
func (r *realm) callback(f func(call goja.FunctionCall) goja.Value) goja.Value {
	return r.iso.Function("", f)
}

// rename replaces the Go symbol name that goja gives to functions.
func (r *realm) rename(f *goja.Object, name string, length int) {
	r.must(f.DefineDataProperty("name", r.rt.ToValue(name), goja.FLAG_FALSE, goja.FLAG_TRUE, goja.FLAG_FALSE))
	if length > 0 {
		r.must(f.DefineDataProperty("length", r.rt.ToValue(length), goja.FLAG_FALSE, goja.FLAG_TRUE, goja.FLAG_FALSE))
	}
}

// must panics on an error of defining a property on an object that the
// platform made itself.
func (r *realm) must(err error) {
	if err != nil {
		panic(err)
	}
}
