//go:build !cgo

package process

// cgoEnabled says that threads are those of the C library.
const cgoEnabled = false
