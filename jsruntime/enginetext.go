package jsruntime

import (
	"reflect"
	"regexp"

	"github.com/dop251/goja"
)

// The engine formats some of its errors with Go's fmt: "Could not convert
// &{Object 0xc000123456 …} to primitive". Such a text has addresses of this
// process's heap and names of its types, which are no business of a script and
// would reach callers in answers. The errors are made within the engine, and a
// script may catch them there, so they are cleaned where they are made.

// engineText says what stands for texts that only the engine makes.
var engineText = []struct {
	pattern *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`(?s)Could not convert &\{.*\} (\(\*[\w.]+\) )?to primitive`), "Cannot convert object to primitive value"},
	{regexp.MustCompile(`(?s)%!\w\(PANIC=\w+ method: .*\)`), "an object"}, // it could not be converted to text
	{regexp.MustCompile(` ?%!\w\(MISSING\)`), ""},
	{regexp.MustCompile(`^(Unexpected token) \([\w.*]+\)`), "$1"},
	{regexp.MustCompile(`(?s)^(Compiler|Internal|Runtime) bug: .*`), "The operation cannot be done with this value"},
}

// cleanText returns a message of the engine without what is Go's.
func cleanText(message string) string {
	for _, each := range engineText {
		message = each.pattern.ReplaceAllString(message, each.instead)
	}
	return message
}

// nativeConstruct is how the engine calls a constructor that is written in Go.
type nativeConstruct = func(args []goja.Value, newTarget *goja.Object) *goja.Object

// cleanErrors has the constructors by which the engine makes its errors clean
// their messages. It reports whether it could: the engine offers no hook, so
// the field that holds a constructor's function is replaced.
func cleanErrors(rt *goja.Runtime) bool {
	for _, name := range [...]string{"TypeError", "SyntaxError", "RangeError"} {
		construct := constructOf(rt.GlobalObject().Get(name).(*goja.Object))
		if construct == nil {
			return false
		}
		made := *construct
		*construct = func(args []goja.Value, newTarget *goja.Object) *goja.Object {
			if len(args) == 1 && goja.IsString(args[0]) {
				text := args[0].String()
				if clean := cleanText(text); clean != text {
					args = []goja.Value{rt.ToValue(clean)}
				}
			}
			return made(args, newTarget)
		}
	}
	return true
}

// constructOf finds the function of a constructor; nil: this version of the
// engine keeps it elsewhere.
func constructOf(constructor *goja.Object) *nativeConstruct {
	self := reflect.ValueOf(constructor).Elem().FieldByName("self")
	for self.IsValid() && (self.Kind() == reflect.Interface || self.Kind() == reflect.Pointer) {
		self = self.Elem()
	}
	if self.Kind() != reflect.Struct {
		return nil
	}
	field := self.FieldByName("construct")
	if !field.IsValid() || !field.CanAddr() || field.Type() != reflect.TypeFor[nativeConstruct]() {
		return nil
	}
	return (*nativeConstruct)(field.Addr().UnsafePointer())
}

// Function makes a function that scripts see, or whose frame they may find in a
// stack, under a name of theirs: the engine would show the Go symbol.
func (iso *Isolate) Function(name string, f func(goja.FunctionCall) goja.Value) *goja.Object {
	object := iso.runtime.ToValue(f).(*goja.Object)
	// Cannot fail: the property is the engine's, and configurable.
	_ = object.DefineDataProperty("name", iso.runtime.ToValue(name), goja.FLAG_FALSE, goja.FLAG_TRUE, goja.FLAG_FALSE)
	return object
}
