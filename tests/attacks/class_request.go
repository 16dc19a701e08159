package attacks

import (
	"fmt"
	"strings"
)

func zeros(n int) string { return strings.Repeat("\x00", n) }

// requestAttacks are the caller's: the task is an honest one that reads what
// it was sent.
func requestAttacks() []Attack {
	rep := strings.Repeat
	const (
		asJSON = `return tried(async () => typeof (await request.json()));`
		asText = `return tried(async () => (await request.text()).length);`
		asForm = `return tried(async () => [...(await request.formData())].length);`
		byCB   = `module.exports = (ctx, cb) => cb(null, { keys: Object.keys(ctx.body || {}).length, raw: (ctx.body_raw || "").length, polluted: ({}).polluted ?? null });`
		byNode = `module.exports = (ctx, req, res) => { let n = 0; req.on("data", (c) => { n += c.length; }); req.on("end", () => res.end("read " + n)); };`
	)
	post := func(contentType, body string) Request {
		return Request{Body: body, Header: []string{"Content-Type: " + contentType}}
	}
	const (
		json = "application/json"
		form = "application/x-www-form-urlencoded"
		mult = "multipart/form-data; boundary=b"
	)
	part := "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nv\r\n"
	fine := append([]Outcome{{Status: 400}, {Status: 413}, {Status: 431}}, harmless...)
	attacks := []Attack{
		{Name: "4 MB of open brackets as JSON", Code: asJSON, Request: post(json, rep("[", 4<<20)), Dangerous: true},
		{Name: "4 MB of open brackets, parsed by the edge", Module: byCB, Request: post(json, rep("[", 4<<20)), Dangerous: true},
		{Name: "4 MB of open brackets, to a route", Module: byCB, By: Route, Request: post(json, rep("[", 4<<20)), Dangerous: true},
		{Name: "4 MB of nested brackets", Module: byCB, Request: post(json, rep("[", 2<<20)+rep("]", 2<<20)), Dangerous: true},
		{Name: "4 MB of nested objects", Module: byCB, Request: post(json, rep(`{"a":`, 800_000)+"1"+rep("}", 800_000)), Dangerous: true},
		{Name: "a million keys", Module: byCB, Request: post(json, "{"+many(500_000, func(i int) string { return fmt.Sprintf(`"k%d":1,`, i) })+`"z":1}`), Dangerous: true},
		{Name: "the same key a million times", Module: byCB, Request: post(json, "{"+rep(`"k":1,`, 1_000_000)+`"k":1}`), Dangerous: true},
		{Name: "a number of a million digits", Module: byCB, Request: post(json, rep("9", 4_000_000))},
		{Name: "a number with a huge exponent", Module: byCB, Request: post(json, `{"n":1e`+rep("9", 1_000_000)+"}")},
		{Name: "__proto__ in JSON", Module: byCB, Request: post(json, `{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}`), Want: said(`"polluted":null`)},
		{Name: "__proto__ in a form", Module: byCB, Request: post(form, "__proto__[polluted]=1&__proto__.polluted=1&constructor.prototype.polluted=1"), Want: said(`"polluted":null`)},
		{Name: "__proto__ in the query", Module: `module.exports = (ctx, cb) => cb(null, { polluted: ({}).polluted ?? null, n: Object.keys(ctx.query).length });`, Request: Request{Path: "?__proto__[polluted]=1&__proto__=1&polluted=1"}, Want: said(`"polluted":null`)},
		{Name: "not UTF-8 as JSON", Module: byCB, Request: post(json, `{"a":"`+rep("\xff\xfe", 1000)+`"}`)},
		{Name: "NUL as JSON", Module: byCB, Request: post(json, zeros(1<<20))},
		{Name: "escapes as JSON", Module: byCB, Request: post(json, `"`+rep(`\ud800`, 500_000)+`"`)},
		{Name: "a form of a million fields", Module: byCB, Request: post(form, rep("a=b&", 1_000_000)), Dangerous: true},
		{Name: "a form of different fields", Code: asForm, Request: post(form, many(400_000, func(i int) string { return fmt.Sprintf("a%d=b&", i) })), Dangerous: true},
		{Name: "a form of nested fields", Module: byCB, Request: post(form, "a"+rep("[a]", 1_000_000)+"=1")},
		{Name: "a form of percent signs", Module: byCB, Request: post(form, rep("%", 2_000_000))},
		{Name: "parts without end", Code: asForm, Request: post(mult, rep(part, 80_000)), Dangerous: true},
		{Name: "parts without an end", Code: asForm, Request: post(mult, part+"--b\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n"+rep("x", 4<<20))},
		{Name: "a part's header without end", Code: asForm, Request: post(mult, "--b\r\nContent-Disposition: form-data; name=\""+rep("n", 4<<20)+"\"\r\n\r\nv\r\n--b--")},
		{Name: "a part with a hundred thousand headers", Code: asForm, Request: post(mult, "--b\r\n"+rep("X-H: v\r\n", 100_000)+"\r\nv\r\n--b--")},
		{Name: "parts within parts", Code: asForm, Request: post(mult, rep("--b\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n", 20_000))},
		{Name: "a boundary of a megabyte", Code: asForm, Request: post("multipart/form-data; boundary="+rep("b", 500_000), "x")},
		{Name: "dashes without end", Code: asForm, Request: post(mult, rep("--", 2<<20))},
		{Name: "line breaks without end", Code: asForm, Request: post(mult, rep("\r\n--", 1<<20))},
		{Name: "a file name with a path", Code: asForm, Request: post(mult, "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"../../etc/passwd\"\r\n\r\nv\r\n--b--")},
		{Name: "larger than request_body", Code: asText, Request: post("text/plain", rep("x", 9<<20))},
		{Name: "larger than request_body, parsed by the edge", Module: byCB, Request: post(json, `"`+rep("x", 9<<20)+`"`)},
		{Name: "larger than request_body, in the Node model", Module: byNode, Request: post("text/plain", rep("x", 9<<20))},
		{Name: "a content coding that lies", Module: byCB, Request: Request{Body: "not gzip", Header: []string{"Content-Type: application/json", "Content-Encoding: gzip"}}},
		{Name: "a gzip bomb sent as JSON", Module: byCB, Request: Request{Body: "%BOMB%", Header: []string{"Content-Type: application/json", "Content-Encoding: gzip"}}},
		{Name: "an unknown charset", Module: byCB, Request: post("application/json; charset=utf-7", "{}")},
		{Name: "a content type without end", Module: byCB, Request: post("application/json;"+rep(" a=b;", 20_000), "{}")},
		{Name: "a thousand headers", Code: `return [...request.headers].length;`, Request: Request{Header: strings.Split(strings.TrimSuffix(many(1000, func(i int) string { return fmt.Sprintf("X-H%d: v\n", i) }), "\n"), "\n")}},
		{Name: "a header of 800 KB", Code: `return [...request.headers].length;`, Request: Request{Header: []string{"X-H: " + rep("v", 800_000)}}},
		{Name: "a header of 2 MB", Code: `return [...request.headers].length;`, Request: Request{Header: []string{"X-H: " + rep("v", 2_000_000)}}},
		{Name: "ten thousand cookies", Code: `return tried(() => ctx.session.get("k"));`, Request: Request{Header: []string{"Cookie: " + rep("webtask_session=x; ", 10_000)}}},
		{Name: "a cookie of the right form", Code: `return tried(() => ctx.session.set("k", 1));`, Request: Request{Header: []string{"Cookie: %OWNCOOKIE%=AAAAAAAAAAAAAAAAAAAAAA"}}},
		{Name: "a query of 500 KB", Module: `module.exports = (ctx, cb) => cb(null, Object.keys(ctx.query).length);`, Request: Request{Path: "?" + rep("a=b&", 125_000)}},
		{Name: "a query of percent signs", Module: `module.exports = (ctx, cb) => cb(null, Object.keys(ctx.query).length);`, Request: Request{Path: "?" + rep("%zz", 1000)}},
		{Name: "a path of dots", Code: `return request.url.length;`, Request: Request{Path: rep("/..%2f", 2000)}, Want: append([]Outcome{{Status: 404}}, fine...)},
		{Name: "a path of NUL and line breaks", Code: `return "url: " + request.url;`, Request: Request{Path: "/%00%0d%0aX-Injected:%201"}},
		{Name: "a method of its own", Code: `return "method: " + request.method;`, Request: Request{Method: "EVIL"}},
		{Name: "TRACE", Code: `return "method: " + request.method;`, Request: Request{Method: "TRACE"}},
		{Name: "an upgrade", Code: `return new Response("x", { headers: { Upgrade: "websocket", Connection: "Upgrade" } });`, Request: Request{Header: []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"}}},
		{Name: "a forged origin", Code: `return "ip " + ctx.ip + request.url;`, Request: Request{Header: []string{"X-Forwarded-For: 6.6.6.6", "X-Forwarded-Host: evil.example", "X-Forwarded-Proto: https", "Forwarded: for=6.6.6.6;host=evil.example"}}, Want: said("ip 127.0.0.1")},
		{Name: "a second token", Code: `return "x";`, Request: Request{Path: "?key=AAAA"}, Want: fine},
		{Name: "a loop header without end", Code: `return "x";`, Request: Request{Header: []string{"CDN-Loop: " + rep("webtask-edge,", 10_000)}}, Want: append([]Outcome{{Status: 508}}, fine...)},
		{Name: "echoes of megabytes", Code: `return new Response(request.body);`, Request: Request{Body: zeros(7 << 20)}, Often: 12, Want: []Outcome{answered}},
		{Name: "echoes through a stream", Code: `const r = request.body.getReader(); return new Response(new ReadableStream({ async pull(c) { const { done, value } = await r.read(); done ? c.close() : c.enqueue(value); } }));`, Request: Request{Body: zeros(7 << 20)}, Often: 6, Want: append([]Outcome{{Status: 200, Broken: true}}, fine...)},
		{Name: "uploads passed on to an upstream", Code: `return probe("%ORIGIN%/sink", { method: "POST", duplex: "half", body: request.body });`, Request: Request{Body: zeros(4 << 20)}, Often: 6},
		{Name: "uploads passed on to one that does not read", Code: `return probe("%ORIGIN%/hang", { method: "POST", duplex: "half", body: request.body });`, Request: Request{Body: zeros(4 << 20)}, Often: 6},
		{Name: "an upload that is read and answered at once", Code: `const all = request.arrayBuffer(); return new Response(new ReadableStream({ async pull(c) { c.enqueue(new Uint8Array((await all).byteLength)); c.close(); } }));`, Request: Request{Body: zeros(7 << 20)}, Often: 4, Want: append([]Outcome{{Status: 200, Broken: true}}, fine...)},
		{Name: "an expectation", Code: asText, Request: Request{Body: "text", Header: []string{"Expect: 100-continue"}}},
		{Name: "ranges without end", Code: `return new Response("x".repeat(1000), { headers: { "Accept-Ranges": "bytes" } });`, Request: Request{Header: []string{"Range: bytes=" + rep("0-0,", 10_000) + "1-1"}}},
		{Name: "the queue of a container", Code: `await new Promise((r) => setTimeout(r, 100)); return "done";`, Often: 300, Want: append([]Outcome{{Status: 503, Text: "busy"}}, fine...)},
	}
	for i := range attacks {
		if attacks[i].Want == nil {
			attacks[i].Want = fine
		}
	}
	return attacks
}
