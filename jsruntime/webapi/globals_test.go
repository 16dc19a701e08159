package webapi_test

import "testing"

func TestGlobals(t *testing.T) {
	expectations{
		{`typeof fetch`, `"function"`},
		{`typeof nothing`, `"undefined"`},
		{`"Response" in globalThis`, `true`},
		{`self === globalThis`, `true`},
		{`Object.keys(globalThis).includes("Headers")`, `false`},
		{`(Headers, Object.getOwnPropertyDescriptor(globalThis, "Headers").enumerable)`, `false`},
		{`(fetch, Object.getOwnPropertyDescriptor(globalThis, "fetch").enumerable)`, `true`},
		{`(globalThis.atob = 1, atob)`, `1`},
		{`(delete globalThis.btoa, btoa, delete globalThis.btoa, typeof btoa)`, `"undefined"`},
		{`navigator.userAgent`, `"webtask-edge"`},
		{`Headers.name + Headers.length + new Headers().get.name + Response.length`, `"Headers0get0"`},
		{`Object.prototype.toString.call(new Headers())`, `"[object Headers]"`},
		{`String(globalThis.toString).includes("native")`, `true`},
		{`Object.keys(Headers.prototype).includes("append")`, `true`},
		{`Object.getPrototypeOf(AbortSignal) === EventTarget`, `true`},
		// What the language has is there as ever, also after a look.
		{`[Array.isArray([]), Math.max(1, 2), parseInt("12"), typeof NaN, new Map([[1, 2]]).get(1)]`, `[true,2,12,"number",2]`},
		{`(() => { "use strict"; try { undeclared = 1 } catch (e) { return e.name } })()`, `"ReferenceError"`},
		{`(() => { "use strict"; try { NaN = 1 } catch (e) { return e.name } })()`, `"TypeError"`},
		{`[] instanceof Array && (() => {}) instanceof Function && new Date() instanceof Date`, `true`},
		{`(0, eval)("var topLevel = 5; topLevel") + globalThis.topLevel`, `10`},
	}.check(t)
}

func TestBrands(t *testing.T) {
	expectations{
		{`Headers.prototype.get.call({}, "a")`, `throws TypeError: Illegal invocation`},
		{`Headers.prototype.get.call(new Response(), "a")`, `throws TypeError: Illegal invocation`},
		{`new Proxy(new Response(), {}).status`, `throws TypeError: Illegal invocation`},
		{`Object.create(new Response()).status`, `throws TypeError: Illegal invocation`},
		{`Response.prototype.status`, `throws TypeError: Illegal invocation`},
		{`Response.prototype.text.call({}).then(() => "resolved", e => e.name)`, `"TypeError"`},
		{`AbortSignal()`, `throws TypeError: Illegal constructor`},
		{`new AbortSignal()`, `throws TypeError: Illegal constructor`},
		{`Headers.call({})`, `throws TypeError: Class constructor Headers cannot be invoked without 'new'`},
		// A forged copy of the state is refused.
		{`(() => { const r = new Response(), [key] = Object.getOwnPropertySymbols(r);
			const forged = Object.create(Response.prototype); Object.defineProperty(forged, key, { value: r[key] });
			return forged.status })()`, `throws TypeError: Illegal invocation`},
		{`(() => { const r = new Response(), [key] = Object.getOwnPropertySymbols(r);
			return [typeof r[key], delete r[key], Object.keys(r), JSON.stringify(r)] })()`, `throws TypeError: *`},
	}.check(t)
}

func TestSubclasses(t *testing.T) {
	expectations{
		{`(() => { class Mine extends Response { #secret = 7; constructor() { super("x", { status: 201 }) } get both() { return this.status + this.#secret } }
			const r = new Mine(); return [r.both, r instanceof Mine, r instanceof Response, r.constructor.name] })()`, `[208,true,true,"Mine"]`},
		{`(() => { class Bus extends EventTarget { fire() { return this.dispatchEvent(new CustomEvent("x", { detail: 5 })) } }
			const b = new Bus(); let seen; b.addEventListener("x", e => seen = [e.detail, e.target === b]); b.fire(); return seen })()`, `[5,true]`},
		{`(() => { class U extends URL { get first() { return this.searchParams.get("a") } } return new U("http://x/?a=1").first })()`, `"1"`},
		{`(() => { class H extends Headers { get(n) { return super.get(n) ?? "none" } } return new H().get("a") })()`, `"none"`},
		{`(() => { const r = new Response(); r.extra = 1; r[Symbol.for("k")] = 2; return [r.extra, r[Symbol.for("k")]] })()`, `[1,2]`},
	}.check(t)
}

