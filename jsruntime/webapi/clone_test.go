package webapi_test

import "testing"

func TestStructuredClone(t *testing.T) {
	expectations{
		{`structuredClone({ a: [1, "x", null, undefined, true, 2n > 1n], b: { c: 1.5 } })`, `{"a":[1,"x",null,null,true,true],"b":{"c":1.5}}`},
		{`(() => { const a = { n: 1 }; a.self = a; const b = structuredClone(a); return [b !== a, b.self === b, b.n] })()`, `[true,true,1]`},
		{`(() => { const shared = {}; const [x, y] = structuredClone([shared, shared]); return x === y })()`, `true`},
		{`(() => { const d = structuredClone(new Date(5)); return [d instanceof Date, d.getTime(), isNaN(structuredClone(new Date(NaN)))] })()`, `[true,5,true]`},
		{`(() => { const r = structuredClone(/a(b)/gi); return [r.source, r.flags, r.lastIndex, r instanceof RegExp] })()`, `["a(b)","gi",0,true]`},
		{`(() => { const m = structuredClone(new Map([["k", new Set([1, 2])]])); return [m instanceof Map, [...m.get("k")]] })()`, `[true,[1,2]]`},
		{`(() => { const m = new Map(); m.set("me", m); const c = structuredClone(m); return c.get("me") === c })()`, `true`},
		{`(() => { const e = structuredClone(Object.assign(new RangeError("m", { cause: { a: 1 } }), { extra: 1 })); return [e instanceof RangeError, e.message, e.cause.a, e.extra] })()`, `[true,"m",1,null]`},
		{`(() => { const e = structuredClone(new DOMException("m", "AbortError")); return [e instanceof DOMException, e.name, e.message, e.code] })()`, `[true,"AbortError","m",20]`},
		{`(() => { const a = new Uint8Array([1, 2, 3]), c = structuredClone(a.subarray(1)); a[1] = 9; return [c instanceof Uint8Array, [...c], c.byteOffset, c.buffer.byteLength] })()`, `[true,[2,3],1,3]`},
		{`[structuredClone(new Uint8ClampedArray([300])).constructor.name, [...structuredClone(new Float64Array([1.5]))], structuredClone(new BigInt64Array([5n]))[0] === 5n]`, `["Uint8ClampedArray",[1.5],true]`},
		{`(() => { const v = structuredClone(new DataView(new ArrayBuffer(8), 2, 3)); return [v instanceof DataView, v.byteOffset, v.byteLength] })()`, `[true,2,3]`},
		{`(() => { const b = new ArrayBuffer(4), v = new Uint8Array(b); v[0] = 7; const c = structuredClone(v, { transfer: [b] }); return [c[0], b.byteLength, v.length] })()`, `[7,0,0]`},
		{`(() => { const b = new ArrayBuffer(4); return structuredClone(1, { transfer: [b, b] }) })()`, `throws DataCloneError: *`},
		{`(() => [structuredClone(Object(1)), structuredClone(Object("a\ud800")), structuredClone(Object(true)), typeof structuredClone(Object(1n))].map(o => typeof o == "object" ? o.constructor.name + o.valueOf().length : o))()`, `["Numberundefined","String2","Booleanundefined","object"]`},
		{`(() => { const a = [1, , 3]; a.named = 1; const c = structuredClone(a); return [c.length, 1 in c, c.named] })()`, `[3,false,1]`},
		{`structuredClone(Object.create({ inherited: 1 }, { hidden: { value: 2 }, own: { value: 3, enumerable: true } }))`, `{"own":3}`},
		{`structuredClone({ get a() { return 4 } })`, `{"a":4}`},
		{`structuredClone(class X { a = 1 })`, `throws DataCloneError: structuredClone: a function of this kind cannot be cloned`},
		{`structuredClone({ f() {} })`, `throws DataCloneError: *`},
		{`structuredClone(Symbol("s"))`, `throws DataCloneError: structuredClone: a symbol cannot be cloned`},
		{`structuredClone(new WeakMap())`, `throws DataCloneError: *`},
		{`structuredClone(Promise.resolve())`, `throws DataCloneError: *`},
		{`structuredClone(new Proxy({}, {}))`, `throws DataCloneError: *`},
		{`structuredClone((function* () {})())`, `throws DataCloneError: *`},
		{`structuredClone(new Response())`, `throws DataCloneError: *`},
		{`structuredClone({ get a() { throw new RangeError("mine") } })`, `throws RangeError: mine`},
		{`(() => { let v = {}; for (let i = 0; i < 5000; i++) v = { v }; return structuredClone(v) })()`, `throws RangeError: *`},
		{`structuredClone()`, `throws TypeError: *`},
		{`structuredClone({ ["__proto__"]: 1 })`, `{"__proto__":1}`},
	}.check(t)
}
