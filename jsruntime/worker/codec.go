//go:build unix

package worker

import (
	"net/http"

	"github.com/webtask-edge/caddy-webtask/jsruntime/worker/internal/wire"
)

// putHeader encodes a header: how many values in all, how many names, and then
// each name with its values.
func putHeader(b []byte, h http.Header) []byte {
	total := 0
	for _, values := range h {
		total += len(values)
	}
	b = wire.PutUint(wire.PutUint(b, uint64(total)), uint64(len(h)))
	for name, values := range h {
		b = wire.PutUint(wire.PutString(b, name), uint64(len(values)))
		for _, value := range values {
			b = wire.PutString(b, value)
		}
	}
	return b
}

// Bounds of a header from a worker.
const (
	maxHeaderNames  = 1000
	maxHeaderValues = 2000
)

// decoder reads messages.
type decoder struct {
	wire.Decoder
	trusted bool // it comes from the edge, whose clients may send more headers than scripts
}

// header decodes what putHeader wrote; nil when it is empty. Every name and
// value takes a byte at least, so that counts alone reserve no memory.
func (d *decoder) header() http.Header {
	maxValues, maxNames := uint64(len(d.Rest)), uint64(len(d.Rest))
	if !d.trusted {
		maxValues, maxNames = min(maxValues, maxHeaderValues), min(maxNames, maxHeaderNames)
	}
	total, names := d.UintUpTo(maxValues), d.UintUpTo(maxNames)
	if names == 0 {
		return nil
	}
	h := make(http.Header, names)
	values := make([]string, 0, total)
	for range names {
		name, n := d.String(), d.Uint()
		if n > uint64(cap(values)-len(values)) {
			d.Fail("more header values than were announced")
			return nil
		}
		start := len(values)
		for range n {
			values = append(values, d.String())
		}
		h[name] = values[start:len(values):len(values)]
	}
	if d.Err != nil {
		return nil
	}
	return h
}
