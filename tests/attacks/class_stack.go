package attacks

// stackAttacks recurse: in the script, and through functions of the engine
// whose recursion is Go's.
func stackAttacks() []Attack {
	attacks := []Attack{
		{Name: "a function calls itself", Code: `function f() { return 1 + f(); } f();`, Want: []Outcome{thrown}},
		{Name: "caught, and again", Code: `function f() { try { f(); } catch (e) { f(); } } f();`, Want: append([]Outcome{thrown}, stopped...)},
		{Name: "finally calls itself", Code: `function f() { try { f(); } finally { f(); } } f();`, Want: append([]Outcome{thrown}, stopped...)},
		{Name: "toString of itself", Code: `const o = { toString() { return "" + o; } }; "" + o;`, Want: []Outcome{thrown}},
		{Name: "a getter of itself", Code: `const o = { get x() { return this.x; } }; o.x;`, Want: []Outcome{thrown}},
		{Name: "Symbol.toPrimitive of itself", Code: `const o = { [Symbol.toPrimitive]() { return +o; } }; +o;`, Want: []Outcome{thrown}},
		{Name: "a proxy's get trap", Code: `const p = new Proxy({}, { get(t, k) { return p[k]; } }); p.x;`, Want: []Outcome{thrown}},
		{Name: "a comparator that sorts", Code: `function f() { [2, 1].sort(f); } f();`, Want: []Outcome{thrown}},
		{Name: "map within map", Code: `function f() { return [1].map(f); } f();`, Want: []Outcome{thrown}},
		{Name: "replace within replace", Code: `function f() { return "a".replace(/a/, f); } f();`, Want: []Outcome{thrown}},
		{Name: "toJSON of itself", Code: `const o = { toJSON() { return JSON.stringify(o); } }; JSON.stringify(o);`, Want: []Outcome{thrown}},
		{Name: "a reviver that parses", Code: `function f() { return JSON.parse("[1]", f); } f();`, Want: []Outcome{thrown}},
		{Name: "valueOf in a sort of typed arrays", Code: `function f() { new Float64Array([2, 1]).sort(f); return 0; } f();`, Want: []Outcome{thrown}},
		{Name: "a generator delegates to itself", Code: `function* g(n) { if (n) yield* g(n - 1); yield 1; } g(2e5).next();`, Want: burst},
		{Name: "a constructor extends itself", Code: `let C = class {}; for (let i = 0; i < 2e5; i++) { C = class extends C {}; } new C();`, Want: burst},
		{Name: "an iterator that spreads itself", Code: `const o = { *[Symbol.iterator]() { yield* o; } }; [...o];`, Want: append([]Outcome{thrown}, burst...)},
		{Name: "Reflect.apply of itself", Code: `function f() { return Reflect.apply(f, null, []); } f();`, Want: []Outcome{thrown}},
		{Name: "an accessor on the prototype", Code: `Object.defineProperty(Object.prototype, "zz", { get() { return this.zz; }, configurable: true }); try { ({}).zz; } finally { delete Object.prototype.zz; }`, Want: []Outcome{thrown}},
		{Name: "dispatches within a listener", Code: `const t = new EventTarget(); t.addEventListener("x", () => t.dispatchEvent(new Event("x"))); t.dispatchEvent(new Event("x")); return "ended";`, Want: harmless},
		{Name: "aborts within an abort", Code: `const mk = (n) => { const c = new AbortController(); c.signal.addEventListener("abort", () => mk(n + 1)); c.abort(); }; mk(0); return "ended";`, Want: harmless},

		{Name: "JSON.stringify five million deep", Code: `let o = {}; for (let i = 0; i < 5e6; i++) o = { o }; JSON.stringify(o).length;`, Dangerous: true},
		{Name: "JSON.stringify 2e5 deep", Code: `let o = {}; for (let i = 0; i < 2e5; i++) o = { o }; JSON.stringify(o).length;`, Dangerous: true},
		{Name: "JSON.parse two million deep", Code: `JSON.parse("[".repeat(2e6));`, Dangerous: true},
		{Name: "JSON.parse of deep objects", Code: `JSON.parse('{"a":'.repeat(1e6) + "1" + "}".repeat(1e6));`, Dangerous: true},
		{Name: "JSON.parse with a reviver, deep", Code: `JSON.parse("[".repeat(3e5) + "]".repeat(3e5), (k, v) => v);`, Dangerous: true},
		{Name: "Response.json of what is deep", Code: `let o = []; for (let i = 0; i < 1e6; i++) o = [o]; return Response.json(o);`, Dangerous: true},
		{Name: "result of cb that is deep", Module: `module.exports = (cb) => { let o = []; for (let i = 0; i < 1e6; i++) o = [o]; cb(null, o); };`, Want: append([]Outcome{rejected}, burst...), Dangerous: true},
		{Name: "String of a nested array", Code: `let o = []; for (let i = 0; i < 3e6; i++) o = [o]; String(o).length;`, Dangerous: true},
		{Name: "String of a cyclic array", Code: `const a = []; a.push(a); return String(a);`, Want: harmless, Dangerous: true},
		{Name: "flat of a nested array", Code: `let o = []; for (let i = 0; i < 2e6; i++) o = [o]; o.flat(Infinity);`, Want: harmless, Dangerous: true},
		{Name: "proxies of proxies, get", Code: `let p = {}; for (let i = 0; i < 3e6; i++) p = new Proxy(p, {}); p.x;`, Dangerous: true},
		{Name: "proxies of proxies, has", Code: `let p = {}; for (let i = 0; i < 2e6; i++) p = new Proxy(p, {}); "x" in p;`, Dangerous: true},
		{Name: "proxies of proxies, ownKeys", Code: `let p = {}; for (let i = 0; i < 2e6; i++) p = new Proxy(p, {}); Reflect.ownKeys(p);`, Dangerous: true},
		{Name: "proxies of proxies, call", Code: `let p = () => 1; for (let i = 0; i < 2e6; i++) p = new Proxy(p, {}); p();`, Dangerous: true},
		{Name: "Array.isArray of proxies", Code: `let p = []; for (let i = 0; i < 3e6; i++) p = new Proxy(p, {}); return Array.isArray(p);`, Want: harmless, Dangerous: true},
		{Name: "proxies along the prototypes", Code: `let p = {}; for (let i = 0; i < 3e6; i++) p = Object.create(new Proxy(p, {})); p.x;`, Dangerous: true},
		{Name: "a proxy that is its own prototype", Code: `const t = {}, p = new Proxy(t, {}); Object.setPrototypeOf(t, p); p.x;`, Want: harmless, Dangerous: true},
		{Name: "five million prototypes", Code: `let o = {}; for (let i = 0; i < 3e6; i++) o = Object.create(o); o.zz;`, Want: harmless, Dangerous: true},
		{Name: "bind of bind", Code: `let f = function () {}; for (let i = 0; i < 5e6; i++) f = f.bind(null); f();`, Want: harmless, Dangerous: true},
		{Name: "instanceof of bind of bind", Code: `let f = function () {}; for (let i = 0; i < 3e6; i++) f = f.bind(null); ({}) instanceof f;`, Want: harmless, Dangerous: true},
		{Name: "structuredClone of what is deep", Code: `let o = {}; for (let i = 0; i < 2e6; i++) o = { o }; structuredClone(o);`, Want: harmless, Dangerous: true},
		{Name: "console.log of what is deep", Code: `let o = {}; for (let i = 0; i < 2e6; i++) o = { o }; console.log(o); return "logged";`, Want: harmless, Dangerous: true},
		{Name: "an error's causes, deep", Code: `let e = new Error("0"); for (let i = 0; i < 1e6; i++) e = new Error("x", { cause: e }); throw e;`, Want: harmless, Dangerous: true},
		{Name: "AggregateError of itself", Code: `const e = new AggregateError([], "x"); e.errors.push(e); e.cause = e; throw e;`, Want: []Outcome{thrown}},
		{Name: "throws what is deep", Code: `let o = {}; for (let i = 0; i < 1e6; i++) o = { o }; throw o;`, Want: harmless, Dangerous: true},
		{Name: "session value that is deep", Code: `let o = []; for (let i = 0; i < 1e6; i++) o = [o]; await ctx.session.set("k", o); return "set";`, Want: harmless, Dangerous: true},
		{Name: "strings glued a million times", Code: `let s = ""; for (let i = 0; i < 3e6; i++) s = s + "ab"; s.charCodeAt(5); return "glued";`, Want: harmless, Dangerous: true},
		{Name: "Promise chain of a million", Code: `let p = Promise.resolve(); for (let i = 0; i < 1e6; i++) p = p.then(() => i); await p; return "through";`, Want: harmless, Dangerous: true},
		{Name: "nested promises of a million", Code: `let r, p = new Promise((f) => (r = f)); for (let i = 0; i < 1e6; i++) { const q = p; p = new Promise((f) => f(q)); } r(1); await p; return "through";`, Want: harmless, Dangerous: true},
		{Name: "AbortSignal.any of any", Code: `let c = new AbortController(), s = c.signal; for (let i = 0; i < 1e5; i++) s = AbortSignal.any([s]); c.abort(); return "aborted";`, Want: harmless, Dangerous: true},
		{Name: "streams piped through streams", Code: `let s = new ReadableStream({ pull(c) { c.enqueue("x"); c.close(); } }); for (let i = 0; i < 3000; i++) s = s.tee()[0]; return new Response(await new Response(s).text());`, Want: harmless, Dangerous: true},
	}
	for i := range attacks {
		if attacks[i].Want == nil {
			attacks[i].Want = append([]Outcome{answered}, burst...)
		}
	}
	return attacks
}
