package jsruntime

import (
	"reflect"
	"runtime"

	"github.com/dop251/goja"
)

var arrayBufferType = reflect.TypeFor[goja.ArrayBuffer]()

// BufferBytes returns the bytes of an ArrayBuffer, or of a typed array or
// DataView over one, not a copy. attached is false when the buffer is detached:
// its content was transferred, and there is nothing to return.
//
// Object.Export must not be asked for a view before that is known. It makes a
// slice at the view's offset from where the memory was, which is nowhere: to
// read it ends the process, or reads what lies at that address.
func BufferBytes(rt *goja.Runtime, o *goja.Object) (data []byte, attached bool) {
	switch t := o.ExportType(); {
	case t == arrayBufferType:
		return bufferBytes(o)
	case t.Kind() == reflect.Slice && o.Get("0") == nil:
		// A typed array has no elements when its buffer is detached. No script
		// can fool that, but only tell a lie about which buffer it was.
		if buffer, ok := o.Get("buffer").(*goja.Object); ok && buffer.ExportType() == arrayBufferType {
			_, attached = bufferBytes(buffer)
			return nil, attached
		}
		return nil, true
	}
	// Any other typed array has its memory. A DataView slices what is left of
	// it when it is detached, and that is out of bounds.
	defer func() {
		if v := recover(); v != nil {
			if _, outOfBounds := v.(runtime.Error); !outOfBounds {
				panic(v)
			}
			data, attached = nil, false
		}
	}()
	if err := rt.ExportTo(o, &data); err != nil {
		panic(rt.NewTypeError("the buffer cannot be read: %s", err.Error()))
	}
	return data, true
}

func bufferBytes(o *goja.Object) (data []byte, attached bool) {
	buffer := o.Export().(goja.ArrayBuffer)
	return buffer.Bytes(), !buffer.Detached()
}
