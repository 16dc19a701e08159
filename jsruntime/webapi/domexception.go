package webapi

import "github.com/dop251/goja"

// domException is the state of a DOMException (Web IDL §2.8.1).
type domException struct {
	slot
	name, message string
}

// legacyCodes are the codes of the names that have one.
var legacyCodes = map[string]int{
	"IndexSizeError": 1, "HierarchyRequestError": 3, "WrongDocumentError": 4, "InvalidCharacterError": 5,
	"NoModificationAllowedError": 7, "NotFoundError": 8, "NotSupportedError": 9, "InUseAttributeError": 10,
	"InvalidStateError": 11, "SyntaxError": 12, "InvalidModificationError": 13, "NamespaceError": 14,
	"InvalidAccessError": 15, "TypeMismatchError": 17, "SecurityError": 18, "NetworkError": 19, "AbortError": 20,
	"URLMismatchError": 21, "QuotaExceededError": 22, "TimeoutError": 23, "InvalidNodeTypeError": 24, "DataCloneError": 25,
}

var domExceptionConstants = []constant{
	{"INDEX_SIZE_ERR", 1},
	{"DOMSTRING_SIZE_ERR", 2},
	{"HIERARCHY_REQUEST_ERR", 3},
	{"WRONG_DOCUMENT_ERR", 4},
	{"INVALID_CHARACTER_ERR", 5},
	{"NO_DATA_ALLOWED_ERR", 6},
	{"NO_MODIFICATION_ALLOWED_ERR", 7},
	{"NOT_FOUND_ERR", 8},
	{"NOT_SUPPORTED_ERR", 9},
	{"INUSE_ATTRIBUTE_ERR", 10},
	{"INVALID_STATE_ERR", 11},
	{"SYNTAX_ERR", 12},
	{"INVALID_MODIFICATION_ERR", 13},
	{"NAMESPACE_ERR", 14},
	{"INVALID_ACCESS_ERR", 15},
	{"VALIDATION_ERR", 16},
	{"TYPE_MISMATCH_ERR", 17},
	{"SECURITY_ERR", 18},
	{"NETWORK_ERR", 19},
	{"ABORT_ERR", 20},
	{"URL_MISMATCH_ERR", 21},
	{"QUOTA_EXCEEDED_ERR", 22},
	{"TIMEOUT_ERR", 23},
	{"INVALID_NODE_TYPE_ERR", 24},
	{"DATA_CLONE_ERR", 25},
}

func domExceptionClass() *classDef {
	return &classDef{
		name: "DOMException",
		construct: func(r *realm, call goja.ConstructorCall) {
			e := &domException{name: "Error"}
			if v := call.Argument(0); !goja.IsUndefined(v) {
				e.message = r.toString(v)
			}
			if v := call.Argument(1); !goja.IsUndefined(v) {
				e.name = r.toString(v)
			}
			r.attach(call.This, e)
			r.addStack(call.This, e)
		},
		accessors: []accessor{
			{"name", get(func(r *realm, e *domException) goja.Value { return r.rt.ToValue(e.name) }), nil},
			{"message", get(func(r *realm, e *domException) goja.Value { return r.rt.ToValue(e.message) }), nil},
			{"code", get(func(r *realm, e *domException) goja.Value { return r.rt.ToValue(legacyCodes[e.name]) }), nil},
		},
		constants: domExceptionConstants,
		finish: func(r *realm, c *class) {
			r.must(c.prototype.SetPrototype(r.intrinsic("Error").Get("prototype").(*goja.Object)))
		},
	}
}

// newDOMException makes a DOMException; panic with it to throw.
func (r *realm) newDOMException(name, message string) *goja.Object {
	e := &domException{name: name, message: message}
	o := r.create(classDOMException, e)
	r.addStack(o, e)
	return o
}

// addStack gives a DOMException the property stack that errors have.
func (r *realm) addStack(o *goja.Object, e *domException) {
	trace := r.rt.NewTypeError("").Get("stack").String()
	r.must(o.DefineDataProperty("stack", r.rt.ToValue(e.name+": "+e.message+afterFirstLine(trace)),
		goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_FALSE))
}

// afterFirstLine returns what follows the first line of s, line break included.
func afterFirstLine(s string) string {
	for i := range len(s) {
		if s[i] == '\n' {
			return s[i:]
		}
	}
	return ""
}
