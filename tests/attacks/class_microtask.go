package attacks

// microtaskAttacks never let the queue of promise jobs run dry, or fill it.
func microtaskAttacks() []Attack {
	attacks := []Attack{
		{Name: "then of itself", Code: `const f = () => Promise.resolve().then(f); await f();`, Want: burst},
		{Name: "queueMicrotask of itself", Code: `const f = () => queueMicrotask(f); f(); return new Promise(() => {});`, Want: stopped},
		{Name: "await in a loop", Code: `for (;;) await 0;`, Want: stopped},
		{Name: "await of a thenable in a loop", Code: `const t = { then(r) { r(); } }; for (;;) await t;`, Want: stopped},
		{Name: "a thenable of native functions only", Code: `const o = {}, p = Promise.resolve(o); o.then = Promise.prototype.then.bind(p); return Promise.resolve(1).then(() => o);`, Dangerous: true},
		{Name: "a thenable of native functions, begun and left", Code: `const o = {}, p = Promise.resolve(o); o.then = Promise.prototype.then.bind(p); Promise.resolve(1).then(() => o); return "left";`, Dangerous: true},
		{Name: "a promise resolved with itself, later", Code: `let r; const p = new Promise((f) => (r = f)); const o = { then: (f) => p.then(() => f(o)) }; r(); await o;`, Want: stopped, Dangerous: true},
		{Name: "async functions for ever", Code: `const f = async () => { await null; f(); f(); }; f(); return new Promise(() => {});`, Dangerous: true},
		{Name: "a million at once", Code: `let n = 0; for (let i = 0; i < 1e6; i++) queueMicrotask(() => n++); await null; return n;`, Want: harmless, Dangerous: true},
		{Name: "a hundred million at once", Code: `for (let i = 0; i < 1e8; i++) Promise.resolve().then(() => 0); return "queued";`, Want: harmless, Dangerous: true},
		{Name: "in a finally of promises", Code: `const f = () => Promise.reject().finally(f); await f();`, Want: burst, Dangerous: true},
		{Name: "while loading", Module: `const f = () => Promise.resolve().then(f); f(); export default () => new Response("loaded");`, Want: append([]Outcome{answered, rejected}, burst...)},
		{Name: "after the answer", Code: `const f = () => Promise.resolve().then(f); ctx.waitUntil(f()); return "answered";`, Want: append([]Outcome{answered}, stopped...)},
		{Name: "after the answer, unasked", Code: `const f = () => queueMicrotask(f); setTimeout(f, 1); return "answered";`, Want: append([]Outcome{answered}, stopped...)},
		{Name: "an async iterator without end", Code: `for await (const x of (async function* () { for (;;) yield 1; })()) {}`, Want: stopped},
		{Name: "a stream without end, in memory", Code: `const r = new ReadableStream({ pull(c) { c.enqueue("x"); } }).getReader(); for (;;) await r.read();`, Want: stopped},
		{Name: "Promise.race that never ends", Code: `const never = new Promise(() => {}); for (;;) await Promise.race([never, 1]);`, Want: burst, Dangerous: true},
		{Name: "rejections that nobody handles", Code: `for (;;) { Promise.reject(new Error("nobody")); await null; }`, Want: burst, Dangerous: true},
		{Name: "timers that begin timers", Code: `const f = () => { setTimeout(f); setTimeout(f); }; f(); return new Promise(() => {});`, Want: burst},
		{Name: "MessageChannel or setTimeout ping-pong", Code: `const f = () => setTimeout(f, 0); f(); return new Promise(() => {});`, Want: stopped},
	}
	for i := range attacks {
		if attacks[i].Want == nil {
			attacks[i].Want = append([]Outcome{answered, {Status: 504}}, burst...)
		}
	}
	return attacks
}
