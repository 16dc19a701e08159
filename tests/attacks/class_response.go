package attacks

import "strings"

// responseAttacks answer with what a client, a cache or a server in front
// could take for something else. The run asserts of every answer that no
// header of the connection, no injected header and no foreign cookie is in it.
func responseAttacks() []Attack {
	set := func(name, value string) string {
		return `return tried(async () => { const r = new Response("x"); r.headers.append(` + name + `, ` + value + `); return r.headers.get("x") ?? "set"; });`
	}
	odd := append([]Outcome{{Status: 200, Broken: true}, {Status: 204}, {Status: 304}, {Status: 418}, {Status: 302}, {Status: 599}}, harmless...)
	attacks := []Attack{
		{Name: "a line break in a value", Code: set(`"x"`, `"a\r\nX-Injected: 1"`)},
		{Name: "a line feed in a value", Code: set(`"x"`, `"a\nX-Injected: 1"`)},
		{Name: "a NUL in a value", Code: set(`"x"`, `"a\0b"`)},
		{Name: "U+010A and U+010D in a value", Code: `return new Response("x", { headers: { x: "a\u010d\u010aX-Injected: 1" } });`},
		{Name: "a line break in a name", Code: set(`"x: 1\r\nX-Injected"`, `"1"`)},
		{Name: "a colon in a name", Code: `return new Response("x", { headers: { "X-Injected:": "1" } });`},
		{Name: "an empty name", Code: `return new Response("x", { headers: { "": "1" } });`},
		{Name: "a line break in the status text", Code: `return new Response("x", { statusText: "OK\r\nX-Injected: 1" });`},
		{Name: "a line break in res.setHeader", Module: `module.exports = (ctx, req, res) => { try { res.setHeader("x", "a\r\nX-Injected: 1"); } catch (e) {} try { res.setHeader("x\r\nX-Injected", "1"); } catch (e) {} res.end("x"); };`},
		{Name: "a line break in res.writeHead", Module: `module.exports = (ctx, req, res) => { try { res.writeHead(200, "OK\r\nX-Injected: 1", { "X-A": "b\r\nX-Injected: 1" }); } catch (e) {} res.end("x"); };`},
		{Name: "a line break in the state of res", Module: `module.exports = (ctx, req, res) => { for (const k of Object.getOwnPropertyNames(res).concat(Object.getOwnPropertySymbols(res))) { try { res[k] = { "x-injected": ["a", "1"], "set-cookie": ["s", "a=b"] }; } catch (e) {} } res.statusMessage = "a\r\nX-Injected: 1"; res.end("x"); };`},
		{Name: "Set-Cookie of a foreign task", Code: `return new Response("x", { headers: [["Set-Cookie", "a=b"], ["set-cookie", "c=d"], ["SET-COOKIE", "webtask_session=AAAA"]] });`},
		{Name: "Set-Cookie in the Node model", Module: `module.exports = (ctx, req, res) => { res.setHeader("Set-Cookie", ["a=b", "c=d"]); res.end("x"); };`},
		{Name: "Set-Cookie as a trailer", Module: `module.exports = (ctx, req, res) => { res.setHeader("Trailer", "Set-Cookie"); try { res.addTrailers?.({ "Set-Cookie": "a=b" }); } catch (e) {} res.setHeader("Trailer:Set-Cookie", "a=b"); res.end("x"); };`},
		{Name: "Set-Cookie by a redirected upstream", Code: `return fetch("%ORIGIN%/cookies");`},
		{Name: "state of the origin", Code: `return new Response("x", { headers: { "Clear-Site-Data": "*", "Service-Worker-Allowed": "/", "Strict-Transport-Security": "max-age=1", "Alt-Svc": 'h2="evil:1"', NEL: "{}", "Report-To": "{}", "Reporting-Endpoints": 'a="b"', Refresh: "0", "X-Accel-Redirect": "/x", "X-Sendfile": "/x", "Public-Key-Pins": "x" } });`},
		{Name: "another policy", Code: `return new Response("<script>1</script>", { headers: { "Content-Type": "text/html", "Content-Security-Policy": "sandbox allow-same-origin allow-scripts", "X-Content-Type-Options": "sniff" } });`},
		{Name: "multipart/x-mixed-replace", Code: `return new Response("--b\r\nSet-Cookie: a=b\r\n\r\nx", { headers: { "Content-Type": "multipart/x-mixed-replace; boundary=b" } });`},
		{Name: "a service worker", Code: `return new Response("x", { headers: { "Content-Type": "text/javascript" } });`, Request: Request{Header: []string{"Service-Worker: script"}}, Want: []Outcome{{Status: 403}}},
		{Name: "Content-Length that lies", Code: `return new Response("xyz", { headers: { "Content-Length": "1000000" } });`},
		{Name: "two lengths", Code: `return new Response("xyz", { headers: [["Content-Length", "1"], ["Content-Length", "2"], ["Transfer-Encoding", "chunked"]] });`},
		{Name: "Transfer-Encoding", Code: `return new Response("0\r\n\r\nHTTP/1.1 200 OK\r\nX-Injected: 1\r\n\r\n", { headers: { "Transfer-Encoding": "chunked, identity" } });`},
		{Name: "a length with a HEAD", Code: `return new Response("x".repeat(1000), { headers: { "Content-Length": "5" } });`, Request: Request{Method: "HEAD"}},
		{Name: "Connection and its kin", Code: `return new Response("x", { headers: { Connection: "close, x", "Keep-Alive": "timeout=99", Upgrade: "h2c", "Proxy-Authenticate": "Basic", TE: "x", "Proxy-Connection": "x" } });`},
		{Name: "a content coding that lies", Code: `return new Response("not gzip", { headers: { "Content-Encoding": "gzip" } });`},
		{Name: "a gzip bomb for the client", Code: `return fetch("%ORIGIN%/bomb?gzip");`},
		{Name: "status 100", Code: `return new Response("x", { status: 100 });`},
		{Name: "status 101", Module: `module.exports = (ctx, req, res) => { res.writeHead(101, { Upgrade: "x", Connection: "Upgrade" }); res.end("x"); };`},
		{Name: "status 103", Module: `module.exports = (ctx, req, res) => { try { res.writeHead(103, { Link: "</x>" }); } catch (e) {} try { res.writeEarlyHints?.({ link: "</x>" }); } catch (e) {} res.end("x"); };`},
		{Name: "statuses beyond", Module: `module.exports = (ctx, req, res) => { const n = [0, -1, 99, 1000, 2 ** 31, NaN, "200", {}][Math.floor(Math.random() * 8)]; res.statusCode = n; res.end("x"); };`},
		{Name: "status 204 with a body", Module: `module.exports = (ctx, req, res) => { res.writeHead(204); res.end("HTTP/1.1 200 OK\r\nX-Injected: 1\r\n\r\n"); };`},
		{Name: "status 304 with a body", Module: `module.exports = (ctx, req, res) => { res.writeHead(304); res.end("x".repeat(1e6)); };`},
		{Name: "an error that pretends to be the edge's", Code: `return new Response('{"code":401,"message":"no"}', { status: 418, headers: { "x-wt-response-source": "proxy", "WWW-Authenticate": "Bearer", "Retry-After": "99999999" } });`},
		{Name: "a redirect to a script", Code: `return new Response("x", { status: 302, headers: { Location: "javascript:alert(1)" } });`},
		{Name: "a redirect with a line break", Code: `return Response.redirect("http://x/\r\nX-Injected: 1");`},
		{Name: "caches", Code: `return new Response("x", { headers: { "Cache-Control": "public, max-age=99999", Vary: "*", Age: "1", ETag: "x" } });`},
		{Name: "caches of a CDN", Code: `return new Response("x", { headers: { "Cache-Control": "public", "CDN-Cache-Control": "max-age=99999", "Cloudflare-CDN-Cache-Control": "max-age=99999", "Surrogate-Control": "max-age=99999", Expires: "Fri, 01 Jan 2100 00:00:00 GMT" } });`},
		{Name: "caches, private for some fields alone", Code: `return new Response("x", { headers: { "Cache-Control": 'public, max-age=99999, private="x-a", no-cache="x-b"' } });`},
		{Name: "caches, private in quotes", Code: `return new Response("x", { headers: { "Cache-Control": 'max-age=99999, x="a, private, no-store"' } });`},
		{Name: "caches, private as a part of a word", Code: `return new Response("x", { headers: [["Cache-Control", "public, x-private"], ["Cache-Control", "no-stores, s-maxage=99999"]] });`},
		{Name: "caches, with a session", Code: `await ctx.session.set("k", 1); return new Response("x", { headers: { "Cache-Control": "public", "CDN-Cache-Control": "max-age=99999" } });`},
		{Name: "caches, in the Node model", Module: `module.exports = (ctx, req, res) => { res.setHeader("cache-control", "public, max-age=99999"); res.setHeader("surrogate-control", "max-age=99999"); res.end("x"); };`},
		{Name: "caches, of an error", Module: `module.exports = (ctx, cb) => cb(Object.assign(new Error("x"), { statusCode: 404, headers: { "Cache-Control": "public" } }));`, Want: append([]Outcome{{Status: 404}}, odd...)},
		{Name: "client hints and logins", Code: `return new Response("x", { headers: { "Accept-CH": "Sec-CH-UA-Full-Version-List", "Critical-CH": "Sec-CH-UA", "Set-Login": "logged-in" } });`},
		{Name: "a session bound to the device", Code: `return new Response("x", { headers: { "Secure-Session-Registration": '(ES256);path="/run";challenge="x"', "Sec-Session-Registration": '(ES256);path="/run"', "Secure-Session-Challenge": '"x"' } });`},
		{Name: "advertising in the site's name", Code: `return new Response("x", { headers: { "Attribution-Reporting-Register-Source": '{"destination":"https://evil.example"}', "Observe-Browsing-Topics": "?1", "Shared-Storage-Write": "clear" } });`},
		{Name: "a dictionary for other pages", Code: `return new Response("x".repeat(1000), { headers: { "Use-As-Dictionary": 'match="/*"', "Cache-Control": "max-age=99999" } });`},
		{Name: "servers in front", Code: `return new Response("x", { headers: { "X-Reproxy-URL": "http://127.0.0.1:%PORT%/", "X-Reproxy-File": "%FILE%", "X-LiteSpeed-Location": "/canary.json", "X-Lighttpd-Send-File": "%FILE%" } });`},
		{Name: "a content type with a line break", Module: `module.exports = (ctx, req, res) => { try { res.setHeader("Content-Type", "text/html\r\nX-Injected: 1"); } catch (e) {} try { res.writeHead(200, { "content-type": "text/html\nX-Injected: 1" }); } catch (e) {} res.end("x"); };`},
		{Name: "a content type of a blob with a line break", Code: `return new Response(new (globalThis.Blob ?? class {})(["x"], { type: "text/html\r\nX-Injected: 1" }));`},
		{Name: "a thousand policies", Code: `const h = new Headers(); for (let i = 0; i < 1000; i++) h.append("Content-Security-Policy", "sandbox allow-same-origin allow-scripts"); return new Response("<script>1</script>", { headers: h });`},
		{Name: "a stream while two megabytes are unread", Code: `return new Response(new ReadableStream({ start(c) { c.enqueue(new TextEncoder().encode("part")); setTimeout(() => c.close(), 20); } }));`, Request: Request{Body: strings.Repeat("GET /canary.json HTTP/1.1\r\nHost: x\r\n\r\n", 50_000)}},
		{Name: "a stream while two megabytes are half read", Code: `const r = request.body.getReader(); await r.read(); return new Response(new ReadableStream({ start(c) { c.enqueue(new TextEncoder().encode("part")); setTimeout(() => c.close(), 20); } }));`, Request: Request{Body: strings.Repeat("GET /canary.json HTTP/1.1\r\nHost: x\r\n\r\n", 50_000)}},
		{Name: "CORS with credentials", Code: `return new Response("x", { headers: { "Access-Control-Allow-Origin": "https://evil.example", "Access-Control-Allow-Credentials": "true" } });`},
		{Name: "CORS of a preflight", Code: `return "ran";`, Request: Request{Method: "OPTIONS", Header: []string{"Origin: https://evil.example", "Access-Control-Request-Method: DELETE", "Access-Control-Request-Headers: " + "x-" + strings.Repeat("a", 4000)}}, Want: append([]Outcome{{Status: 204}}, odd...)},
		{Name: "a template of Caddy", Code: `return new Response('{{env "CANARY_ENV"}}{{include "/canary.json"}}{{placeholder "env.CANARY_ENV"}}', { headers: { "Content-Type": "text/html" } });`},
		{Name: "X-Accel and internal redirects", Code: `return new Response("x", { headers: { "X-Accel-Redirect": "/canary.json", "X-Sendfile": "%FILE%", "X-Reproxy-URL": "http://127.0.0.1:%PORT%/" } });`},
		{Name: "bytes that are no text in a header", Code: `return new Response("x", { headers: { x: "\x7f\x80\xff" } });`},
	}
	for i := range attacks {
		if attacks[i].Want == nil {
			attacks[i].Want = odd
		}
	}
	return attacks
}
