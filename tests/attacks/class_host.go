package attacks

// hostAttacks misuse what the edge offers: sessions, waitUntil, fetch, timers.
func hostAttacks() []Attack {
	tooLarge := append([]Outcome{{Status: 413}, {Status: 503}, {Status: 409}}, harmless...)
	attacks := []Attack{
		{Name: "a session value of a megabyte", Code: `return tried(() => ctx.session.set("k", "x".repeat(1 << 20)));`, Want: tooLarge},
		{Name: "a session value of 32 megabytes", Code: `return tried(() => ctx.session.set("k", "x".repeat(1 << 25)));`, Want: tooLarge, Dangerous: true},
		{Name: "a session key of a megabyte", Code: `return tried(() => ctx.session.set("k".repeat(1 << 20), 1));`, Want: tooLarge},
		{Name: "session keys without end", Code: `for (let i = 0; ; i++) await ctx.session.set("k" + i, i);`, Want: append(tooLarge, stopped...)},
		{Name: "session keys of odd kinds", Code: `const out = []; for (const k of ["", "__proto__", "constructor", "\0", "\ud800", "../x", 1, null, undefined, {}, Symbol("k")]) out.push(await tried(() => ctx.session.set(k, 1)) + (await tried(() => ctx.session.get(k)))); return "tried " + out.join("\n");`, Want: tooLarge},
		{Name: "session values of odd kinds", Code: `const out = []; for (const v of [1n, () => 1, Symbol("v"), NaN, undefined, new Proxy({}, {}), new Date(NaN), [,], { toJSON() { throw 1; } }, globalThis]) out.push(await tried(() => ctx.session.set("k", v))); return "tried " + out.join("\n");`, Want: tooLarge},
		{Name: "a session value with a getter that loops", Code: `await ctx.session.set("k", { get x() { for (;;) {} } });`, Want: stopped},
		{Name: "update that loops", Code: `await ctx.session.update("k", () => { for (;;) {} });`, Want: stopped},
		{Name: "update that never resolves", Code: `await ctx.session.update("k", () => new Promise(() => {}));`, Want: append([]Outcome{{Status: 504}}, tooLarge...)},
		{Name: "update within update", Code: `return tried(() => ctx.session.update("k", async () => { await ctx.session.update("k", (n) => (n ?? 0) + 1); return 1; }));`, Want: append([]Outcome{{Status: 504}}, tooLarge...)},
		{Name: "update that sets the same key", Code: `return tried(() => ctx.session.update("k", (n) => { ctx.session.set("k", Math.random()); return 1; }));`, Want: append([]Outcome{{Status: 504}}, tooLarge...)},
		{Name: "updates against each other", Code: `await Promise.all(Array.from({ length: 50 }, () => ctx.session.update("k", (n) => (n ?? 0) + 1))); return show(await ctx.session.get("k"));`, Often: 4, Want: append([]Outcome{{Status: 504}}, tooLarge...)},
		{Name: "regenerates for ever", Code: `for (;;) await ctx.session.regenerate();`, Want: append(tooLarge, stopped...)},
		{Name: "destroys and writes", Code: `await ctx.session.set("k", 1); await ctx.session.destroy(); await ctx.session.set("k", 2); return show(await ctx.session.entries());`, Want: tooLarge},
		{Name: "destroys for ever", Code: `for (;;) { await ctx.session.set("k", 1); await ctx.session.destroy(); }`, Want: append(tooLarge, stopped...)},
		{Name: "entries for ever", Code: `await ctx.session.set("k", "x".repeat(10000)); for (;;) await ctx.session.entries();`, Want: append(tooLarge, stopped...)},
		{Name: "sessions without end", Code: `await ctx.session.set("k", 1); return "begun";`, Often: 40, Want: append([]Outcome{{Status: 503}}, tooLarge...)},
		{Name: "a session id that is set", Code: `try { ctx.session.id = "victim"; } catch (e) {} await ctx.session.set("k", 1); return "id " + ctx.session.id;`, Want: said("id ")},
		{Name: "session calls in a stream's pull", Code: `return new Response(new ReadableStream({ async pull(c) { c.enqueue(new TextEncoder().encode(await tried(() => ctx.session.get("k")))); c.close(); } }));`},
		{Name: "waitUntil of what is no promise", Code: `for (const x of [undefined, null, 1, {}, { then: 1 }, { then() { throw 1; } }]) { try { ctx.waitUntil(x); } catch (e) {} } return "waited";`, Want: said("waited")},
		{Name: "waitUntil that fails", Code: `ctx.waitUntil(Promise.reject(new Error("after"))); return "answered";`, Want: said("answered")},
		{Name: "dies after the answer", Code: `ctx.waitUntil((async () => { await new Promise((r) => setTimeout(r, 20)); "x".repeat(2 ** 40); })()); return "answered";`, Want: append(said("answered"), burst...), Dangerous: true},
		{Name: "dies after the answer, many at once", Code: `ctx.waitUntil((async () => { await new Promise((r) => setTimeout(r, 20)); const a = []; for (;;) a.push("x".repeat(1 << 26) + a.length); })()); return "answered";`, Often: 8, Want: append([]Outcome{{Status: 200, Text: "answered"}, {Status: 429}, {Status: 502}, {Status: 503}}, burst...), Dangerous: true},
		{Name: "dies in the stream of the answer", Code: `let n = 0; return new Response(new ReadableStream({ pull(c) { if (n++ > 3) "x".repeat(2 ** 40); c.enqueue(new Uint8Array(1000)); } }));`, Want: append([]Outcome{{Status: 200, Broken: true}}, burst...), Dangerous: true},
		{Name: "fetches beyond subrequests", Code: `const out = []; for (let i = 0; i < 25; i++) out.push(await probe("%ORIGIN%/empty?" + i)); return out.filter((x) => x.startsWith("reached")).length <= 20 ? "bounded" : "unbounded";`, Want: said("bounded")},
		{Name: "redirects beyond subrequests", Code: `return probe("%ORIGIN%/redirect-loop");`, Want: said("refused")},
		{Name: "fetches beyond fetch_rate", Code: `const out = await Promise.all(Array.from({ length: 20 }, () => probe("%ORIGIN%/empty"))); return "tried " + out.length;`, Often: 40, Want: said("tried")},
		{Name: "bytes beyond fetch_bytes", Code: `const reader = (await fetch("%ORIGIN%/endless")).body.getReader(), start = Date.now(); let n = 0; while (Date.now() - start < 1000) n += (await reader.read()).value.length; return n < 40 << 20 ? "bounded" : "unbounded " + n;`, Want: append(said("bounded"), overTime)},
		{Name: "timers beyond timers", Code: `try { for (let i = 0; i < 5000; i++) setTimeout(() => {}, 1e6); return "unbounded"; } catch (e) { return "bounded: " + e; }`, Want: said("bounded")},
		{Name: "timers with odd arguments", Code: `const out = []; for (const a of [undefined, null, "x", {}, Symbol(), 1n, NaN, -1, Infinity, { valueOf() { throw 1; } }]) { for (const b of [undefined, NaN, -1, 2 ** 53, "x", {}]) { try { clearTimeout(setTimeout(a, b)); out.push("ok"); } catch (e) { out.push(String(e)); } } } return "tried " + out.length;`, Want: said("tried")},
		{Name: "a timer of text", Code: `globalThis.ran = 0; try { setTimeout("globalThis.ran = 1", 0); } catch (e) { return "ran 0"; } await new Promise((r) => setTimeout(r, 20)); return "ran " + globalThis.ran;`, Want: said("ran ")},
		{Name: "fetch with odd arguments", Code: `const out = []; for (const a of [undefined, null, 1, {}, "", "http://", "http://:80", "http://[", Symbol(), new URL("%ORIGIN%")]) { for (const b of [undefined, null, 1, { method: 1 }, { headers: 1 }, { body: Symbol() }, { redirect: "x" }, { signal: {} }, { get method() { throw 1; } }]) { try { await fetch(a, b); out.push("ok"); } catch (e) { out.push(String(e)); } } } return "tried " + out.length;`, Want: append(said("tried"), overTime)},
		{Name: "Request with odd arguments", Code: `const out = []; for (const m of ["", " ", "GET\n", "CONNECT", "TRACE", "TRACK", "g\u00e9t", "x".repeat(1e5)]) out.push(await tried(() => new Request("%ORIGIN%", { method: m }).method.length)); return "tried " + out.join();`, Want: said("tried")},
		{Name: "getRandomValues with odd arguments", Code: `const out = []; for (const a of [undefined, 1, {}, [], new ArrayBuffer(8), new Float64Array(1), new Uint8Array(65537), new DataView(new ArrayBuffer(1))]) out.push(await tried(() => crypto.getRandomValues(a))); return "tried " + out.length;`, Want: said("tried")},
		{Name: "structuredClone with transfers", Code: `const b = new ArrayBuffer(8); const out = [await tried(() => structuredClone(b, { transfer: [b, b] })), await tried(() => structuredClone(b, { transfer: [1] })), await tried(() => structuredClone(b, { transfer: { length: 2 ** 32 } }))]; return "tried " + out.length;`, Dangerous: true},
		{Name: "views of a detached buffer", Code: `const b = new ArrayBuffer(1 << 16), v = new Uint8Array(b); try { structuredClone(b, { transfer: [b] }); } catch (e) {} return new Response(v);`, Want: []Outcome{thrown}},
		{Name: "Buffers of a detached one", Code: `const b = Buffer.alloc(1 << 16), out = []; try { structuredClone(b.buffer, { transfer: [b.buffer] }); } catch (e) {} for (const m of ["toString", "slice", "equals", "fill", "write", "toJSON"]) { try { out.push(String(b[m](b))); } catch (e) { out.push(String(e)); } } return "tried " + out.length;`, Want: said("tried")},
		{Name: "TextDecoder of a view that shrinks", Code: `const v = new Uint8Array(1 << 16); return new TextDecoder().decode(v, { get stream() { try { structuredClone(v.buffer, { transfer: [v.buffer] }); } catch (e) {} return false; } });`},
		{Name: "Buffer with offsets beyond", Code: `const b = Buffer.alloc(8), out = []; for (const m of ["readUInt32LE", "readDoubleBE", "writeInt32LE", "toString", "fill", "slice", "copy", "write", "subarray"]) for (const o of [-1, 8, 2 ** 31, 2 ** 53, NaN, Infinity]) { try { out.push(String(b[m]?.(o, o, o))); } catch (e) { out.push(String(e)); } } return "tried " + out.length;`, Want: said("tried")},
		{Name: "DataView beyond its buffer", Code: `const out = []; for (const o of [-1, 8, 2 ** 31, 2 ** 53 - 1]) { for (const f of ["getFloat64", "setFloat64"]) { try { out.push(new DataView(new ArrayBuffer(8))[f](o, 1)); } catch (e) { out.push(e); } } try { out.push(new Uint8Array(new ArrayBuffer(8), o)); } catch (e) { out.push(e); } } return "tried " + out.length;`, Want: said("tried")},
		{Name: "atob and btoa of everything", Code: `const out = []; for (let i = 0; i < 70000; i += 97) { try { out.push(btoa(String.fromCharCode(i))); } catch (e) { out.push(0); } try { atob("\0".repeat(i % 9) + String.fromCharCode(i)); } catch (e) {} } return "tried " + out.length;`, Want: said("tried")},
		{Name: "encodings of everything", Code: `const out = []; for (const l of ["utf-8", "utf-16le", "utf-16be", "iso-2022-jp", "gb18030", "big5", "euc-kr", "shift_jis", "x-user-defined", "replacement", "hz-gb-2312", ""]) { try { out.push(new TextDecoder(l, { fatal: true }).decode(crypto.getRandomValues(new Uint8Array(65536)))); } catch (e) { out.push(e); } } return "tried " + out.length;`, Want: said("tried")},
		{Name: "a debugger statement", Code: `debugger; return "passed";`, Want: said("passed")},
		{Name: "Date of extremes", Code: `const out = []; for (const d of [NaN, 8.64e15, -8.64e15, 8.64e15 + 1, 2 ** 53]) { const x = new Date(d); for (const m of ["toString", "toISOString", "toLocaleString", "toJSON"]) { try { out.push(x[m]("xx-evil", { timeZone: "../../etc/passwd" })); } catch (e) { out.push(e); } } } return "tried " + out.length;`, Want: said("tried")},
		{Name: "time zones as files", Code: `return "tried " + (await tried(() => new Date(0).toLocaleString("en", { timeZone: "../../../../%FILE%" })));`, Want: said("tried")},
		{Name: "streams with hostile strategies", Code: `const out = []; for (const s of [{ highWaterMark: Infinity }, { highWaterMark: -1 }, { highWaterMark: NaN }, { size() { throw 1; } }, { size() { return -1; } }, { size: () => Infinity, highWaterMark: 1 }]) { try { const r = new ReadableStream({ start(c) { c.enqueue("x"); } }, s); out.push(await Promise.race([r.getReader().read().then(() => "read"), new Promise((f) => setTimeout(f, 10))])); } catch (e) { out.push(e); } } return "tried " + out.length;`, Want: said("tried")},
		{Name: "a task that forks", Code: `return "tried " + (await tried(() => new Function("return process.binding('spawn_sync')")())) + (await tried(() => eval("require('child_process').execSync('id')")));`, Want: said("tried refused")},
	}
	for i := range attacks {
		if attacks[i].Want == nil {
			attacks[i].Want = harmless
		}
	}
	return attacks
}
