package webapi

import (
	"math/big"
	"reflect"

	"github.com/dop251/goja"
)

// How goja exports objects: the only way to tell their kinds that scripts
// cannot fool.
var (
	arrayBufferType = reflect.TypeFor[goja.ArrayBuffer]()
	objectType      = reflect.TypeFor[map[string]any]()
	mapType         = reflect.TypeFor[[][2]any]()
	bigIntType      = reflect.TypeFor[*big.Int]()
	arrayType       = reflect.TypeFor[[]any]()
	promiseType     = reflect.TypeFor[*goja.Promise]()
	proxyType       = reflect.TypeFor[goja.Proxy]()
)

// typedArrayNames are the constructors of typed arrays by what they export as.
// Uint8ClampedArray exports as []uint8 too and is told apart by its tag.
var typedArrayNames = map[reflect.Type]string{
	reflect.TypeFor[[]int8]():    "Int8Array",
	reflect.TypeFor[[]uint8]():   "Uint8Array",
	reflect.TypeFor[[]int16]():   "Int16Array",
	reflect.TypeFor[[]uint16]():  "Uint16Array",
	reflect.TypeFor[[]int32]():   "Int32Array",
	reflect.TypeFor[[]uint32]():  "Uint32Array",
	reflect.TypeFor[[]int64]():   "BigInt64Array",
	reflect.TypeFor[[]uint64]():  "BigUint64Array",
	reflect.TypeFor[[]float32](): "Float32Array",
	reflect.TypeFor[[]float64](): "Float64Array",
}
