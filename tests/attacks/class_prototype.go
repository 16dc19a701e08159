package attacks

// prototypeAttacks replace what the platform's own JavaScript might use, to
// get at its state, at Go's, or at another request.
func prototypeAttacks() []Attack {
	attacks := []Attack{
		{Name: "Object.prototype polluted by JSON", Code: `const o = JSON.parse('{"__proto__": {"status": 999, "polluted": 1}}'); Object.assign({}, o); return ({}).polluted ? "polluted" : "clean";`, Want: said("clean")},
		{Name: "Object.prototype.status", Code: `Object.prototype.status = 101; Object.prototype.headers = { "Set-Cookie": "a=b" }; return new Response("x");`},
		{Name: "Object.prototype.then", Code: `Object.prototype.then = function (r) { r("taken"); }; return new Response("x");`},
		{Name: "Object.prototype setters", Code: `for (const k of ["get", "set", "value", "url", "method", "body", "redirect", "signal", "id", "container"]) Object.defineProperty(Object.prototype, k, { get() { return "%EVIL%"; }, set() {}, configurable: true }); return new Response(await tried(() => ctx.session.get("note")));`},
		{Name: "Array.prototype accessors", Code: `for (let i = 0; i < 10; i++) Object.defineProperty(Array.prototype, i, { get() { return "taken"; }, set() {}, configurable: true }); return new Response("x", { headers: [["a", "b"]] });`},
		{Name: "Array.prototype[Symbol.iterator]", Code: `Array.prototype[Symbol.iterator] = function* () { for (;;) yield ["x-injected", "1"]; }; return new Response("x", { headers: [["a", "b"]] });`},
		{Name: "Array.prototype.push, map and join", Code: `const seen = []; for (const k of ["push", "map", "join", "slice", "forEach", "concat", "filter"]) { const old = Array.prototype[k]; Array.prototype[k] = function (...a) { seen[seen.length] = this; return old.apply(this, a); }; } await ctx.session.set("a", [1]); await probe("%ORIGIN%/empty"); console.log([1]); return new Response(String(seen.length));`},
		{Name: "Promise.prototype.then", Code: `const old = Promise.prototype.then, seen = []; Promise.prototype.then = function (a, b) { seen.push(String(a)); return old.call(this, a, b); }; await ctx.session.get("note"); await probe("%ORIGIN%/empty"); return seen.join("\n");`},
		{Name: "Promise.resolve and the constructor", Code: `Promise.resolve = () => ({ then() {} }); Object.defineProperty(Promise.prototype, "constructor", { get() { throw new Error("taken"); } }); return tried(() => ctx.session.get("note"));`},
		{Name: "Symbol.species", Code: `Object.defineProperty(Promise, Symbol.species, { get() { return function (f) { f(() => {}, () => {}); }; } }); Object.defineProperty(Array, Symbol.species, { get() { return Uint8Array; } }); return tried(() => ctx.session.entries());`},
		{Name: "JSON.parse and stringify", Code: `const seen = []; JSON.parse = (s) => { seen.push("parse " + s); return { polluted: 1 }; }; JSON.stringify = (v) => { seen.push("stringify"); return '{"a":1'; }; await tried(() => ctx.session.set("k", { a: 1 })); const r = await tried(() => ctx.session.get("k")); return new Response(seen.join() + r);`},
		{Name: "Function.prototype.call and apply", Code: `const seen = []; Function.prototype.call = function () { seen.push(this); }; Function.prototype.apply = Function.prototype.call; const r = await tried(() => new Response("x").text()); return new Response(seen.map(String).join("\n") + r);`},
		{Name: "Reflect and Proxy replaced", Code: `globalThis.Reflect = globalThis.Proxy = globalThis.Object = globalThis.Array = undefined; return new Response("x");`},
		{Name: "globals frozen and deleted", Code: `for (const k of Object.getOwnPropertyNames(globalThis)) { try { delete globalThis[k]; } catch (e) {} } return "deleted";`},
		{Name: "Response as a thenable", Code: `Response.prototype.then = function (r) { r(this); }; return new Response("x");`},
		{Name: "Response that lies", Code: `class R extends Response { get status() { return 101; } get headers() { return new Map([["x-injected", "1"]]); } get body() { throw new Error("no body"); } } return new R("x");`},
		{Name: "an object that pretends to be a Response", Code: `return Object.create(Response.prototype, { status: { value: 200 } });`},
		{Name: "a Response of another realm's shape", Module: `export default { fetch() { const r = new Response("x"); Object.setPrototypeOf(r, null); return r; } };`},
		{Name: "a proxy of a Response", Module: `export default { fetch() { return new Proxy(new Response("x"), {}); } };`},
		{Name: "a proxy of a Request", Code: `return probe(new Proxy(new Request("%ORIGIN%/empty"), { get(t, k) { return k === "url" ? "http://127.0.0.1:%PORT%/" : Reflect.get(t, k); } }));`},
		{Name: "a URL that changes its mind", Code: `let n = 0; return probe({ toString() { return n++ ? "http://127.0.0.1:%PORT%/" : "%ORIGIN%/empty"; } });`},
		{Name: "URL replaced", Code: `globalThis.URL = class { constructor() { this.href = "http://127.0.0.1:%PORT%/"; } get href() { return "http://127.0.0.1:%PORT%/"; } set href(v) {} }; return probe("http://127.0.0.1:%PORT%/");`, Want: said("refused")},
		{Name: "Request.prototype.url", Code: `Object.defineProperty(Request.prototype, "url", { get() { return "http://127.0.0.1:%PORT%/"; } }); return probe(new Request("%ORIGIN%/empty"));`},
		{Name: "Headers.prototype methods", Code: `Headers.prototype.get = Headers.prototype.has = Headers.prototype.append = () => "x"; Headers.prototype[Symbol.iterator] = function* () { yield ["X-Injected", "a\r\nb: c"]; }; return new Response("x", { headers: { a: "b" } });`},
		{Name: "methods on foreign receivers", Code: `
			const out = [];
			for (const C of [Request, Response, Headers, URL, URLSearchParams, ReadableStream, AbortSignal, TextEncoder, TextDecoder, EventTarget]) {
				for (const [k, d] of Object.entries(Object.getOwnPropertyDescriptors(C.prototype))) {
					for (const f of [d.value, d.get, d.set]) {
						if (typeof f !== "function" || k === "constructor") continue;
						for (const self of [null, undefined, {}, globalThis, ctx, request, new Proxy({}, {}), Object.create(C.prototype)]) {
							try { const r = f.call(self, self); r?.catch?.(() => {}); out.push(typeof r); } catch (e) { out.push(String(e).slice(0, 80)); }
						}
					}
				}
			}
			return out.length > 100 ? "tried " + out.join("\n") : "few";`, Want: said("tried")},
		{Name: "session methods on foreign receivers", Code: `
			const out = [];
			for (const k of ["get", "set", "update", "delete", "entries", "destroy", "regenerate"]) {
				for (const self of [null, {}, globalThis, { id: "x" }, Object.create(ctx.session)]) out.push(await tried(() => ctx.session[k].call(self, "note", () => 1)));
			}
			return "tried " + out.join("\n");`, Want: said("tried")},
		{Name: "ctx is changed", Code: `for (const [k, v] of Object.entries({ container: "victim", name: "x", id: "y" })) { try { ctx.webtask[k] = v; } catch (e) {} } try { ctx.webtask = { container: "victim" }; ctx.container = "victim"; ctx.session.container = "victim"; ctx.session.id = "x"; } catch (e) {} return "note: " + (await tried(() => ctx.session.get("note")));`},
		{Name: "constructors of the platform's objects", Code: `const out = []; for (const o of [ctx, ctx.session, ctx.webtask, request, env, console, crypto, globalThis]) { try { const C = o.constructor; out.push(String(C).slice(0, 60), String(new C())); } catch (e) { out.push(String(e)); } } return "tried " + out.join("\n");`, Want: said("tried")},
		{Name: "Go's fields and methods by name", Code: `const out = []; for (const o of [ctx, ctx.session, ctx.webtask, request, env, console, request.headers, new Response("x")]) { for (const k of ["Host", "Spec", "Runtime", "Secrets", "secrets", "Request", "engine", "host", "Header", "Body", "Close", "__host", "_host", "internal", "Container"]) { if (k in Object(o)) out.push(k); } for (const s of Object.getOwnPropertySymbols(o)) out.push(String(s)); } return "found " + out.join();`, Want: said("found")},
		{Name: "what the error's stack shows", Code: `const out = []; for (const f of [() => null.x, () => new URL("::"), () => JSON.parse("{"), () => new Response("x", { status: 9 }), () => crypto.getRandomValues(1), () => ctx.session.set(), () => structuredClone(() => 1), () => atob("%"), () => new TextDecoder("nope"), () => BigInt("x"), () => "x".repeat(-1), () => new RegExp("(")]) { try { await f(); } catch (e) { out.push(e.stack); } } return "stacks " + out.join("\n");`, Want: said("stacks")},
		{Name: "the process, require and modules", Code: `return "found " + [typeof process === "undefined" ? "" : JSON.stringify(process.env ?? {}), typeof require, typeof module, typeof Deno, typeof Bun, typeof WebAssembly, await tried(() => new Function("return typeof process + typeof require")())].join();`, Want: said("found")},
		{Name: "imports at run time", Code: `return "tried " + (await tried(() => new Function("return import('file://%FILE%')")()));`, Want: said("tried refused")},
		{Name: "requires at run time", Module: `module.exports = (cb) => { const r = eval("typeof require === 'function' && require"); let out = "none"; try { out = r ? JSON.stringify(r("%FILE%")) : "none"; } catch (e) { out = "refused"; } cb(null, out); };`},
		{Name: "env is changed for the next", Code: `const had = env.planted; env.planted = "x"; Object.defineProperty(env, "OWN", { get() { return "taken"; } }); return "had " + (had ?? "nothing");`, Visited: true, Want: harmless},
		{Name: "a subclass of everything", Code: `const out = []; for (const k of Object.getOwnPropertyNames(globalThis)) { const C = globalThis[k]; if (typeof C !== "function" || !C.prototype) continue; try { class D extends C {} new D(); out.push(k); } catch (e) {} } return "made " + out.length;`, Want: said("made")},
		{Name: "calls everything with everything", Code: `
			let n = 0;
			const odd = [undefined, null, -1, NaN, "x", Symbol(), 1n, [], {}, () => 1, new Proxy({}, {})];
			const skip = new Set(["eval", "Function"]);
			for (const k of Object.getOwnPropertyNames(globalThis)) {
				const f = globalThis[k];
				if (typeof f !== "function" || skip.has(k)) continue;
				for (const a of odd) for (const b of odd) { try { f(a, b); n++; } catch (e) {} try { new f(a, b); n++; } catch (e) {} }
			}
			return "called " + n;`, Want: harmless, Dangerous: true},
	}
	for i := range attacks {
		if attacks[i].Want == nil {
			attacks[i].Want = harmless
		}
	}
	return attacks
}
