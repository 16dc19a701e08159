package webapi

import (
	"strings"

	"github.com/dop251/goja"
	"github.com/dustin/go-humanize"
)

// body is the body of a Request or Response (Fetch §5.3): content that nobody
// has touched, or a stream.
type body struct {
	content *content // nil once a stream was made of it, or it was taken
	stream  *stream
	taken   bool // read or sent without a stream
}

func (b *body) used() bool { return b != nil && (b.taken || b.stream != nil && b.stream.disturbed) }

// usable reports whether the body can still be read or sent.
func (b *body) usable() bool { return b == nil || !b.used() && !(b.stream != nil && b.stream.locked()) }

// bodyOwner is implemented by the states of Request and Response.
type bodyOwner interface {
	state
	bodyOf() *body // nil: null
	contentType() string
}

// bodyMethods and bodyAccessors are the Body mixin.
var bodyMethods = []method{
	{"arrayBuffer", 0, consume(func(r *realm, data []byte) goja.Value { return r.rt.ToValue(r.rt.NewArrayBuffer(data)) })},
	{"bytes", 0, consume(func(r *realm, data []byte) goja.Value { return r.newBytes(data) })},
	{"json", 0, consume(func(r *realm, data []byte) goja.Value { return r.iso.ParseJSON(bodyText(data)) })},
	{"text", 0, consume(func(r *realm, data []byte) goja.Value { return r.rt.ToValue(bodyText(data)) })},
}

var bodyAccessors = []accessor{
	{"body", get(func(r *realm, owner bodyOwner) goja.Value {
		b := owner.bodyOf()
		if b == nil {
			return goja.Null()
		}
		return r.streamOf(b).object()
	}), nil},
	{"bodyUsed", get(func(r *realm, owner bodyOwner) goja.Value { return r.rt.ToValue(owner.bodyOf().used()) }), nil},
}

// includeBody adds the Body mixin to a class. Request and Response share the
// functions: they accept either.
func (r *realm) includeBody(c *class) {
	if r.bodyFunctions == nil {
		r.bodyFunctions = make(map[string]goja.Value, len(bodyMethods)+len(bodyAccessors))
		for _, m := range bodyMethods {
			r.bodyFunctions[m.name] = r.function(m)
		}
		for _, a := range bodyAccessors {
			r.bodyFunctions[a.name], _ = r.accessorFunctions(a)
		}
	}
	for _, m := range bodyMethods {
		r.must(c.prototype.DefineDataProperty(m.name, r.bodyFunctions[m.name], goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_TRUE))
	}
	for _, a := range bodyAccessors {
		r.must(c.prototype.DefineAccessorProperty(a.name, r.bodyFunctions[a.name], nil, goja.FLAG_TRUE, goja.FLAG_TRUE))
	}
}

// bodyText is UTF-8 decode: without a byte order mark.
func bodyText(data []byte) string { return decodeUTF8(strings.TrimPrefix(string(data), "\ufeff")) }

// consume makes a method that reads the whole body and resolves with what
// convert makes of it.
func consume(convert func(r *realm, data []byte) goja.Value) func(*realm, goja.FunctionCall) goja.Value {
	return promising(func(r *realm, owner bodyOwner, _ goja.FunctionCall) goja.Value {
		p := r.newPromise()
		r.readBody(owner.bodyOf(), func(data []byte, thrown goja.Value) {
			var v goja.Value
			if thrown == nil {
				v, thrown = r.attempt(func() goja.Value { return convert(r, data) })
			}
			if thrown != nil {
				p.reject(thrown)
			} else {
				p.resolve(v)
			}
		})
		return p.Value
	})
}

// readBody reads all of a body. The bytes are done's to keep.
func (r *realm) readBody(b *body, done func(data []byte, thrown goja.Value)) {
	if b == nil {
		done(nil, nil)
		return
	}
	if !b.usable() {
		panic(r.usedError())
	}
	if c := b.take(); c != nil {
		if c.reader == nil {
			done(append([]byte(nil), c.data...), nil)
			return
		}
		c.readAll(r, done)
		return
	}
	g := &gatherer{r: r, reader: r.acquireReader(b.stream), limit: r.iso.Limits().RequestBody, done: done}
	g.next()
}