// TestPatchedGlobals checks that what scripts do to the language does not reach
// the platform.
func TestPatchedGlobals(t *testing.T) {
	got := eval(t, `
		Promise.prototype.then = () => { throw new Error("patched") };
		JSON.parse = JSON.stringify = () => { throw new Error("patched") };
		Map.prototype.forEach = Map.prototype.get = null;
		Object.getOwnPropertyDescriptor = null;
		Array.prototype.push = Array.prototype.map = null;
		globalThis.Uint8Array = globalThis.TypeError = globalThis.RangeError = null;
		const answers = [];
		const add = v => { answers[answers.length] = v };
		add((await new Response('{"a":1}').json()).a);
		add(await Response.json({ b: 2 }).text());
		add((await new Response("abc").bytes()).length);
		add(structuredClone(new Map([[1, 2]])).size);
		try { new Headers([["only one"]]) } catch (e) { add(e.name) }
		try { new Response("", { status: 999 }) } catch (e) { add(e.name) }
		const reader = new Response("xyz").body.getReader();
		add((await reader.read()).value.length);
		console.log({ a: new Map([[1, 2]]) });
		JSON.stringify = v => "[" + v.join() + "]";
		return answers;`)
	if want := `[1,{"b":2},3,1,TypeError,RangeError,3]`; got != want {
		t.Errorf("answers are %s, not %s", got, want)
	}
}

func TestLanguage(t *testing.T) {
	expectations{
		{`typeof Symbol.asyncIterator`, `"symbol"`},
		{`(() => { const { promise, resolve } = Promise.withResolvers(); resolve(4); return promise })()`, `4`},
		{`Promise.try((a, b) => a + b, 1, 2)`, `3`},
		{`Promise.try(() => { throw new RangeError("x") })`, `throws RangeError: x`},
		{`(class P extends Promise {}).withResolvers().promise.constructor.name`, `"P"`},
		{`Object.groupBy([1, 2, 3], n => n % 2 ? "odd" : "even")`, `{"odd":[1,3],"even":[2]}`},
		{`[...Map.groupBy([1, 2, 3, -0, 0], n => n % 2).entries()]`, `[[1,[1,3]],[0,[2,0,0]]]`},
		{`Array.fromAsync([1, Promise.resolve(2)], n => n * 2)`, `[2,4]`},
		{`Array.fromAsync({ length: 2, 0: "a", 1: "b" })`, `["a","b"]`},
		{`Array.fromAsync(new ReadableStream({ start(c) { c.enqueue(1); c.enqueue(2); c.close() } }))`, `[1,2]`},
		{`(() => { const e = new Error("m"); delete e.stack; Error.captureStackTrace(e); return e.stack.split("\n")[0] })()`, `"Error: m"`},
		{`new RegExp("^\\p{L}+$", "u").test("héß")`, `true`},
		{`new RegExp("\\p{Lu}", "u").source`, `"\\p{Lu}"`},
		{`"aÉb".replace(new RegExp("\\p{Lu}", "gu"), "-")`, `"a-b"`},
		{`"a1b22".split(new RegExp("\\P{L}+", "u"))`, `["a","b",""]`},
		{`[/x/ instanceof RegExp, RegExp("a", "i").flags, RegExp(/b/g).flags, new RegExp("a") instanceof RegExp, /x/.constructor === RegExp]`, `[true,"i","g",true,true]`},
		{`(() => { class R extends RegExp { test(s) { return !super.test(s) } } return [new R("a").test("a"), new R("a") instanceof R] })()`, `[false,true]`},
		{`new RegExp("(")`, `throws SyntaxError: *`},
		{`JSON.parse("[".repeat(3000) + "]".repeat(3000))`, `throws RangeError: JSON is nested more than 2000 levels deep`},
		{`JSON.parse('{"a":[1,2]}', (k, v) => Array.isArray(v) ? v.length : v)`, `{"a":2}`},
		{`JSON.parse("{")`, `throws SyntaxError: *`},
	}.check(t)
}
