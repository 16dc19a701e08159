package webapi_test

import "testing"

// TestDetachedBuffers gives whatever takes bytes an ArrayBuffer whose content
// was transferred, and views of it. The memory they had is gone.
func TestDetachedBuffers(t *testing.T) {
	const detached = `((make) => { const v = make(new ArrayBuffer(65536)); structuredClone(1, { transfer: [v.buffer ?? v] }); return v })`
	const thrown = `throws TypeError: *`
	var all expectations
	for _, view := range []string{"b => b", "b => new Uint8Array(b)", "b => new Uint8Array(b, 65528)", "b => new DataView(b, 1)", "b => new Float64Array(b, 8)"} {
		v := detached + "(" + view + ")"
		all = append(all, expectations{
			{`new Response(` + v + `)`, thrown},
			{`new Request("https://example.com/", { method: "POST", body: ` + v + ` })`, thrown},
			{`new TextDecoder().decode(` + v + `)`, thrown},
			{`new TextDecoder("utf-16le").decode(` + v + `, { stream: true })`, thrown},
			{`structuredClone(` + v + `)`, `throws DataCloneError: *`},
			{`(() => { const v = ` + v + `; try { Object.defineProperty(v, "buffer", { value: new ArrayBuffer(65536) }); new Response(v) } catch {} })()`, `undefined`},
			{`console.log(` + v + `)`, `undefined`},
		}...)
	}
	bytes := detached + "(b => new Uint8Array(b, 8))"
	all = append(all, expectations{
		{`crypto.getRandomValues(` + bytes + `)`, thrown},
		{`new TextEncoder().encodeInto("abc", ` + bytes + `)`, `{"read":0,"written":0}`},
		{`new Response(new ReadableStream({ start(c) { c.enqueue(` + bytes + `); c.close() } })).text()`, thrown},
		{`new Response(new Uint8Array(0)).text()`, `""`},
		{`new Response(new DataView(new ArrayBuffer(8), 8)).text()`, `""`},
	}...)
	all.check(t)
}

// TestAnswerOfDetachedBuffers has a handler answer with a stream of them.
func TestAnswerOfDetachedBuffers(t *testing.T) {
	const code = `exports.default = () => new Response(new ReadableStream({ pull(c) {
		const v = new Uint8Array(new ArrayBuffer(64), 8);
		structuredClone(1, { transfer: [v.buffer] });
		c.enqueue(v);
	} }))`
	_, body, err := newTask(t, code).do(get("https://example.com/"))
	if err == nil || body != "" {
		t.Errorf("answered %q, %v", body, err)
	}
}
