package attacks

// memoryAttacks ask for more memory than a worker may have, in one allocation
// or in many.
func memoryAttacks() []Attack {
	attacks := []Attack{
		{Name: "strings of a closure", Code: `const a = []; let s = "y".repeat(1e6); for (let i = 0; ; i++) a.push(s + i);`},
		{Name: "properties for ever", Code: `const o = {}; for (let i = 0; ; i++) o["k" + i] = i;`},
		{Name: "symbols for ever", Code: `const o = {}; for (;;) o[Symbol()] = 1;`},
		{Name: "registered symbols for ever", Code: `for (let i = 0; ; i++) Symbol.for("x".repeat(1000) + i);`},
		{Name: "map entries for ever", Code: `const m = new Map(); for (let i = 0; ; i++) m.set(i, i);`},
		{Name: "weak map entries for ever", Code: `const m = new WeakMap(), keep = []; for (;;) { const k = {}; keep.push(k); m.set(k, k); }`},
		{Name: "closures for ever", Code: `let f = () => 0; for (;;) { const g = f; f = () => g; }`},
		{Name: "doubling a string", Code: `let s = "xx"; for (;;) s += s;`},
		{Name: "doubling an array", Code: `let a = [1]; for (;;) a = a.concat(a);`},
		{Name: "buffers of 64 MB", Code: `const a = []; for (;;) a.push(new ArrayBuffer(1 << 26));`},
		{Name: "buffers of 1 KB", Code: `const a = []; for (;;) a.push(new Uint8Array(1024));`},
		{Name: "four buffers of a gigabyte", Code: `const a = []; for (let i = 0; i < 4; i++) { const b = new Uint8Array(1e9); b.fill(1); a.push(b); }`},
		{Name: "ArrayBuffer 2^34", Code: `new ArrayBuffer(2 ** 34).byteLength;`},
		{Name: "ArrayBuffer 2^40", Code: `new ArrayBuffer(2 ** 40).byteLength;`},
		{Name: "ArrayBuffer 2^53-1", Code: `new ArrayBuffer(2 ** 53 - 1).byteLength;`},
		{Name: "Float64Array 2^31", Code: `new Float64Array(2 ** 31).length;`},
		{Name: "typed array of an array-like", Code: `new Uint8Array({ length: 2 ** 33 }).length;`},
		{Name: "Buffer.alloc", Code: `Buffer.alloc(2 ** 33).length;`},
		{Name: "Buffer.alloc with a pattern", Code: `Buffer.alloc(2 ** 31 - 1, "abc").length;`},
		{Name: "Buffer.concat of a length", Code: `Buffer.concat([Buffer.alloc(1)], 2 ** 33).length;`},
		{Name: "Buffer.from of an array-like", Code: `Buffer.from({ length: 2 ** 33 }).length;`},
		{Name: "repeat 2^31", Code: `"x".repeat(2 ** 31).length;`},
		{Name: "repeat 2^40", Code: `"x".repeat(2 ** 40).length;`},
		{Name: "repeat of wide characters", Code: `"\u20ac".repeat(2 ** 30).length;`},
		{Name: "padStart 2^33", Code: `"x".padStart(2 ** 33).length;`},
		{Name: "padEnd with a pattern", Code: `"x".padEnd(2 ** 33, "ab").length;`},
		{Name: "array of a billion", Code: `Array(1e9).fill(0);`},
		{Name: "array of a hundred million", Code: `Array(1e8).fill(0);`},
		{Name: "join of 2^32 holes", Code: `Array(2 ** 32 - 1).join("x");`},
		{Name: "Array.from an endless iterator", Code: `Array.from(Array.prototype.values.call({ length: 2 ** 53 - 1 }));`},
		{Name: "Set of an endless iterator", Code: `new Set(Array.prototype.keys.call({ length: 2 ** 53 - 1 }));`},
		{Name: "Map of an endless iterator", Code: `new Map(Array.prototype.entries.call({ length: 2 ** 53 - 1 }));`},
		{Name: "spread of a native iterator", Code: `Math.max(...Array.prototype.keys.call({ length: 2 ** 53 - 1 }));`},
		{Name: "Object.fromEntries without end", Code: `Object.fromEntries(Array.prototype.entries.call({ length: 2 ** 53 - 1 }));`},
		{Name: "Promise.all without end", Code: `await Promise.all(Array.prototype.keys.call({ length: 2 ** 53 - 1 }));`},
		{Name: "apply with 1e8 arguments", Code: `Math.max.apply(null, { length: 1e8 });`},
		{Name: "Reflect.construct with 1e8 arguments", Code: `Reflect.construct(Array, { length: 1e8 });`},
		{Name: "bind with a million arguments, again", Code: `let f = Math.max; const a = new Array(1e6).fill(1); for (;;) f = f.bind(null, ...a);`},
		{Name: "fromCharCode of 1e8", Code: `String.fromCharCode.apply(null, new Uint8Array(1e8)).length;`},
		{Name: "concat of 1e7 arguments", Code: `"".concat(...new Array(1e7).fill("x")).length;`},
		{Name: "keys of a string of 5e7", Code: `Object.keys(Object("x".repeat(5e7))).length;`},
		{Name: "spread of a string of 1e8", Code: `[..."x".repeat(1e8)].length;`},
		{Name: "split of a string of 5e7", Code: `"x".repeat(5e7).split("").length;`},
		{Name: "keys of an array of 1e8", Code: `[...new Array(1e8).keys()].length;`},
		{Name: "flat of itself", Code: `const a = []; for (let i = 0; i < 1000; i++) a.push(a); a.flat(Infinity);`},
		{Name: "flatMap that grows", Code: `let a = [1]; for (;;) a = a.flatMap((x) => [x, x, x, x]);`},
		{Name: "toSorted, toReversed, with", Code: `const a = { length: 2 ** 32 - 2 }; Array.prototype.toReversed.call(a);`},
		{Name: "replace blow-up", Code: `"a".repeat(1e6).replace(/a/g, "x".repeat(1e6)).length;`},
		{Name: "replaceAll blow-up", Code: `"a".repeat(1e6).replaceAll("a", "x".repeat(1e6)).length;`},
		{Name: "replace with the whole match", Code: `let s = "ab"; for (let i = 0; i < 60; i++) s = s.replace(/^.*$/, "$&$&");`},
		{Name: "typed array join", Code: `new Uint8Array(5e7).join(",").length;`},
		{Name: "join with a long separator", Code: `new Array(1e6).join("x".repeat(1e6)).length;`},
		{Name: "2n**(2n**40n)", Code: `(2n ** (2n ** 40n)).toString().length;`},
		{Name: "2n**(2n**33n)", Code: `2n ** (2n ** 33n);`},
		{Name: "1n << 2n**40n", Code: `1n << (2n ** 40n);`},
		{Name: "BigInt.asUintN of 2^40 bits", Code: `BigInt.asUintN(2 ** 40, -1n);`},
		{Name: "normalize of 2e7", Code: `"\u0344".repeat(2e7).normalize("NFC").length;`},
		{Name: "normalize that expands", Code: `"\ufdfa".repeat(2e7).normalize("NFKD").length;`},
		{Name: "JSON.parse of 100 MB", Code: `JSON.parse("[" + "1,".repeat(5e7) + "1]").length;`},
		{Name: "JSON.parse of long keys", Code: `JSON.parse("{" + Array.from({ length: 2e6 }, (_, i) => '"' + i + '":{}').join() + "}");`},
		{Name: "JSON.stringify of a graph of 2^40", Code: `let o = [1]; for (let i = 0; i < 40; i++) o = [o, o]; JSON.stringify(o).length;`},
		{Name: "JSON.stringify with a wide indent", Code: `let o = [1]; for (let i = 0; i < 700; i++) o = [o, o, 1].slice(i % 2); JSON.stringify(o, null, 10).length;`},
		{Name: "JSON.stringify of escapes", Code: `JSON.stringify("\u0001".repeat(5e7)).length;`},
		{Name: "encodeURIComponent of 5e7", Code: `encodeURIComponent("\u20ac".repeat(2e7)).length;`},
		{Name: "escape of 5e7", Code: `escape("\u20ac".repeat(3e7)).length;`},
		{Name: "structuredClone of a graph", Code: `let o = [1]; for (let i = 0; i < 40; i++) o = [o, [...o]]; structuredClone(o);`},
		{Name: "TextEncoder of 2e8", Code: `new TextEncoder().encode("\u20ac".repeat(1e8)).length;`},
		{Name: "btoa of 2e8", Code: `btoa("x".repeat(2e8)).length;`},
		{Name: "URLSearchParams without end", Code: `const p = new URLSearchParams(); for (let i = 0; ; i++) p.append("k" + i, "v".repeat(1000));`},
		{Name: "Headers without end", Code: `const h = new Headers(); for (let i = 0; ; i++) h.append("x-" + i, "v".repeat(1000));`},
		{Name: "Response of 2^31 bytes", Code: `return new Response(new Uint8Array(2 ** 31));`},
		{Name: "stream that is never read", Code: `new ReadableStream({ start(c) { for (;;) c.enqueue(new Uint8Array(1e6)); } });`},
		{Name: "tee with one reader", Code: `const s = new ReadableStream({ pull(c) { c.enqueue(new Uint8Array(1e6)); } }); const [a, b] = s.tee(); const r = a.getReader(); for (;;) await r.read();`},
		{Name: "a rejection of each kind for ever", Code: `const keep = []; for (;;) keep.push(Promise.reject(new Error("x".repeat(1000))));`},
		{Name: "errors with stacks for ever", Code: `const keep = []; function f(n) { return n ? f(n - 1) : new Error("deep"); } for (;;) keep.push(f(300).stack);`},
		{Name: "Event listeners for ever", Code: `const t = new EventTarget(); for (;;) t.addEventListener("x", () => {});`},
		{Name: "grows over requests", Code: `(globalThis.kept ??= []).push(new Array(2e6).fill(Math.random())); return "kept " + globalThis.kept.length;`, Often: 24},
		{Name: "grows in its module", Module: `const kept = []; for (;;) kept.push(new Array(1e5).fill(1)); export default () => new Response("never");`},
	}
	for i := range attacks {
		attacks[i].Want = burst
		attacks[i].Dangerous = true
	}
	byName := func(name string, want ...Outcome) {
		for i := range attacks {
			if attacks[i].Name == name {
				attacks[i].Want = append(want, burst...)
				return
			}
		}
	}
	// What may also fit, or end, within the limits.
	for _, name := range []string{
		"Response of 2^31 bytes", "structuredClone of a graph", "grows over requests", "BigInt.asUintN of 2^40 bits", "JSON.stringify with a wide indent", "flat of itself",
		"ArrayBuffer 2^53-1", "Buffer.from of an array-like", "toSorted, toReversed, with", "apply with 1e8 arguments",
	} {
		byName(name, answered)
	}
	// Constants, which the compiler computes.
	for _, name := range []string{"2n**(2n**40n)", "2n**(2n**33n)", "1n << 2n**40n", "BigInt.asUintN of 2^40 bits"} {
		byName(name, answered, rejected)
	}
	byName("grows over requests", answered, Outcome{Status: 503}, Outcome{Status: 502}, Outcome{Status: 429})
	return attacks
}
