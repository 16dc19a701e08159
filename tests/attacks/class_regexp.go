package attacks

// regexpAttacks make the engine's two regular-expression machines compile or
// match for ever. One that runs into the machine's own limit does not match.
func regexpAttacks() []Attack {
	attacks := []Attack{
		{Name: "nested plus", Code: `return /^(a+)+$/.test("a".repeat(40) + "b");`},
		{Name: "nested plus, backtracking", Code: `return /^(?=a)(a+)+$/.test("a".repeat(40) + "b");`},
		{Name: "alternatives, backtracking", Code: `return /^(?!x)(a|aa)+$/.test("a".repeat(60) + "b");`},
		{Name: "backreference", Code: `return /^(a*)*\1$/.test("a".repeat(40) + "b");`},
		{Name: "five megabytes", Code: `return /(x+x+)+y/.test("x".repeat(5e6));`, Dangerous: true},
		{Name: "all matches, quadratic", Code: `return "a".repeat(3e5).match(/a*?b|a/g).length;`, Dangerous: true},
		{Name: "matchAll, quadratic", Code: `return [..."a".repeat(3e5).matchAll(/a*?b|a/g)].length;`, Dangerous: true},
		{Name: "split, quadratic", Code: `return "a".repeat(3e5).split(/a*?b|(?=a)/).length;`, Dangerous: true},
		{Name: "lookbehind on 2e5 spaces", Code: `return /(?<=x)\s+$|(?!y)\s+z/.test(" ".repeat(2e5));`},
		{Name: "lookbehind that repeats", Code: `return /(?<=(a+)+)b/.test("a".repeat(5e4) + "c");`},
		{Name: "matches again and again", Code: `const s = "a".repeat(30) + "b"; for (;;) /^(?=a)(a+)+$/.test(s);`},
		{Name: "a thousand to the fourth", Code: `return new RegExp("(?:(?:(?:a{1000}){1000}){1000}){1000}").test("a");`},
		{Name: "a thousand to the fourth, backtracking", Code: `return new RegExp("(?=)(?:(?:(?:a{1000}b{1000}){1000}){1000}){1000}").test("a");`, Dangerous: true},
		{Name: "a count of 2^31", Code: `return new RegExp("a{2147483647}").test("a");`},
		{Name: "a count of 2^31, backtracking", Code: `return new RegExp("(?=)(ab){2147483646,2147483647}").test("ab");`, Dangerous: true},
		{Name: "two million brackets", Code: `return String(new RegExp("(".repeat(2e6) + ")".repeat(2e6) + "\\1")).length;`, Dangerous: true},
		{Name: "two million groups", Code: `return new RegExp("()".repeat(2e6)).exec("").length;`, Dangerous: true},
		{Name: "two million alternatives", Code: `return new RegExp("a|".repeat(2e6)).test("b");`, Dangerous: true},
		{Name: "a class of a million ranges", Code: `let s = ""; for (let i = 0; i < 1e6; i++) s += "\\u" + (i % 65535).toString(16).padStart(4, "0"); return new RegExp("[" + s + "]").test("x");`, Dangerous: true},
		{Name: "named groups without end", Code: `let s = ""; for (let i = 0; i < 2e5; i++) s += "(?<g" + i + ">a)?"; return Object.keys(new RegExp(s).exec("a").groups).length;`, Dangerous: true},
		{Name: "lookaheads in lookaheads", Code: `return new RegExp("(?=".repeat(1e5) + "a" + ")".repeat(1e5)).test("a");`, Dangerous: true},
		{Name: "regular expressions for ever", Code: `for (let i = 0; ; i++) new RegExp("x" + i + "[a-z]+(?=y)");`, Dangerous: true},
		{Name: "unicode property in a loop", Code: `return /^(?:\p{L}+\p{L}+)+$/u.test("a".repeat(60) + "1");`},
		{Name: "sticky from lastIndex", Code: `const r = /(?=(a+))a*b/y; const s = "a".repeat(3e4); for (let i = 0; i < s.length; i++) { r.lastIndex = i; r.test(s); } return "through";`},
		{Name: "a replacer on each of 1e7", Code: `return "a".repeat(1e7).replace(/a/g, () => "b").length;`, Dangerous: true},
		{Name: "exec that replaces itself", Code: `const r = /a/; r.exec = () => ({ index: 0, length: 2 ** 32, 0: "a" }); return "a".replace(r, "b");`, Dangerous: true},
		{Name: "flags that throw and loop", Code: `const r = /a/g; Object.defineProperty(r, "lastIndex", { get() { return 0; }, set() {} }); r[Symbol.replace]("aaa", "b"); return "ended";`, Dangerous: true},
	}
	for i := range attacks {
		attacks[i].Want = harmless
	}
	return attacks
}
