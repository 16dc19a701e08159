package edge

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

// What fetch() asks for, and decodes (RFC 9110 §8.4.1; zstd: RFC 8878).
const (
	acceptSmall = "gzip, deflate" // take 32 KiB each
	acceptAll   = acceptSmall + ", zstd"
)

// maxZstdWindow is the memory that one body of zstd may take to decode, and what
// senders have to keep to (RFC 9659 §3). maxZstd is how many an edge decodes at
// once: the senders may be the tasks' accomplices.
const (
	maxZstdWindow = 8 << 20
	maxZstd       = 32
)

// decoders make the readers of what is decoded. They keep a window of what they
// have read, no more.
var decoders = map[string]func(io.Reader) (io.Reader, error){
	"gzip":    func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) },
	"x-gzip":  func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) },
	"deflate": inflate,
	"zstd": func(r io.Reader) (io.Reader, error) {
		// One that works on its own goroutine would go on when nobody reads.
		d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxZstdWindow))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	},
}

// inflate reads deflate: a zlib stream, as it should be, or the bare one that
// some servers send.
func inflate(r io.Reader) (io.Reader, error) {
	b := bufio.NewReader(r)
	head, err := b.Peek(2)
	if err != nil {
		return nil, noEOF(err)
	}
	if head[0]&0x0f == 8 && (uint(head[0])<<8|uint(head[1]))%31 == 0 { // RFC 1950 §2.2
		return zlib.NewReader(b)
	}
	return flate.NewReader(b), nil
}

// wantDecoded has a request ask for an encoded answer, unless it is for a part
// of one: the parts of encoded content cannot be decoded. Who asks for zstd has
// a place to decode it, so that no task takes it from another's answer.
func (e *Edge) wantDecoded(h *hop) {
	switch {
	case h.method == http.MethodHead || h.header.Get("Range") != "":
	case e.zstd.Add(1) <= maxZstd:
		h.zstd = true
		h.header["Accept-Encoding"] = []string{acceptAll}
	default:
		e.zstd.Add(-1)
		h.header["Accept-Encoding"] = []string{acceptSmall}
	}
}

// leaveZstd gives up the place that a request kept.
func (e *Edge) leaveZstd(h *hop) {
	if h.zstd {
		h.zstd = false
		e.zstd.Add(-1)
	}
}

// decode replaces the body of an answer that was asked for encoded by one that
// is not, and reports whether it did. Any other encoding is the script's to
// decode.
func (e *Edge) decode(resp *http.Response, h *hop) bool {
	encoding := ""
	if resp.Request.Header.Get("Accept-Encoding") != "" && resp.Body != http.NoBody && resp.ContentLength != 0 {
		encoding = strings.ToLower(strings.TrimSpace(strings.Join(resp.Header["Content-Encoding"], ",")))
	}
	if encoding != "zstd" {
		e.leaveZstd(h)
	}
	open := decoders[encoding]
	if open == nil {
		return false
	}
	body := &decoded{body: resp.Body, open: open}
	if encoding == "zstd" {
		if !h.zstd && e.zstd.Add(1) > maxZstd {
			body.err = errTooManyZstd
		}
		body.free = func() { e.zstd.Add(-1) }
	}
	resp.Body = body
	// They are about what came over the wire.
	resp.Header.Del("Content-Encoding")
	resp.Header.Del("Content-Length")
	return true
}

// errTooManyZstd is for answers that were not asked to be of zstd.
var errTooManyZstd = fmt.Errorf("more than %d answers with Content-Encoding: zstd are read at once; try again", maxZstd)

// decoded is a body that is decoded as it is read.
type decoded struct {
	body io.ReadCloser
	open func(io.Reader) (io.Reader, error)
	free func() // called when it is closed; may be nil

	mu     sync.Mutex // held while the reader is used: Close comes from other goroutines
	reader io.Reader  // made when it is first read, which may wait
	err    error      // for ever
}

// Read implements io.Reader.
func (d *decoded) Read(p []byte) (n int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err == nil && d.reader == nil {
		if reader, err := d.open(d.body); err == nil {
			d.reader = reader
		} else {
			d.err = noEOF(err)
		}
	}
	if d.err != nil {
		return 0, d.err
	}
	n, d.err = d.reader.Read(p)
	return n, d.err
}

// noEOF keeps a body that ends before it has begun from being an empty one.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Close implements io.Closer. A Read that waits returns.
func (d *decoded) Close() error {
	err := d.body.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	if closer, ok := d.reader.(io.Closer); ok {
		_ = closer.Close() // frees its memory; whether it was at its end does not matter
	}
	d.reader = nil
	if d.free != nil {
		d.free()
		d.free = nil
	}
	if d.err == nil {
		d.err = http.ErrBodyReadAfterClose
	}
	return err
}
