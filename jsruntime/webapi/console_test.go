package webapi_test

import (
	"strings"
	"testing"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
)

func TestConsole(t *testing.T) {
	for code, want := range map[string]string{
		`console.log("a", 1, true, null, undefined, 2n, Symbol("s"))`:                                    `a 1 true null undefined 2n Symbol(s)`,
		`console.log("%s is %d of %i and %f%% %o %c.", "x", "4.5", 7.9, "1.5", { a: 1 }, "css", "rest")`: `x is 4.5 of 7 and 1.5% { a: 1 } . rest`,
		`console.log("%d", {}, "%s")`: `NaN %s`,
		`console.log("100%", "%x")`:   `100% %x`,
		`console.log({ a: "x", "b c": [1, , "y"], f() {}, n: { m: { o: { p: { q: 1 } } } } })`:                                                       `{ a: "x", "b c": [ 1, undefined, "y" ], f: [Function: f], n: { m: { o: { p: [Object] } } } }`,
		`console.log([], {}, new Map([["k", { v: 1 }]]), new Set([1]), /x/g, new Date(0))`:                                                           `[] {} Map(1) { "k" => { v: 1 } } Set(1) { 1 } /x/g 1970-01-01T00:00:00.000Z`,
		`class P { x = 1 } console.log(new P(), Object.create(null), P)`:                                                                             `P { x: 1 } [Object: null prototype] {} [Function: P]`,
		`const o = {}; o.o = o; console.log(o)`:                                                                                                      `{ o: [Circular] }`,
		`console.log({ get a() { throw new Error("a getter ran") } })`:                                                                               `{ a: [Getter/Setter] }`,
		`console.log(new Proxy({}, { get() { throw new Error("a trap ran") } }))`:                                                                    `[Proxy]`,
		`console.log(Object(1), Object("s"), new Uint8Array(2), new ArrayBuffer(3))`:                                                                 `[1] ["s"] Uint8Array(2) [ 0, 0 ] ArrayBuffer(3)`,
		`console.log(Promise.resolve(4), new WeakMap())`:                                                                                             `Promise { 4 } WeakMap { <items unknown> }`,
		`console.log(new URL("http://h/"), new Headers({ a: "1", authorization: "secret" }), new Response(), new Request("http://h/?token=secret"))`: `URL "http://h/" Headers { a: "1", authorization: … } Response { 200 } Request { GET "http://h/" }`,
		`console.log("line\nforged\x1b[31m\u2028")`:                                                                                                  `line\nforged\x1b[31m\u2028`,
		`console.log("x".repeat(20000))`:                                                                                                             strings.Repeat("x", 16<<10) + "…",
		`console.assert(true, "no"); console.assert(false, "is", 1)`:                                                                                 `Assertion failed: is 1`,
		`console.count(); console.count("a"); console.count(); console.countReset(); console.count()`:                                                "default: 1|a: 1|default: 2|default: 1",
		`console.group("g"); console.log("in"); console.groupEnd(); console.log("out")`:                                                              `g|  in|out`,
		`console.dir({ a: 1 }); console.table([1])`:                                                                                                  `{ a: 1 }|[ 1 ]`,
		`console.timeEnd("none")`:                            `Timer 'none' does not exist`,
		`console.log(new RangeError("bad", { cause: "c" }))`: `RangeError: bad [cause: "c"]`,
		`const { log } = console; log("unbound")`:            `unbound`,
		`console.log()`: ``,
	} {
		t.Run(code, func(t *testing.T) {
			tk := newTask(t, wrap(code))
			if _, _, err := tk.do(get("https://example.com/")); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(tk.host.messages(), "|"); got != want {
				t.Errorf("logged %s\n\tnot %s", got, want)
			}
		})
	}
}

func TestConsoleLevels(t *testing.T) {
	tk := newTask(t, wrap(`console.debug("d"); console.info("i"); console.log("l"); console.warn("w"); console.error("e", new Error("x")); console.trace("t")`))
	if _, _, err := tk.do(get("https://example.com/")); err != nil {
		t.Fatal(err)
	}
	want := []jsruntime.LogLevel{jsruntime.LogDebug, jsruntime.LogInfo, jsruntime.LogInfo, jsruntime.LogWarn, jsruntime.LogError, jsruntime.LogInfo}
	if len(tk.host.logs) != len(want) {
		t.Fatalf("%d lines", len(tk.host.logs))
	}
	for i, entry := range tk.host.logs {
		if entry.Level != want[i] {
			t.Errorf("level of %q is %d, not %d", entry.Message, entry.Level, want[i])
		}
		if entry.Time.IsZero() {
			t.Errorf("%q has no time", entry.Message)
		}
	}
	for _, i := range []int{4, 5} {
		if stack := tk.host.logs[i].Stack; !strings.Contains(stack, "test.js") {
			t.Errorf("stack of %q is %q", tk.host.logs[i].Message, stack)
		}
	}
}
