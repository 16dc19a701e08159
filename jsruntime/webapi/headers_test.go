package webapi_test

import "testing"

func TestHeaders(t *testing.T) {
	expectations{
		{`[...new Headers([["b", "1"], ["A", "2"], ["b", "3"]])]`, `[["a","2"],["b","1, 3"]]`},
		{`[...new Headers({ "X-Y": "1", a: 2 })]`, `[["a","2"],["x-y","1"]]`},
		{`[...new Headers(new Headers({ a: "1" }))]`, `[["a","1"]]`},
		{`[...new Headers(new Map([["a", "1"]]))]`, `[["a","1"]]`},
		{`new Headers({ a: " \t1 \r\n" }).get("A")`, `"1"`},
		{`new Headers().get("a")`, `null`},
		{`(() => { const h = new Headers(); h.append("set-cookie", "a=1"); h.append("Set-Cookie", "b=2"); h.set("x", "y");
			return [h.getSetCookie(), h.get("set-cookie"), [...h]] })()`,
			`[["a=1","b=2"],"a=1, b=2",[["set-cookie","a=1"],["set-cookie","b=2"],["x","y"]]]`},
		{`(() => { const h = new Headers({ a: "1" }); h.delete("A"); return h.has("a") })()`, `false`},
		{`(() => { const h = new Headers({ a: "1" }), seen = []; h.forEach((v, k, self) => seen.push(v, k, self === h)); return seen })()`, `["1","a",true]`},
		{`[[...new Headers({ a: "1" }).keys()], [...new Headers({ a: "1" }).values()]]`, `[["a"],["1"]]`},
		{`Headers.prototype.entries === Headers.prototype[Symbol.iterator]`, `true`},
		{`Object.prototype.toString.call(new Headers().entries())`, `"[object Headers Iterator]"`},
		{`new Headers({ a: "é" }).get("a")`, `"é"`},
		{`new Headers({ a: "€" })`, `throws TypeError: *`},
		{`new Headers({ "a b": "1" })`, `throws TypeError: Headers: "a b" is not a valid header name`},
		{`new Headers({ "": "1" })`, `throws TypeError: *`},
		{`new Headers({ a: "x\ny" })`, `throws TypeError: *`},
		{`new Headers({ a: "x\0y" })`, `throws TypeError: *`},
		{`new Headers([["a"]])`, `throws TypeError: *`},
		{`(() => { const h = new Headers({ a: "1" }); h[Symbol.iterator] = function* () { yield ["b", "2"] }; return [...new Headers(h)] })()`, `[["b","2"]]`},
		{`(() => { const asked = []; new Headers(new Proxy({ a: "1" }, { get(t, k) { asked.push(String(k)); return t[k] } })); return asked })()`, `["Symbol(Symbol.iterator)","a"]`},
		{`new Headers("a")`, `throws TypeError: *`},
		{`new Headers(null)`, `throws TypeError: *`},
		{`new Headers().get()`, `throws TypeError: *`},
		// Iteration sees changes made on the way (Web IDL).
		{`(() => { const h = new Headers({ a: "1", c: "3" }), seen = []; for (const [k] of h) { seen.push(k); h.set("b", "2") } return seen })()`, `["a","b","c"]`},
		{`(() => { const h = Response.redirect("https://x/").headers; h.set("a", "1") })()`, `throws TypeError: *`},
	}.check(t)
}

func TestRequestHeadersAreAView(t *testing.T) {
	req := get("https://example.com/")
	req.Header["X-Two"] = []string{"1", "2"}
	req.Header["X-Latin"] = []string{"caf\xe9"}
	_, body, err := newTask(t, wrap(`
		const copy = new Request(request); copy.headers.set("x-two", "3");
		let thrown; try { request.headers.set("a", "b") } catch (e) { thrown = e.name }
		return [request.headers.get("x-two"), request.headers.get("X-Latin"), copy.headers.get("x-two"), thrown]`)).do(req)
	if err != nil {
		t.Fatal(err)
	}
	if want := `["1, 2","café","3","TypeError"]`; body != want {
		t.Errorf("answer is %s, not %s", body, want)
	}
	if len(req.Header["X-Two"]) != 2 {
		t.Errorf("the script changed the request's header: %v", req.Header)
	}
}
