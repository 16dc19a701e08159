package webapi

import (
	"encoding/hex"
	"io"

	"github.com/dop251/goja"
)

// cryptoState is the state of the global crypto (Web Cryptography §10): it has
// none.
type cryptoState struct{ slot }

// maxRandomBytes is what one call of getRandomValues fills at most.
const maxRandomBytes = 65536

func cryptoClass() *classDef {
	return &classDef{
		name: "Crypto",
		methods: []method{
			{"getRandomValues", 1, on(getRandomValues)},
			{"randomUUID", 0, on(randomUUID)},
		},
	}
}

func getRandomValues(r *realm, _ *cryptoState, call goja.FunctionCall) goja.Value {
	array := toObject(r.argument(call, 0, "crypto.getRandomValues"))
	kind := ""
	if array != nil {
		kind = typedArrayNames[array.ExportType()]
	}
	if kind == "" || kind == "Float32Array" || kind == "Float64Array" {
		panic(r.newDOMException("TypeMismatchError", "crypto.getRandomValues: the argument must be an integer typed array"))
	}
	data, _ := r.bufferSource(array)
	if len(data) > maxRandomBytes {
		panic(r.newDOMException("QuotaExceededError", "crypto.getRandomValues: one call fills 65536 bytes at most"))
	}
	r.readRandom(data)
	return array
}

// randomUUID returns a version 4 UUID (RFC 9562 §5.4).
func randomUUID(r *realm, _ *cryptoState, _ goja.FunctionCall) goja.Value {
	var id [16]byte
	r.readRandom(id[:])
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	var text [36]byte
	at := 0
	for i, group := range [][]byte{id[0:4], id[4:6], id[6:8], id[8:10], id[10:16]} {
		if i > 0 {
			text[at] = '-'
			at++
		}
		at += hex.Encode(text[at:], group)
	}
	return r.rt.ToValue(string(text[:]))
}

func (r *realm) readRandom(data []byte) {
	if _, err := io.ReadFull(r.platform.random, data); err != nil {
		panic(r.iso.NewError("OperationError", err, "crypto: the source of randomness failed"))
	}
}
