package attacks

// siblingAttacks run a task of the same container first: with a secret and the
// right to call out that the second has not. They share a tenant, not rights.
func siblingAttacks() []Attack {
	shown := said("saw: ")
	attacks := []Attack{
		{Name: "its globals", Before: `globalThis.kept = env.SIBLING; return "kept";`, Code: `return "saw: " + globalThis.kept;`, Want: said("saw: undefined")},
		{Name: "its prototype", Before: `Object.prototype.kept = env.SIBLING; Array.prototype.kept = env; return "kept";`, Code: `return "saw: " + ({}).kept + JSON.stringify([].kept ?? null);`, Want: said("saw: undefinednull")},
		{Name: "its registered symbol", Before: `globalThis[Symbol.for("kept")] = env.SIBLING; return "kept";`, Code: `return "saw: " + globalThis[Symbol.for("kept")];`, Want: said("saw: undefined")},
		{Name: "its fetch", Before: `globalThis.send = (u) => fetch(u); return "kept";`, Net: []string{}, Code: `return "saw: " + (globalThis.send ? await tried(() => globalThis.send("%ORIGIN%/empty").then((r) => r.status)) : "none") + (await probe("%ORIGIN%/empty"));`, Want: said("saw: nonerefused")},
		{Name: "its timer", Before: `setInterval(() => { globalThis.kept = env.SIBLING; }, 1); await new Promise((r) => setTimeout(r, 20)); return "kept";`, Code: `await new Promise((r) => setTimeout(r, 50)); return "saw: " + globalThis.kept;`, Want: said("saw: undefined")},
		{Name: "its work after the answer", Before: `ctx.waitUntil(new Promise((r) => setTimeout(() => { globalThis.kept = env.SIBLING; r(); }, 100))); return "kept";`, Code: `await new Promise((r) => setTimeout(r, 200)); return "saw: " + globalThis.kept;`, Want: said("saw: undefined")},
		{Name: "its environment", Before: `env.planted = env.SIBLING; return "kept";`, Code: `return "saw: " + JSON.stringify(env);`},
		{Name: "its parameters", Before: `return "kept";`, Code: `return "saw: " + JSON.stringify([env.SIBLING ?? null, env.SIBLINGPARAM ?? null]);`, Want: said("saw: [null,null]")},
		{Name: "its listeners", Before: `globalThis.addEventListener?.("fetch", () => { globalThis.kept = env.SIBLING; }); return "kept";`, Code: `try { globalThis.dispatchEvent(new Event("fetch")); } catch (e) {} return "saw: " + globalThis.kept;`, Want: said("saw: undefined")},
		{Name: "its code cache", Before: `const f = new Function("return 'sibling'"); Function.prototype.kept = env.SIBLING; return f();`, Code: `return "saw: " + (() => {}).kept;`, Want: said("saw: undefined")},
		{Name: "its template objects", Before: "const t = (s) => s; globalThis.t = t`x`; Object.getPrototypeOf(globalThis.t).kept = env.SIBLING; return 'kept';", Code: "const t = (s) => s; return 'saw: ' + t`x`.kept;", Want: said("saw: undefined")},
		{Name: "its intrinsics", Before: `Object.getPrototypeOf(function* () {}).kept = Object.getPrototypeOf(async () => {}).kept = Object.getPrototypeOf(Int8Array).kept = env.SIBLING; return "kept";`, Code: `return "saw: " + Object.getPrototypeOf(function* () {}).kept + Object.getPrototypeOf(async () => {}).kept + Object.getPrototypeOf(Int8Array).kept;`, Want: said("saw: undefinedundefinedundefined")},
		{Name: "narrow limits are not lifted", Before: `return "kept";`, Code: `for (;;) {}`, Want: stopped},
		{Name: "dies while it waits", Before: `return "kept";`, Code: `"x".repeat(2 ** 40);`, Want: burst, Dangerous: true},
	}
	for i := range attacks {
		if attacks[i].Want == nil {
			attacks[i].Want = shown
		}
	}
	return attacks
}
