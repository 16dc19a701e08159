package attacks

import "strings"

// parserAttacks give the engine's own parser and compiler, which the script
// reaches by eval, Function and the module itself, what they cannot digest.
func parserAttacks() []Attack {
	attacks := []Attack{
		{Name: "eval of two million brackets", Code: `eval("[".repeat(2e6) + "]".repeat(2e6));`},
		{Name: "eval of open brackets", Code: `eval("[".repeat(2e6));`},
		{Name: "eval of parentheses", Code: `eval("(".repeat(1e6) + "1" + ")".repeat(1e6));`},
		{Name: "eval of braces", Code: `eval("{".repeat(1e6) + "}".repeat(1e6));`},
		{Name: "eval of exclamation marks", Code: `eval("!".repeat(2e7) + "1");`},
		{Name: "eval of minus", Code: `eval("- ".repeat(5e6) + "1");`},
		{Name: "eval of typeof", Code: `eval("typeof ".repeat(2e6) + "1");`},
		{Name: "eval of new", Code: `eval("new ".repeat(2e6) + "Object");`},
		{Name: "eval of a sum", Code: `eval("1" + "+1".repeat(1e7));`},
		{Name: "eval of a power", Code: `eval("1" + "**1".repeat(2e6));`},
		{Name: "eval of assignments", Code: `var a; eval("a=".repeat(1e7) + "1");`},
		{Name: "eval of conditions", Code: `eval("1?".repeat(1e6) + "1" + ":1".repeat(1e6));`},
		{Name: "eval of arrows", Code: `eval("a=>".repeat(2e6) + "1");`},
		{Name: "eval of calls", Code: `eval("f(".repeat(1e6) + ")".repeat(1e6));`},
		{Name: "eval of members", Code: `eval("a" + ".b".repeat(5e6));`},
		{Name: "eval of templates", Code: "eval(\"`${\".repeat(1e6) + \"1\" + \"}`\".repeat(1e6));"},
		{Name: "eval of functions", Code: `eval("function f(){".repeat(5e5) + "}".repeat(5e5));`},
		{Name: "eval of classes", Code: `eval("class A extends (".repeat(3e5) + "Object" + "){}".repeat(3e5));`},
		{Name: "eval of if and else", Code: `eval("if(0);else ".repeat(2e6) + ";");`},
		{Name: "eval of labels", Code: `eval(Array.from({ length: 1e5 }, (_, i) => "l" + i + ":").join("") + ";");`},
		{Name: "eval of commas", Code: `eval("0" + ",0".repeat(1e7));`},
		{Name: "eval of declarations", Code: `eval("var " + Array.from({ length: 1e6 }, (_, i) => "v" + i).join());`},
		{Name: "eval of cases", Code: `eval("switch(0){" + "case 1:".repeat(3e6) + "}");`},
		{Name: "eval of a long string", Code: `eval('"' + "x".repeat(1e8) + '"').length;`},
		{Name: "eval of an endless comment", Code: `eval("/*" + "*".repeat(1e8));`},
		{Name: "eval of patterns", Code: `eval("[".repeat(5e5) + "a" + "]".repeat(5e5) + "=0");`},
		{Name: "eval of async arrows", Code: `eval("async(".repeat(5e5) + ")".repeat(5e5));`},
		{Name: "eval of a constant power", Code: `eval("3n**(2n**25n)");`},
		{Name: "eval of a larger constant power", Code: `eval("3n**(2n**40n)");`},
		{Name: "eval of a constant shift", Code: `eval("1n<<(2n**40n)");`},
		{Name: "Function with a million parameters", Code: `new Function(Array.from({ length: 1e6 }, (_, i) => "p" + i).join(), "");`},
		{Name: "Function that loops", Code: `new Function("for(;;){}")();`, Want: stopped},
		{Name: "Function behind a constructor", Code: `(() => {}).constructor("for(;;){}")();`, Want: stopped},
		{Name: "AsyncFunction behind a constructor", Code: `await (async () => {}).constructor("for(;;){}")();`, Want: stopped},
		{Name: "eval for ever", Code: `for (let i = 0; ; i++) (0, eval)("var x" + i + "=1");`},
		{Name: "source map of an endless device", Code: `eval("1\n//# sourceMappingURL=/dev/zero"); return "evaluated";`, Want: harmless},
		{Name: "source map by file URL", Code: `eval("1\n//# sourceMappingURL=file:///dev/zero"); return "evaluated";`, Want: harmless},
		{Name: "source map up the folders", Code: `eval("1\n//# sourceMappingURL=../../../../../../../dev/zero"); return "evaluated";`, Want: harmless},
		{Name: "source map of a secret file", Code: `try { eval("null.x\n//# sourceMappingURL=%FILE%"); } catch (e) { return e.stack; }`, Want: harmless},
		{Name: "source map of the module", Module: "export default () => { try { null.x; } catch (e) { return new Response(e.stack); } };\n//# sourceMappingURL=file://%FILE%\n", Want: harmless},
		{Name: "source map inline, a bomb", Module: "export default () => { null.x; };\n//# sourceMappingURL=data:application/json;base64," + strings.Repeat("e30", 300_000) + "\n", Want: harmless},
		{Name: "sourceURL that lies", Code: `eval("throw new Error('x')\n//# sourceURL=/etc/passwd");`, Want: harmless},
	}
	for i := range attacks {
		if attacks[i].Want == nil {
			attacks[i].Want = harmless
		}
		// eval is within reach of the worker only; without one, of the edge.
		attacks[i].Dangerous = !strings.Contains(attacks[i].Name, "source")
	}
	return attacks
}
