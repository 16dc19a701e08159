package attacks

import (
	"fmt"
	"strings"
)

// bundlerAttacks upload code that kills or occupies what reads it before any
// line of it runs: the guard, the bundler, the compiler.
func bundlerAttacks() []Attack {
	rep := strings.Repeat
	attacks := []Attack{
		{Name: "exclamation marks", Module: rep("!", 250_000) + "1"},
		{Name: "parentheses", Module: rep("(", 500_000)},
		{Name: "closed parentheses", Module: "export default " + rep("(", 200_000) + "1" + rep(")", 200_000)},
		{Name: "brackets", Module: "export default " + rep("[", 200_000) + rep("]", 200_000)},
		{Name: "braces", Module: rep("{", 200_000) + rep("}", 200_000)},
		{Name: "braces in turns", Module: rep("{[(", 100_000)},
		{Name: "else if", Module: rep("if (a) {} else ", 60_000) + "{}"},
		{Name: "a chain of conditions", Module: "export default " + rep("a?b:", 200_000) + "c"},
		{Name: "arrows", Module: "export default " + rep("a=>", 300_000) + "1"},
		{Name: "commas", Module: "export default (" + rep("a,", 400_000) + "b)"},
		{Name: "templates", Module: "export default " + rep("`${", 200_000) + "1" + rep("}`", 200_000)},
		{Name: "braces hidden from a scanner", Module: "x = a /" + rep("{", 150_000) + "/ 1;" + rep("}", 10)},
		{Name: "regular expression or division", Module: "a = b\n/(" + rep("(", 150_000) + "/g"},
		{Name: "functions in functions", Module: rep("function f(){", 100_000) + rep("}", 100_000)},
		{Name: "classes in classes", Module: rep("class A{static x=", 50_000) + "1" + rep("}", 50_000)},
		{Name: "JSX elements", Module: "/** @jsx h */ export default " + rep("<a>", 200_000)},
		{Name: "types in types", Module: "type T = " + rep("Array<", 100_000) + "1" + rep(">", 100_000) + "; export default () => new Response('typed');"},
		{Name: "conditional types", Module: "type T = " + rep("A extends B ? ", 100_000) + "1; export default 1;"},
		{Name: "generic arrows, ambiguous", Module: "export default " + rep("(a=", 60) + "1" + rep(")=>1", 60)},
		{Name: "ambiguous parentheses of TypeScript", Module: "export default " + rep("<T>(", 3000) + "x" + rep(")", 3000)},
		{Name: "a chain of optional calls", Module: "export default a" + rep("?.b", 500_000)},
		{Name: "a sum", Module: "export default 1" + rep("+1", 500_000)},
		{Name: "a sum of strings", Module: `export default "a"` + rep(`+"a"`, 400_000)},
		{Name: "decorators", Module: rep("@a ", 200_000) + "class A {} export default A"},
		{Name: "a constant power", Module: "const x = 3n ** (2n ** 26n); export default () => new Response(String(x).length);"},
		{Name: "a larger constant power", Module: "const x = 3n ** (2n ** 45n); export default () => new Response('x');"},
		{Name: "a million declarations", Module: many(150_000, func(i int) string { return fmt.Sprintf("let v%d=1;", i) }) + "export default () => new Response('x');"},
		{Name: "a million exports", Module: many(80_000, func(i int) string { return fmt.Sprintf("export let v%d=1;", i) })},
		{Name: "duplicate names", Module: rep("let a;", 300_000)},
		{Name: "imports of itself", Module: `import * as self from "./%SELF%"; export default () => new Response(Object.keys(self).join());`},
		{Name: "imports without end", Module: `import "./endless/0.js"; export default () => new Response("x");`},
		{Name: "ten thousand imports", Module: many(10_000, func(i int) string { return fmt.Sprintf("import './many/%d.js';", i) })},
		{Name: "imports of a file", Module: `import text from "file://%FILE%"; export default () => new Response(text);`},
		{Name: "imports of an absolute path", Module: `import text from "%FILE%"; export default () => new Response(text);`},
		{Name: "imports up the folders", Module: `import text from "../../../../../../../..%FILE%"; export default () => new Response(text);`},
		{Name: "imports with a loader", Module: `import text from "%FILE%" with { type: "text" }; export default () => new Response(text);`},
		{Name: "imports of the admin API", Module: `import config from "http://%ADMIN%/config/"; export default () => new Response(JSON.stringify(config));`},
		{Name: "imports of a private address", Module: `import x from "http://%INTERNAL%/x.js"; export default () => new Response(x);`},
		{Name: "imports a redirect inside", Module: `import x from "./redirect?to=http://%INTERNAL%/x.js"; export default () => new Response(x);`},
		{Name: "imports of a data URL", Module: `import x from "data:text/javascript,export default 1"; export default () => new Response("data " + x);`},
		{Name: "requires a file, as a route", Module: `module.exports = (cb) => cb(null, require("%FILE%"));`, By: Route},
		{Name: "requires up the folders, as a route", Module: `module.exports = (cb) => cb(null, require("../../canary.json"));`, By: Route},
		{Name: "imports up the folders, as a route", Module: `import x from "../../canary.json"; export default () => new Response(JSON.stringify(x));`, By: Route},
		{Name: "imports through a link, as a route", Module: `import x from "./link.json"; export default () => new Response(JSON.stringify(x));`, By: Route},
		{Name: "imports a device, as a route", Module: `import x from "/dev/zero"; export default () => new Response(x);`, By: Route},
		{Name: "a byte order mark and nothing", Module: "\ufeff"},
		{Name: "NUL bytes", Module: rep("\x00", 100_000)},
		{Name: "bytes that are no UTF-8", Module: rep("\xff\xfe", 100_000)},
		{Name: "a string without end", Module: "export default \"" + rep("x", 1_000_000)},
		{Name: "larger than code_size", Module: "// " + rep("x", 5<<20)},
		{Name: "a binary with a magic number", Module: "\x7fELF" + rep("\x00\x01", 1000)},
		{Name: "as a route by URL", Module: rep("!", 250_000) + "1", By: RouteURL},
		{Name: "as a route's file", Module: rep("(", 300_000), By: Route},
		{Name: "long line of identifiers", Module: rep("a", 1_900_000) + "; export default 1"},
		{Name: "escapes in identifiers", Module: rep(`\u0061`, 200_000) + "; export default 1"},
	}
	refused := []Outcome{
		rejected, overCPU, overTime, overMemory, overMemory2, overMemory3, thrown,
		{Status: 413, Text: "code_size"}, {Status: 502}, {Status: 403, Text: "may not come from"}, {Status: 504},
	}
	for i := range attacks {
		attacks[i].Want = append([]Outcome{answered}, refused...)
		attacks[i].Dangerous = !strings.Contains(attacks[i].Name, "import") && !strings.Contains(attacks[i].Name, "require")
	}
	return attacks
}

// many joins what text makes of the numbers below n.
func many(n int, text func(int) string) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(text(i))
	}
	return b.String()
}
