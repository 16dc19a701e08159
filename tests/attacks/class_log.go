package attacks

import "strings"

// logAttacks write what a reader of the log, a person at a terminal or a
// machine, would take for something else. The run asserts of every line of the
// log that it is one JSON object, that none of its own fields is Forged, and
// that no control character stands in it.
func logAttacks() []Attack {
	line := `{"level":"` + Forged + `","ts":1,"logger":"admin","msg":"` + Forged + `","` + Forged + `":1}`
	attacks := []Attack{
		{Name: "a line of its own", Code: `console.log("x\n" + ` + quote(line) + `); return "logged";`},
		{Name: "a carriage return", Code: `console.log("x\r" + ` + quote(line) + `); return "logged";`},
		{Name: "a Unicode line separator", Code: `console.log("x\u2028" + ` + quote(line) + ` + "\u2029" + "\u0085" + ` + quote(line) + `); return "logged";`},
		{Name: "the end of a JSON text", Code: `console.log("\"}\n" + ` + quote(line) + `); return "logged";`},
		{Name: "a field of JSON", Code: `console.log("\",\"` + Forged + `\":1,\"x\":\""); return "logged";`},
		{Name: "a terminal's escapes", Code: `console.log("\x1b[2J\x1b[1;31mred\x1b]0;title\x07\x1b[0m\x9b31m"); return "logged";`},
		{Name: "backspaces", Code: `console.log("secret\b\b\b\b\b\b" + "\x7f".repeat(10)); return "logged";`},
		{Name: "NUL and the rest", Code: `console.log(Array.from({ length: 32 }, (_, i) => String.fromCharCode(i)).join("")); return "logged";`},
		{Name: "right to left", Code: `console.log("\u202e" + "desrever" + "\u2066"); return "logged";`},
		{Name: "format verbs of Go", Code: `console.log("%!s(MISSING) %s %d %v %+v %n %x", "%s%s%s%n"); return "logged";`},
		{Name: "format of console", Code: `console.log("%s %d %o %c %%", { toString() { return ` + quote("\n"+line) + `; } }, "1\n" + ` + quote(line) + `); return "logged";`},
		{Name: "labels of console", Code: `for (const k of ["group", "count", "time", "timeEnd", "timeLog", "assert", "dir", "table", "trace"]) { try { console[k]?.("\n" + ` + quote(line) + `); } catch (e) {} } console.log("in a group"); return "logged";`},
		{Name: "an error that is logged", Code: `console.error(Object.assign(new Error("\n" + ` + quote(line) + `), { name: "\n", stack: "\n" + ` + quote(line) + ` })); return "logged";`},
		{Name: "an error that is thrown", Code: `const e = new Error("\n" + ` + quote(line) + `); e.name = "\n" + ` + quote(line) + `; e.stack = "\n" + ` + quote(line) + `; throw e;`},
		{Name: "a rejection after the answer", Code: `ctx.waitUntil(Promise.reject(new Error("\n" + ` + quote(line) + `))); return "logged";`},
		{Name: "an object's keys", Code: `console.log({ ["\n" + ` + quote(line) + `]: 1, [Symbol("\n" + ` + quote(line) + `)]: 2 }); return "logged";`},
		{Name: "a class's name", Code: `console.log(new ({ ["\n" + ` + quote(line) + `]: class {} })["\n" + ` + quote(line) + `]()); return "logged";`},
		{Name: "a function's name in a stack", Code: `const f = { ["\n" + ` + quote(line) + `]: () => { throw new Error("x"); } }; Object.values(f)[0]();`},
		{Name: "a file's name in a stack", Code: `eval("throw new Error('x')\n//# sourceURL=\u2028" + ` + quote(line) + `);`},
		{Name: "a syntax error's text", Module: "export default () => { const x = \"\u2028" + `{\"level\":\"` + Forged + `\"}` + "\x1b[31m\" + ; }"},
		{Name: "the request's path", Code: `return "answered";`, Request: Request{Path: "/%0a%7b%22level%22:%22" + Forged + "%22%7d%1b[31m"}},
		{Name: "the request's headers", Code: `return "answered";`, Request: Request{Header: []string{"User-Agent: \u009b31m" + line, "Referer: " + line}}, Want: append([]Outcome{{Status: 400}}, harmless...)},
		{Name: "the answer's headers", Code: `return new Response("x", { headers: { "X-Log": ` + quote(line) + ` } });`},
		{Name: "a redirect's place", Code: `return probe("%ORIGIN%/redirect?to=" + encodeURIComponent("http://x\n" + ` + quote(line) + `));`},
		{Name: "fields of the access log", Code: `return new Response("x", { headers: { "X-Webtask-Container": "` + Forged + `", "webtask": "` + Forged + `" } });`},
		{Name: "a token in a console line", Code: `console.log(request.headers.get("authorization"), request.url); return "logged";`},
		{Name: "a secret that is not its own", Code: `console.log(JSON.stringify(Object.getOwnPropertyNames(globalThis)), JSON.stringify(env)); return "logged";`},
		{Name: "lone surrogates", Code: `console.log("\ud800\udfff\udc00"); return "logged";`},
		{Name: "bytes that are no UTF-8", Code: `console.log(Buffer.from([0xff, 0xfe, 0x0a, 0x7b]).toString("latin1"), Buffer.from([0xff, 0xfe]).toString()); return "logged";`},
		{Name: "empty lines for ever", Code: `for (;;) console.log("");`, Want: stopped},
		{Name: "empty lines after the answer", Code: `ctx.waitUntil((async () => { for (;;) { await null; for (let i = 0; i < 1000; i++) console.log(""); } })()); return "logged";`, Want: append(said("logged"), stopped...)},
		{Name: "lines of one space", Code: `for (let i = 0; i < 20000; i++) console.warn(" "); return "logged";`, Want: append(said("logged"), stopped...)},
		{Name: "counts for ever", Code: `for (;;) console.count("");`, Want: stopped},
		{Name: "groups for ever", Code: `for (;;) console.group("");`, Want: stopped},
		{Name: "lines of debugging for ever", Code: `for (;;) console.debug("");`, Want: stopped},
		{Name: "stacks for ever", Code: `for (;;) console.trace();`, Want: stopped},
		{Name: "rejections for ever", Code: `for (let i = 0; i < 20000; i++) ctx.waitUntil(Promise.reject("")); return "logged";`, Want: append(said("logged"), stopped...)},
		{Name: "levels", Code: `for (const k of ["debug", "info", "warn", "error", "log", "fatal", "panic"]) console[k]?.("at " + k); return "logged";`},
	}
	for i := range attacks {
		if attacks[i].Want == nil {
			attacks[i].Want = harmless
		}
	}
	return attacks
}

// Forged is a word that no field of the log has of itself.
const Forged = "fOrGeD"

// quote writes text as a JavaScript string.
func quote(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(text) + `"`
}
