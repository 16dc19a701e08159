package attacks

// leakAttacks look for what is another request's or another tenant's. What
// they find is compared with the stage's canaries; most say what they saw.
func leakAttacks() []Attack {
	seen := []Outcome{answered}
	// first keeps what its request may use; a later one tries it.
	later := func(keep, use string) string {
		return `
			if (request.headers.get("x-visit") === "first") {
				await ctx.session.set("note", request.headers.get("x-private"));
				globalThis.old = await (async () => (` + keep + `))();
				return "kept";
			}
			return "later: " + (await tried(async () => { const old = globalThis.old; return (` + use + `); }));`
	}
	return []Attack{
		{Name: "an earlier visitor's session", Code: later(`ctx.session`, `await old.get("note")`), Visited: true, Want: said("later: ")},
		{Name: "an earlier visitor's session, written", Code: later(`ctx.session`, `await old.set("planted", 1)`), Visited: true, Want: said("later: ")},
		{Name: "an earlier visitor's session methods", Code: later(`ctx.session.get.bind(ctx.session)`, `await old("note")`), Visited: true, Want: said("later: ")},
		{Name: "an earlier visitor's session entries", Code: later(`ctx`, `JSON.stringify(await old.session.entries())`), Visited: true, Want: said("later: ")},
		{Name: "an earlier visitor's waitUntil", Code: later(`ctx`, `old.waitUntil(Promise.resolve())`), Visited: true, Want: said("later: ")},
		{Name: "an earlier visitor's body, unread", Code: later(`request`, `await old.text()`), Visited: true, Want: said("later: ")},
		{Name: "the own session, by another's", Code: later(`1`, `String(await ctx.session.get("note"))`), Visited: true, Want: said("later: done: undefined")},
		{Name: "a timer of an earlier request", Code: `
			if (request.headers.get("x-visit") === "first") { globalThis.n = 0; setInterval(() => globalThis.n++, 1); return "kept"; }
			const before = globalThis.n ?? 0; await new Promise((r) => setTimeout(r, 50)); return (globalThis.n ?? 0) === before ? "still" : "ticking";`, Visited: true, Want: said("still")},
		{Name: "a microtask of an earlier request", Code: `
			if (request.headers.get("x-visit") === "first") { globalThis.f = () => { globalThis.m = (globalThis.m ?? 0) + 1; }; setTimeout(() => queueMicrotask(globalThis.f), 10); return "kept"; }
			await new Promise((r) => setTimeout(r, 60)); return globalThis.m ? "ran" : "still";`, Visited: true, Want: said("still")},
		{Name: "a fetch of an earlier request", Code: `
			if (request.headers.get("x-visit") === "first") { globalThis.p = fetch("%ORIGIN%/drip").then((r) => r.text(), (e) => "ended: " + e); return "kept"; }
			return "later: " + (await Promise.race([globalThis.p ?? "none", new Promise((r) => setTimeout(r, 300, "still pending"))]));`, Visited: true, Want: said("later: ")},
		{Name: "the victim's globals", Code: `return "globals: " + Object.getOwnPropertyNames(globalThis).map((k) => { try { return k + "=" + String(globalThis[k]).slice(0, 200); } catch (e) { return k; } }).join("\n");`, Want: seen},
		{Name: "registered symbols", Code: `return "symbols: " + ["secret", "SECRET", "victim", "note"].map((k) => String(Symbol.for(k).description) + (Symbol.for(k) in globalThis)).join();`, Want: seen},
		{Name: "memory that was another's", Code: `const out = []; for (let i = 0; i < 200; i++) { const b = Buffer.allocUnsafe(65536); for (let j = 0; j < b.length; j += 997) if (b[j]) out.push(b.toString("latin1", j, j + 100)); } return "dirty: " + out.length + out.slice(0, 3);`, Want: said("dirty: 0")},
		{Name: "Buffer's pool", Code: `const b = Buffer.from("abc"); return "around: " + Buffer.from(b.buffer).toString("latin1").replace(/\0/g, "");`, Want: said("around: ")},
		{Name: "the victim's session by its cookie", Code: `return "note: " + (await tried(() => ctx.session.get("note"))) + request.headers.get("cookie");`, Request: Request{Header: []string{"Cookie: %COOKIE%"}}, Want: said("note: done: undefined")},
		{Name: "the victim's session by its cookie, as a route", By: Route, Code: `return "note: " + (await tried(() => ctx.session.get("note")));`, Request: Request{Header: []string{"Cookie: %COOKIE%"}}, Want: said("note: done: undefined")},
		{Name: "the victim's session under the own name", Code: `return "note: " + (await tried(() => ctx.session.get("note"))) + ctx.session.id;`, Request: Request{Header: []string{"Cookie: %OWNCOOKIE%=%COOKIEVALUE%"}}, Want: said("note: done: undefined")},
		{Name: "the victim's session by its public id", Code: `return "note: " + (await tried(() => ctx.session.get("note")));`, Request: Request{Header: []string{"Cookie: webtask_session=%SESSIONID%"}}, Want: said("note: done: undefined")},
		{Name: "cookies of the site", Code: `return "cookies: " + JSON.stringify([...request.headers]);`, Request: Request{Header: []string{"Cookie: site=%CANARY%; %COOKIE%", "Authorization: Basic %CANARYBASIC%", "Proxy-Authorization: Basic %CANARYBASIC%"}}, Want: said("cookies: ")},
		{Name: "cookies of the site, in the Node model", Module: `module.exports = (ctx, req, res) => res.end("cookies: " + JSON.stringify([req.headers, req.rawHeaders, ctx.headers]));`, Request: Request{Header: []string{"Cookie: site=%CANARY%", "X-Forwarded-User: %CANARY%", "Remote-User: %CANARY%"}}, Want: said("cookies: ")},
		{Name: "cookies of the site, in the callback model", Module: `module.exports = (ctx, cb) => cb(null, { cookies: ctx.headers, data: ctx.data });`, Request: Request{Header: []string{"Cookie: site=%CANARY%", "X-Auth-Request-User: %CANARY%"}}, Want: said("cookies")},
		{Name: "the own token", Code: `return "token: " + JSON.stringify([[...request.headers], request.url, ctx]);`, Want: said("token: ")},
		{Name: "the environment", Code: `return "env: " + JSON.stringify([env, globalThis.process?.env, globalThis.Deno?.env]);`, Want: said("env: ")},
		{Name: "placeholders of Caddy", Code: `return new Response("{env.CANARY_ENV} {$CANARY_ENV} {file.%FILE%} {http.request.header.cookie} {{env \"CANARY_ENV\"}}", { headers: { "x-p": "{env.CANARY_ENV}{file.%FILE%}" } });`, Want: seen},
		{Name: "placeholders of Caddy, in a console line", Code: `console.log("{env.CANARY_ENV}", "{file.%FILE%}"); return "logged";`, Want: seen},
		{Name: "placeholders of Caddy, in a URL", Code: `return probe("%ORIGIN%/headers?{env.CANARY_ENV}{file.%FILE%}");`, Want: seen},
		{Name: "files beside the task", By: Route, Code: `return "found " + (await probe("file://%FILE%"));`, Want: said("found refused")},
		{Name: "the session of the neighbour's container", Code: `for (const k of ["container", "ten", "id", "secret", "cookie", "key"]) { try { ctx.session[k] = "victim"; } catch (e) {} } return "entries: " + JSON.stringify(await ctx.session.entries());`, Want: said("entries: ")},
		{Name: "errors of the edge", Code: `return "errors: " + (await Promise.all([tried(() => ctx.session.set("k", "x".repeat(1e6))), probe("http://[::1"), probe("http://nowhere.invalid/"), probe("%ORIGIN%/closes"), tried(() => ctx.session.update("k", () => { throw new Error("own"); }))])).join("\n");`, Want: said("errors: ")},
		{Name: "the time of another's work", Code: `const t = []; for (let i = 0; i < 100; i++) t.push(typeof performance === "undefined" ? Date.now() : performance.now()); return "times: " + t.every((x) => Number.isFinite(x));`, Want: said("times: ")},
		{Name: "random numbers are not another's", Code: `return "random: " + crypto.randomUUID() + Math.random();`, Want: said("random: ")},
	}
}
