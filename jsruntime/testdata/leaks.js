// search calls all functions that can be reached from roots, and does all that
// the language can do, with odd values. Of these tasks it does some, [from, to),
// and returns the texts that came out, with where each was seen first, and how
// many tasks there are. It logs the number of each, as the engine has defects
// that end a script for good.
const search = (roots, from, to) => {
	const tasks = [];
	const texts = {};
	const add = (text, from) => { if (typeof text === "string" && text.length < 1e6) texts[text] ??= from; };
	const note = (value, from, depth = 0) => {
		try {
			if (typeof value === "string") return add(value, from);
			if (typeof value === "function") { add(value.name, from); if (Object.hasOwn(value, "name")) add(Function.prototype.toString.call(value), from); return; }
			if (value === null || typeof value !== "object" || depth > 2) return add(String(value), from);
			if (value instanceof Promise) return void value.then(() => {}, () => {});
			for (const key of Reflect.ownKeys(value).slice(0, 50)) {
				add(String(key), from);
				note(value[key], from, depth + 1);
			}
			if (value instanceof Error) for (const key of ["name", "message", "stack"]) note(value[key], from, depth + 1);
			add(String(value), from);
		} catch (e) {
			if (depth < 3) note(e, from, depth + 1);
		}
	};
	const attempt = (from, f) => { try { note(f(), from); } catch (e) { note(e, from); } };

	const bare = () => Object.create(null);
	const odd = {
		undefined: () => undefined, null: () => null, number: () => -1.5, NaN: () => NaN, text: () => "]x\u0000", symbol: () => Symbol("s"), bigint: () => 10n,
		object: () => ({}), bare, stubborn: () => ({ toString: null, valueOf: null }), deaf: () => ({ toString: () => bare(), valueOf: () => bare() }),
		thrower: () => ({ toString() { throw bare(); }, valueOf() { throw bare(); }, get length() { throw bare(); } }),
		primitive: () => ({ [Symbol.toPrimitive]: 5 }), nested: () => [bare(), [bare()]], long: () => ({ length: 2, 0: bare(), 1: Symbol("t") }),
		function: () => () => bare(), class: () => class Odd {}, proxy: () => new Proxy(bare(), {}),
		date: () => new Date(NaN), regexp: () => /x/g, map: () => new Map([[bare(), bare()]]), set: () => new Set([bare()]),
		buffer: () => new ArrayBuffer(4), bytes: () => new Uint8Array(2), iterator: () => ({ [Symbol.iterator]: () => ({ next() { throw bare(); } }) }), thenable: () => ({ then: bare() }),
		error: () => new TypeError(), slot: () => { const o = new Headers(); return o[Object.getOwnPropertySymbols(o)[0]]; },
		handle: () => roots.res?._exchange, response: () => new Response("x"), signal: () => AbortSignal.abort(), url: () => new URL("http://x/?a=b"),
	};

	const names = Object.keys(odd);

	// What ends the request, changes the globals that this needs, or takes for ever.
	const skip = /^(res|req|res\..*|cb|.*\.(setTimeout|setInterval|setImmediate|end|write|destroy|reportError|defineProperty|freeze|seal|preventExtensions|setPrototypeOf))$/;
	const seen = new Set();
	const visit = (value, path, depth) => {
		if ((typeof value !== "object" && typeof value !== "function") || value === null || seen.has(value) || depth > 6) return;
		seen.add(value);
		if (typeof value === "function") {
			note(value, path);
			if (!skip.test(path)) tasks.push(() => call(value, path));
		}
		for (const key of Reflect.ownKeys(value)) {
			const where = path + "." + String(key);
			add(String(key), where);
			let descriptor;
			try { descriptor = Object.getOwnPropertyDescriptor(value, key); } catch (e) { note(e, where); continue; }
			if (!descriptor) continue;
			for (const part of ["get", "set"]) if (descriptor[part]) visit(descriptor[part], where + ":" + part, depth + 1);
			if ("value" in descriptor) visit(descriptor.value, where, depth + 1);
			else attempt(where, () => value[key]);
		}
		visit(Object.getPrototypeOf(value), path + ".__proto__", depth + 1);
	};
	const call = (f, path) => {
		for (let i = 0; i < names.length; i++) {
			const a = odd[names[i]], b = odd[names[(i * 7 + path.length) % names.length]], from = path + " with " + names[i];
			attempt(from, () => f.call(a()));
			attempt(from, () => f(a(), b()));
			attempt(from, () => f.call(b(), a()));
			attempt(from, () => f.call([1], a(), b()));
			attempt(from, () => f.call("x", a(), b()));
			attempt(from, () => new f(a(), b()));
		}
	};

	const operations = {
		"+": (a, b) => a + b, "-": (a, b) => a - b, "**": (a, b) => a ** b, "<": (a, b) => a < b, "==": (a, b) => a == b, "===": (a, b) => a === b, in: (a, b) => a in b, "|": (a, b) => a | b,
		instanceof: (a, b) => a instanceof b, get: (a, b) => a[b], set: (a, b) => { "use strict"; a[b] = 1; }, delete: (a, b) => { "use strict"; delete a[b]; }, call: (a, b) => a(b), new: (a, b) => new a(b),
		method: (a, b) => a[b](), template: (a, b) => `${a}${b}`, spread: (a, b) => [...a, ...b], object: (a, b) => ({ ...a, [b]: 1 }), of: a => { for (const x of a) void x; }, "for in": a => { for (const x in a) void x; },
		array: a => { const [x] = a; return x; }, pattern: a => { const { x } = a; return x; }, typeof: a => typeof a, negative: a => -a, increment: a => ++a, not: a => ~a, extends: a => class extends a {}, private: a => class { #x; static f() { return a.#x; } }.f(),
		tag: (a, b) => a`${b}`, switch: (a, b) => { switch (a) { case b: return 1; } }, "yield*": a => [...function* () { yield* a; }()], throw: a => { throw a; }, with: a => new Function("a", "with (a) { return x }")(a),
		json: a => JSON.stringify({ a }), parse: a => JSON.parse(a), eval: a => eval(a), log: (a, b) => console.log("%s %d %o", a, b, a), sort: (a, b) => [a, b].sort(), join: (a, b) => [a, b].join(), inherit: (a, b) => Object.create(a).toString(b),
	};
	for (const name of Object.keys(operations)) {
		for (const a of names) tasks.push(() => { for (const b of names) attempt(`${a} ${name} ${b}`, () => operations[name](odd[a](), odd[b]())); });
	}
	for (const text of ["{]", "[}", "{1:2}", "[1 2]", "]", '{"a"}', '{"a":}', "[,]", "tru", "\"\\x\"", "{}{}", "1 true", "[1]]"]) tasks.push(() => attempt("JSON.parse of " + text, () => JSON.parse(text)));
	for (const text of ["(", "[", "(?<a>", "a**", "\\u{110000}", "(?<=a)(", "\\p{X}"]) for (const flags of ["", "u", "gg", "y"]) tasks.push(() => attempt("RegExp " + text, () => new RegExp(text, flags)));
	for (const name of Object.keys(roots)) visit(roots[name], name, 0);
	for (let i = from; i < to && i < tasks.length; i++) {
		console.log("task " + i);
		tasks[i]();
	}
	return { texts, tasks: tasks.length };
};
