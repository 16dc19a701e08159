package webapi_test

import "testing"

func TestURL(t *testing.T) {
	expectations{
		{`new URL("HTTP://User:pw@EXAMPLE.com:80/a/../b?x#y").href`, `"http://User:pw@example.com/b?x#y"`},
		{`(({ protocol, username, password, host, hostname, port, pathname, search, hash, origin }) =>
			[protocol, username, password, host, hostname, port, pathname, search, hash, origin])(new URL("https://u:p@h:8/p?q#f"))`,
			`["https:","u","p","h:8","h","8","/p","?q","#f","https://h:8"]`},
		{`new URL("../c?d", "http://h/a/b").href`, `"http://h/c?d"`},
		{`new URL("//x/y", "https://h").href`, `"https://x/y"`},
		{`new URL("http://ümlaut.de/ä").href`, `"http://xn--mlaut-jva.de/%C3%A4"`},
		{`new URL("http://0x7f.1/").hostname`, `"127.0.0.1"`},
		{`new URL("http://[::1]:8080/").host`, `"[::1]:8080"`},
		{`new URL("data:text/plain,hi").origin`, `"null"`},
		{`new URL("blob:https://h:1/x").origin`, `"https://h:1"`},
		{`new URL("nonsense")`, `throws TypeError: Invalid URL: "nonsense"`},
		{`new URL("x", "")`, `throws TypeError: *`},
		{`new URL()`, `throws TypeError: *`},
		{`[URL.canParse("a:b"), URL.canParse("a"), URL.canParse("a", "http://h"), URL.parse("a"), URL.parse("http://h").href]`, `[true,false,true,null,"http://h/"]`},
		{`(() => { const u = new URL("http://h/p?a=1#f"); u.search = "b=2"; u.hash = ""; u.pathname = "/x y"; u.host = "k:99"; u.protocol = "https"; return [u.href, u.searchParams.get("b")] })()`,
			`["https://k:99/x%20y?b=2","2"]`},
		{`(() => { const u = new URL("http://h/?a=1"), p = u.searchParams; p.append("b", "ü &"); p.delete("a"); return [u.href, u.search, p === u.searchParams] })()`,
			`["http://h/?b=%C3%BC+%26","?b=%C3%BC+%26",true]`},
		{`(() => { const u = new URL("http://h/?a=1"), p = u.searchParams; u.search = "?c=3"; u.search = "?d=4"; const d = p.get("d"); u.href = "http://k/?e=5"; return [d, p.get("e"), [...p]] })()`, `["4","5",[["e","5"]]]`},
		{`(() => { const u = new URL("http://h/?a=1"); u.searchParams.delete("a"); return u.href })()`, `"http://h/"`},
		{`JSON.stringify({ u: new URL("http://h") })`, `"{\"u\":\"http://h/\"}"`},
		{`(() => { const u = new URL("http://h"); try { u.href = "x" } catch (e) { return [e.name, u.href] } })()`, `["TypeError","http://h/"]`},
	}.check(t)
}

func TestURLSearchParams(t *testing.T) {
	expectations{
		{`new URLSearchParams("?a=b+c&d=%C3%A4&e&=f&a=2").toString()`, `"a=b+c&d=%C3%A4&e=&=f&a=2"`},
		{`[...new URLSearchParams("a=%ff&b=%&c=%e2%82")]`, `[["a","�"],["b","%"],["c","�"]]`},
		{`new URLSearchParams([["a", 1], ["b", "x y~*-._"]]).toString()`, `"a=1&b=x+y%7E*-._"`},
		{`new URLSearchParams({ a: 1, b: "2" }).toString()`, `"a=1&b=2"`},
		{`new URLSearchParams(new URLSearchParams("a=1")).toString()`, `"a=1"`},
		{`(() => { const p = new URLSearchParams("a=1&b=2&a=3"); return [p.get("a"), p.getAll("a"), p.get("x"), p.has("a", "3"), p.has("a", "9"), p.size] })()`, `["1",["1","3"],null,true,false,3]`},
		{`(() => { const p = new URLSearchParams("a=1&b=2&a=3"); p.set("a", "9"); p.set("c", "4"); p.delete("b", "0"); return p.toString() })()`, `"a=9&b=2&c=4"`},
		{`(() => { const p = new URLSearchParams("z=1&a=2&z=0&\u{1f600}=5&\uffee=6"); p.sort(); return [...p.keys()] })()`, "[\"a\",\"z\",\"z\",\"\U0001f600\",\"\uffee\"]"},
		{`new URLSearchParams([["a"]])`, `throws TypeError: *`},
		{`Object.prototype.toString.call(new URLSearchParams().values())`, `"[object URLSearchParams Iterator]"`},
	}.check(t)
}