func (r *realm) usedError() *goja.Object {
	return r.rt.NewTypeError("Body is unusable: it was read or sent already, or its stream is locked; clone() before reading it twice")
}

// take returns the content when it can be used without a stream, and marks the
// body as used; nil when the bytes come from a stream of the script.
func (b *body) take() *content {
	c := b.content
	if b.stream != nil {
		source, ok := b.stream.untouched()
		if !ok {
			return nil
		}
		c = source.content
		b.stream.disturbed = true
		b.stream.controller.drop()
		b.stream.close()
	}
	b.content, b.taken = nil, true
	return c
}

// streamOf returns the stream of a body, made on first use.
func (r *realm) streamOf(b *body) *stream {
	if b.stream == nil {
		c := b.content
		if c == nil {
			c = memory(nil)
		}
		b.stream = r.newStream(&bodySource{r: r, content: c})
		if b.taken {
			b.stream.disturbed = true
			b.stream.controller.close()
		}
		b.content = nil
	}
	return b.stream
}

// clone splits a body in two.
func (r *realm) cloneBody(b *body) *body {
	if b == nil {
		return nil
	}
	if b.stream == nil {
		mine, other := b.content.split(r)
		b.content = mine
		return &body{content: other}
	}
	first, second := r.tee(b.stream)
	b.stream = first
	return &body{stream: second}
}

// extractBody is "extract a body" (Fetch §5.2); kind is the Content-Type that
// comes with it, if any.
func (r *realm) extractBody(v goja.Value) (b *body, kind string) {
	if o := toObject(v); o != nil {
		if s, ok := stateOf[*stream](o); ok {
			if s.disturbed || s.locked() {
				panic(r.rt.NewTypeError("the stream given as body was read already or is locked"))
			}
			return &body{stream: s}, ""
		}
		if p, ok := stateOf[*searchParams](o); ok {
			return &body{content: memory([]byte(serializeForm(p.list)))}, "application/x-www-form-urlencoded;charset=UTF-8"
		}
		if data, ok := r.bufferSource(o); ok {
			return &body{content: memory(append([]byte(nil), data...))}, ""
		}
	}
	return &body{content: memory([]byte(r.toString(v)))}, textType
}

const textType = "text/plain;charset=UTF-8"

// gatherer reads a stream of the script to its end.
type gatherer struct {
	r      *realm
	reader *streamReader
	limit  int64
	data   []byte
	done   func(data []byte, thrown goja.Value)
}

func (g *gatherer) next() {
	g.reader.read(g.r, readRequest{
		chunk: func(v goja.Value) {
			data, thrown := g.r.chunkBytes(v)
			if g.data = append(g.data, data...); thrown == nil && g.limit > 0 && int64(len(g.data)) > g.limit {
				thrown = g.r.tooLarge(g.limit)
			}
			if thrown != nil {
				g.done(nil, thrown)
				g.reader.stream.cancel(thrown)
				return
			}
			g.again()
		},
		close: func() { g.done(g.data, nil) },
		fail:  func(reason goja.Value) { g.done(nil, reason) },
	})
}

// again reads on, in a task of its own when chunks are there already, so that
// many of them cannot exhaust the stack.
func (g *gatherer) again() {
	if len(g.reader.stream.controller.queue) == 0 {
		g.next()
		return
	}
	g.r.await(undefined(), func(goja.Value, bool) { g.next() })
}

// chunkBytes returns the bytes of a chunk of a body, or what to throw when it
// is none: a body's chunks must be Uint8Array.
func (r *realm) chunkBytes(v goja.Value) (data []byte, thrown goja.Value) {
	if o := toObject(v); o != nil && typedArrayNames[o.ExportType()] == "Uint8Array" {
		if exception := r.rt.Try(func() { data, _ = r.bufferSource(o) }); exception != nil {
			return nil, exception.Value()
		}
		return data, nil
	}
	return nil, r.rt.NewTypeError("a chunk of a body must be a Uint8Array, not %s; encode text with TextEncoder", describe(v))
}

// byteSize writes a size as one would configure it: "10 MiB".
func byteSize(n int64) string { return humanize.IBytes(uint64(n)) }
