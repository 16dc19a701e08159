package attacks

// protocolAttacks make what crosses the boundary between isolate and edge too
// large, too many, too slow or malformed, as far as a script can.
func protocolAttacks() []Attack {
	broken := append([]Outcome{{Status: 200, Broken: true}}, harmless...)
	attacks := []Attack{
		{Name: "ten thousand headers", Code: `const h = new Headers(); for (let i = 0; i < 1e4; i++) h.append("x-h" + i, "v"); return new Response("x", { headers: h });`},
		{Name: "ten thousand values of one header", Code: `const h = new Headers(); for (let i = 0; i < 1e4; i++) h.append("x-h", "v" + i); return new Response("x", { headers: h });`},
		{Name: "a header of a megabyte", Code: `return new Response("x", { headers: { "x-h": "v".repeat(1 << 20) } });`},
		{Name: "a header of 32 megabytes", Code: `return new Response("x", { headers: { "x-h": "v".repeat(1 << 25) } });`, Dangerous: true},
		{Name: "a header name of a megabyte", Code: `return new Response("x", { headers: { ["x" + "n".repeat(1 << 20)]: "v" } });`},
		{Name: "a status text of a megabyte", Code: `return new Response("x", { statusText: "s".repeat(1 << 20) });`},
		{Name: "a body without end", Code: `return new Response(new ReadableStream({ pull(c) { c.enqueue(new Uint8Array(65536)); } }));`, Want: broken},
		{Name: "a body without end, byte by byte", Code: `return new Response(new ReadableStream({ pull(c) { c.enqueue(new Uint8Array(1)); } }));`, Want: broken},
		{Name: "a body of empty chunks", Code: `return new Response(new ReadableStream({ pull(c) { c.enqueue(new Uint8Array(0)); } }));`, Want: broken},
		{Name: "a body that never begins", Code: `return new Response(new ReadableStream({ pull() { return new Promise(() => {}); } }));`, Want: broken},
		{Name: "a body that drips", Code: `return new Response(new ReadableStream({ async pull(c) { await new Promise((r) => setTimeout(r, 50)); c.enqueue(new Uint8Array(1)); } }));`, Want: broken},
		{Name: "a body that fails midway", Code: `let n = 0; return new Response(new ReadableStream({ pull(c) { if (n++) throw new Error("midway"); c.enqueue(new Uint8Array(1000)); } }));`, Want: broken},
		{Name: "a body of what is no bytes", Code: `return new Response(new ReadableStream({ pull(c) { c.enqueue({ length: 2 ** 40 }); } }));`, Want: broken},
		{Name: "a body that is another's", Code: `const r = new Response("x"); await r.text(); return new Response(r.body);`, Want: broken},
		{Name: "a body larger than response_body", Code: `return "x".repeat(9 << 20);`, Want: broken},
		{Name: "chunk of 100 megabytes", Code: `return new Response(new ReadableStream({ start(c) { c.enqueue(new Uint8Array(1e8)); c.close(); } }));`, Want: broken, Dangerous: true},
		{Name: "the same chunk, changed afterwards", Code: `const b = new Uint8Array(1 << 16).fill(97); let n = 0; return new Response(new ReadableStream({ pull(c) { c.enqueue(b); b.fill(98); if (++n > 20) c.close(); } }));`, Want: broken},
		{Name: "an error message of 32 megabytes", Code: `throw new Error("m".repeat(1 << 25));`, Dangerous: true},
		{Name: "an error name of 32 megabytes", Code: `const e = new Error("m"); e.name = "n".repeat(1 << 25); throw e;`, Dangerous: true},
		{Name: "an error stack that lies", Code: `const e = new Error("m"); e.stack = "at /etc/passwd:1\n".repeat(1e5); throw e;`},
		{Name: "error details without end", Module: `module.exports = (cb) => cb({ get x() { return this; }, toJSON() { return { a: this }; } });`},
		{Name: "error details of 32 megabytes", Module: `module.exports = (cb) => cb({ big: "x".repeat(1 << 25), statusCode: 418 });`, Want: append([]Outcome{{Status: 418}}, harmless...), Dangerous: true},
		{Name: "a status code that is an object", Module: `module.exports = (cb) => cb({ statusCode: { valueOf() { return 200; } } });`},
		{Name: "a thousand console lines of a kilobyte", Code: `for (let i = 0; i < 1000; i++) console.log("x".repeat(1000)); return "logged";`},
		{Name: "console lines for ever", Code: `for (;;) console.log("flood");`, Want: stopped},
		{Name: "a console line of 32 megabytes", Code: `console.log("x".repeat(1 << 25)); return "logged";`, Dangerous: true},
		{Name: "a console line of an endless object", Code: `console.log(new Proxy({}, { ownKeys: () => Array.from({ length: 1e6 }, (_, i) => "k" + i), getOwnPropertyDescriptor: () => ({ enumerable: true, configurable: true, value: 1 }) })); return "logged";`, Dangerous: true},
		{Name: "console.table, dir and trace of cycles", Code: `const o = {}; o.o = o; for (const f of Object.values(console)) if (typeof f === "function") { try { f(o, o, "%s%o%O%d%i%f%c%j", o); } catch (e) {} } return "logged";`},
		{Name: "ten thousand fetches at once", Code: `return show((await Promise.allSettled(Array.from({ length: 1e4 }, (_, i) => fetch("%ORIGIN%/empty?" + i)))).filter((x) => x.status === "fulfilled").length <= 20);`, Want: append(said("true"), burst...)},
		{Name: "fetches that hang", Code: `await Promise.all(Array.from({ length: 20 }, () => fetch("%ORIGIN%/hang")));`},
		{Name: "fetches that nobody reads", Code: `globalThis.kept = await Promise.all(Array.from({ length: 15 }, () => fetch("%ORIGIN%/endless"))); return "kept";`},
		{Name: "fetches that nobody awaits", Code: `for (let i = 0; i < 1000; i++) fetch("%ORIGIN%/hang").catch(() => {}); return "left";`},
		{Name: "fetches aborted at once", Code: `for (let i = 0; i < 1000; i++) { const c = new AbortController(); fetch("%ORIGIN%/hang", { signal: c.signal }).catch(() => {}); c.abort(); } return "aborted";`},
		{Name: "a fetch body without end", Code: `return tried(async () => (await fetch("%ORIGIN%/sink", { method: "POST", duplex: "half", body: new ReadableStream({ pull(c) { c.enqueue(new Uint8Array(65536)); } }) })).status);`},
		{Name: "a fetch body that throws", Code: `return tried(async () => (await fetch("%ORIGIN%/sink", { method: "POST", duplex: "half", body: new ReadableStream({ pull() { throw new Error("pulled"); } }) })).status);`},
		{Name: "a fetch body that never comes", Code: `return tried(async () => (await fetch("%ORIGIN%/sink", { method: "POST", duplex: "half", body: new ReadableStream({}) })).status);`},
		{Name: "a fetch body of 64 megabytes", Code: `return tried(async () => (await fetch("%ORIGIN%/sink", { method: "POST", body: new Uint8Array(1 << 26) })).status);`, Dangerous: true},
		{Name: "a fetch URL of eight megabytes", Code: `return probe("%ORIGIN%/" + "x".repeat(1 << 23));`, Dangerous: true},
		{Name: "a fetch with ten thousand headers", Code: `const h = new Headers(); for (let i = 0; i < 1e4; i++) h.append("x-" + i, "v"); return probe("%ORIGIN%/empty", { headers: h });`},
		{Name: "a fetch header of eight megabytes", Code: `return probe("%ORIGIN%/empty", { headers: { x: "v".repeat(1 << 23) } });`, Dangerous: true},
		{Name: "a fetch method of a megabyte", Code: `return probe("%ORIGIN%/empty", { method: "M".repeat(1 << 20) });`},
		{Name: "an upstream's endless body, passed through", Code: `return fetch("%ORIGIN%/endless");`, Want: broken},
		{Name: "an upstream's body, passed through twice", Code: `const r = await fetch("%ORIGIN%/empty"); globalThis.r ??= r; return new Response(globalThis.r.body);`, Often: 3, Want: broken},
		{Name: "an upstream's body, kept for the next request", Code: `const old = globalThis.old; globalThis.old = await fetch("%ORIGIN%/endless"); return old ? tried(() => old.text()) : "kept";`, Visited: true},
		{Name: "a million timers", Code: `for (let i = 0; i < 1e6; i++) setTimeout(() => {}, 1e6); return "set";`},
		{Name: "timers cleared and set", Code: `for (;;) clearTimeout(setTimeout(() => {}, 1000));`, Want: stopped},
		{Name: "clearTimeout of all numbers", Code: `for (let i = 0; i < 1e6; i++) clearTimeout(i); return "cleared";`, Want: harmless},
		{Name: "ten thousand session calls at once", Code: `return show((await Promise.allSettled(Array.from({ length: 1e4 }, (_, i) => ctx.session.set("k" + i, i)))).length);`, Want: append([]Outcome{{Status: 413}}, harmless...)},
		{Name: "session writes after the head", Code: `return new Response(new ReadableStream({ async pull(c) { await ctx.session.set("k", Math.random()).catch(() => {}); c.enqueue(new Uint8Array(1)); } }));`, Want: broken},
		{Name: "waitUntil of a hundred thousand", Code: `for (let i = 0; i < 1e5; i++) ctx.waitUntil(new Promise(() => {})); return "waiting";`},
		{Name: "waitUntil that begins waitUntil", Code: `const f = async () => { await new Promise((r) => setTimeout(r, 1)); ctx.waitUntil(f()); }; ctx.waitUntil(f()); return "waiting";`},
		{Name: "surrogates alone everywhere", Code: `console.log("\ud800"); const r = await tried(() => ctx.session.set("\ud800", "\udfff")); await probe("%ORIGIN%/\ud800"); return new Response("\ud800" + r, { headers: { "x-h": "v" } });`},
		{Name: "answers twice", Module: `module.exports = (cb) => { for (let i = 0; i < 1000; i++) cb(null, "answer " + i); };`},
		{Name: "answers and throws", Module: `module.exports = (cb) => { cb(null, "answer"); throw new Error("after"); };`},
		{Name: "writes without end to res", Module: `module.exports = (ctx, req, res) => { const f = () => { res.write("x".repeat(65536)); setTimeout(f, 0); }; f(); };`, Want: broken},
		{Name: "writes after the end", Module: `module.exports = (ctx, req, res) => { res.end("ended"); for (let i = 0; i < 100; i++) { try { res.write("more"); res.setHeader("x", "y"); } catch (e) {} } };`, Want: broken},
		{Name: "never ends res", Module: `module.exports = (ctx, req, res) => { res.write("begun"); };`, Want: append([]Outcome{{Status: 504}}, broken...)},
		{Name: "reads its request for ever", Code: `const r = request.body?.getReader(); for (;;) await r.read();`, Request: Request{Body: "small"}, Want: stopped},
		{Name: "reads nothing of eight megabytes", Code: `return "unread";`, Request: Request{Body: zeros(8 << 20)}},
	}
	for i := range attacks {
		if attacks[i].Want == nil {
			attacks[i].Want = harmless
		}
	}
	return attacks
}
