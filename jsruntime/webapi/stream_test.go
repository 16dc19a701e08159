package webapi_test

import "testing"

func TestReadableStream(t *testing.T) {
	expectations{
		{`(async () => { const s = new ReadableStream({ start(c) { c.enqueue("a"); c.enqueue("b"); c.close() } }), r = s.getReader();
			return [await r.read(), await r.read(), await r.read(), await r.closed] })()`, `[{"value":"a","done":false},{"value":"b","done":false},{"done":true},null]`},
		{`(async () => { let n = 0; const s = new ReadableStream({ pull(c) { c.enqueue(n++); if (n == 3) c.close() } }, { highWaterMark: 0 }), seen = [];
			for (let it = s[Symbol.asyncIterator](), step; !(step = await it.next()).done;) seen.push(step.value); return [seen, s.locked] })()`, `[[0,1,2],false]`},
		{`(async () => { const log = []; const s = new ReadableStream({ async pull(c) { log.push("pull"); await 0; c.enqueue(1) }, cancel(r) { log.push("cancel " + r) } }, new CountQueuingStrategy({ highWaterMark: 2 }));
			await new Promise(r => setTimeout(r, 3)); await s.cancel("why"); return log })()`, `["pull","pull","cancel why"]`},
		{`(async () => { const s = new ReadableStream({ pull() { throw new RangeError("broken") } }); return s.getReader().read() })()`, `throws RangeError: broken`},
		{`(async () => { const s = new ReadableStream({ async pull() { throw new RangeError("broken") } }), r = s.getReader(); return [await r.read().catch(e => e.message), await r.closed.catch(e => e.message)] })()`, `["broken","broken"]`},
		{`(async () => { const s = new ReadableStream({ start() { throw new RangeError("at start") } }) })()`, `throws RangeError: at start`},
		{`(async () => { const s = new ReadableStream({ async start() { throw new RangeError("late") } }); return s.getReader().read() })()`, `throws RangeError: late`},
		{`(async () => { let c; const s = new ReadableStream({ start(x) { c = x } }), r = s.getReader(), p = r.read(); c.enqueue(5); return [await p, c.desiredSize, (c.close(), c.desiredSize)] })()`, `[{"value":5,"done":false},1,0]`},
		{`(async () => { let c; const s = new ReadableStream({ start(x) { c = x } }); c.error(new RangeError("e")); return [c.desiredSize, await s.getReader().read().catch(e => e.message)] })()`, `[null,"e"]`},
		{`(() => { let c; new ReadableStream({ start(x) { c = x } }); c.close(); c.enqueue(1) })()`, `throws TypeError: *`},
		{`(() => { let c; new ReadableStream({ start(x) { c = x } }); c.close(); c.close() })()`, `throws TypeError: *`},
		{`(async () => { const s = new ReadableStream(), r = s.getReader(), p = r.read().catch(e => e.name); const was = s.locked; r.releaseLock(); return [was, s.locked, await p, await r.closed.catch(e => e.name), await r.read().catch(e => e.name)] })()`, `[true,false,"TypeError","TypeError","TypeError"]`},
		{`(() => { const s = new ReadableStream(); s.getReader(); s.getReader() })()`, `throws TypeError: *`},
		{`new ReadableStream().cancel().then(() => "done")`, `"done"`},
		{`(() => { const s = new ReadableStream(); s.getReader(); return s.cancel() })()`, `throws TypeError: *`},
		{`(async () => { const [a, b] = new ReadableStream({ start(c) { c.enqueue(1); c.enqueue(2); c.close() } }).tee(); return [await Array.fromAsync(a), await Array.fromAsync(b)] })()`, `[[1,2],[1,2]]`},
		{`(async () => { let why; const [a, b] = new ReadableStream({ cancel(r) { why = r } }).tee(); const p = a.cancel("x"); await b.cancel("y"); await p; return why })()`, `["x","y"]`},
		{`(async () => { const [a, b] = new Response("abc").body.tee(); return [await new Response(a).text(), await new Response(b).text()] })()`, `["abc","abc"]`},
		{`(async () => { let why; const s = new ReadableStream({ pull(c) { c.enqueue(1) }, cancel() { why = "cancelled" } }), it = s.values(); await it.next(); await it.return(); return [why, s.locked] })()`, `["cancelled",false]`},
		{`(async () => { const s = new ReadableStream({ pull(c) { c.enqueue(1) } }), it = s.values({ preventCancel: true }); await it.next(); await it.return(); return (await s.getReader().read()).value })()`, `1`},
		{`(async () => { const s = new ReadableStream({ start(c) { c.enqueue("x") } }, { size() { throw new RangeError("size") } }) })()`, `throws RangeError: size`},
		{`(async () => { let c; const [a, b] = new ReadableStream({ start(x) { c = x } }).tee(); c.error(new RangeError("both")); return [await a.getReader().closed.catch(e => e.message), await b.getReader().closed.catch(e => e.message)] })()`, `["both","both"]`},
		{`Array.fromAsync(ReadableStream.from(["a", Promise.resolve("b")]))`, `["a","b"]`},
		{`(async () => { const log = [], it = { [Symbol.asyncIterator]() { return this }, async next() { return { value: 1 } }, async return(v) { log.push(v); return {} } }, s = ReadableStream.from(it), r = s.getReader(); log.push((await r.read()).value); await r.cancel("why"); return log })()`, `[1,"why"]`},
		{`ReadableStream.from({ [Symbol.iterator]() { return { next() { throw new RangeError("next") } } } }).getReader().read()`, `throws RangeError: next`},
		{`ReadableStream.from({ [Symbol.iterator]() { return { next: () => 5 } } }).getReader().read()`, `throws TypeError: *`},
		{`ReadableStream.from(null)`, `throws TypeError: *`},
		{`ReadableStream.from({})`, `throws TypeError: *`},
		{`new ReadableStream(null)`, `throws TypeError: *`},
		{`new ReadableStream({ type: "bytes" })`, `throws TypeError: *`},
		{`new ReadableStream({}, { highWaterMark: -1 })`, `throws RangeError: *`},
		{`new ByteLengthQueuingStrategy({ highWaterMark: 3 }).size(new Uint8Array(5))`, `5`},
		{`new ReadableStreamDefaultController()`, `throws TypeError: Illegal constructor`},
		{`(async () => { let pulls = 0; const s = new ReadableStream({ pull(c) { pulls++; c.enqueue(new Uint8Array(10)) } }, new ByteLengthQueuingStrategy({ highWaterMark: 25 })); await new Promise(r => setTimeout(r, 3)); return pulls })()`, `3`},
	}.check(t)
}

func TestAbandonedStreamIsNoUnhandledRejection(t *testing.T) {
	// Nobody listens to closed or to what cancel returned.
	got := eval(t, `const s = new ReadableStream({ start(c) { c.error(new RangeError("unseen")) } }); s.getReader(); await new Promise(r => setTimeout(r, 2)); return "fine"`)
	if got != `"fine"` {
		t.Errorf("result is %s", got)
	}
}
