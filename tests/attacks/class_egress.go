package attacks

import "fmt"

// forbidden are notations of addresses that lead to this machine, its networks
// or a cloud's metadata, or that a careless parser takes for one. %PORT% is the
// port of a server of the stage that listens on every address and that no
// script may reach.
var forbidden = []string{
	"127.0.0.1", "127.0.0.2", "127.255.255.254", "127.1", "127.0.1", "0", "0.0.0.0", "0.1.2.3",
	"2130706433", "0x7f000001", "0x7f.0.0.1", "0x7f.1", "017700000001", "0177.0.0.1", "0177.0.0.01", "127.0.0.1.", "127.000.000.001",
	"00000000177.0.0.1", "127.0x0.0.1", "4294967295", "%31%32%37.0.0.1", "127%2e0%2e0%2e1", "１２７.0.0.1", "127。0。0。1", "①②⑦.⓪.⓪.①",
	"[::1]", "[0:0:0:0:0:0:0:1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]", "[::127.0.0.1]",
	"[64:ff9b::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[2001:0:7f00:1::]", "[::1%25lo]", "[::1%lo]", "[fe80::1%25eth0]",
	"[fe80::1]", "[fec0::1]", "[fc00::1]", "[fd00:ec2::254]", "[ff02::1]", "[::ffff:0:127.0.0.1]", "[100::1]", "[2001:db8::1]",
	"localhost", "localhost.", "LOCALHOST", "foo.localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback", "lo\u200bcalhost", "ｌｏｃａｌｈｏｓｔ", "localhost\u3002",
	"10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "169.254.169.254", "169.254.170.2", "[::ffff:a9fe:a9fe]", "[64:ff9b::a9fe:a9fe]", "metadata.google.internal",
	"192.0.0.192", "198.18.0.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "168.63.129.16", "100.100.100.200",
	"[::ffff:10.0.0.1]", "[::ffff:169.254.169.254]", "[64:ff9b::10.0.0.1]", "[64:ff9b::0.0.0.0]", "[3fff::1]", "[5f00::1]", "[2001:10::1]", "[4000::1]",
	"192.88.99.1", "192.31.196.1", "0177.1", "0x7f000001.", "127.0.0.1%00", "127.0.0.1%2f", "1.0.0.127.in-addr.arpa.localhost",
}

// egressAttacks try to reach what only the edge can reach.
func egressAttacks() []Attack {
	refused := []Outcome{{Status: 200, Text: "refused: "}}
	var attacks []Attack
	for i, host := range forbidden {
		attacks = append(attacks, Attack{
			Name: fmt.Sprintf("%02d %s", i, host),
			Code: fmt.Sprintf("return probe(%q);", "http://"+host+":%PORT%/"),
			Want: refused,
		})
	}
	probe := func(name, url string) {
		attacks = append(attacks, Attack{Name: name, Code: "return probe(" + url + ");", Want: refused})
	}
	probe("the admin API", `"http://%ADMIN%/config/"`)
	probe("the admin API by address", `"http://127.0.0.1:%ADMINPORT%/config/"`)
	probe("the admin API by IPv6", `"http://[::1]:%ADMINPORT%/config/"`)
	probe("the admin API, stopping the edge", `"http://127.0.0.1:%ADMINPORT%/stop", { method: "POST" }`)
	probe("the admin API, its Origin forged", `"http://127.0.0.1:%ADMINPORT%/config/", { headers: { Origin: "http://localhost:%ADMINPORT%", Host: "localhost:%ADMINPORT%" } }`)
	probe("the edge's own site", `"http://%EDGE%/victim"`)
	probe("the edge's own site by address", `"http://127.0.0.1:%EDGEPORT%/victim"`)
	probe("the host's own address", `"http://%HOSTADDR%:%PORT%/"`)
	probe("a file", `"file:///etc/passwd"`)
	probe("a file of a host", `"file://localhost/etc/passwd"`)
	probe("a data URL", `"data:text/plain,hello"`)
	probe("a blob URL", `"blob:http://localhost/1"`)
	probe("a javascript URL", `"javascript:1"`)
	probe("ftp", `"ftp://127.0.0.1/"`)
	probe("gopher", `"gopher://127.0.0.1:%PORT%/_GET%20/"`)
	probe("a unix socket", `"unix:///var/run/docker.sock"`)
	probe("http+unix", `"http+unix://%2Fvar%2Frun%2Fdocker.sock/info"`)
	probe("ws", `"ws://127.0.0.1:%PORT%/"`)
	probe("a URL without a host", `"http:///etc/passwd"`)
	probe("a relative URL", `"/victim"`)
	probe("a user name that hides the host", `"http://public.example.com@127.0.0.1:%PORT%/"`)
	probe("an @ in the path's place", `"http://127.0.0.1:%PORT%\\@public.example.com/"`)
	probe("a backslash", `"http:\\\\127.0.0.1:%PORT%\\"`)
	probe("tabs and newlines", `"ht\ntp://127.0\t.0.1:%PORT%/"`)
	probe("a hash before the host", `"http://public.invalid#@127.0.0.1:%PORT%/"`)
	probe("a port of zero", `"http://127.0.0.1:0/"`)
	probe("a port beyond", `"http://127.0.0.1:99999/"`)
	probe("a port with a line break", `"http://%ORIGINHOST%%0d%0aHost:%20x/"`)
	probe("redirected inside", `"%ORIGIN%/redirect?to=http://127.0.0.1:%PORT%/"`)
	probe("redirected inside, 307 with a body", `"%ORIGIN%/redirect?status=307&to=http://127.0.0.1:%PORT%/", { method: "POST", body: "x" }`)
	probe("redirected twice", `"%ORIGIN%/redirect?to=%ORIGIN%/redirect?to=http://127.0.0.1:%PORT%/"`)
	probe("redirected to a file", `"%ORIGIN%/redirect?to=file:///etc/passwd"`)
	probe("redirected to the admin API", `"%ORIGIN%/redirect?to=http://%ADMIN%/config/"`)
	probe("redirected to an odd notation", `"%ORIGIN%/redirect?to=http://0x7f.1:%PORT%/"`)
	probe("redirected without a scheme", `"%ORIGIN%/redirect?to=//127.0.0.1:%PORT%/"`)
	probe("redirected for ever", `"%ORIGIN%/redirect-loop"`)
	probe("a proxy's request line", `"%ORIGIN%/empty", { method: "CONNECT" }`)
	probe("a proxy's request line in lower case", `"%ORIGIN%/empty", { method: "cOnNeCt" }`)
	probe("a proxy's request line, of another host", `"http://%ORIGINHOST%", { method: "CONNECT", headers: { Host: "127.0.0.1:%PORT%" } }`)
	probe("a method that shows headers", `"%ORIGIN%/empty", { method: "TRACE" }`)
	probe("redirected to a user name", `"%ORIGIN%/redirect?to=http://public.example.com@127.0.0.1:%PORT%/"`)
	probe("redirected by a stream that is gone", `"%ORIGIN%/redirect?status=307&to=http://127.0.0.1:%PORT%/", { method: "POST", duplex: "half", body: new ReadableStream({ start(c) { c.enqueue(new Uint8Array(9)); c.close(); } }) }`)
	probe("a method with a line break", `"%ORIGIN%/empty", { method: "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET" }`)
	probe("a header with a line break", `"%ORIGIN%/empty", { headers: { "x": "a\r\nX-Injected: 1" } }`)
	probe("a header name with a line break", `"%ORIGIN%/empty", { headers: { "x: a\r\nX-Injected": "1" } }`)
	probe("an upstream that speaks no HTTP", `"http://%RAWHOST%/garbage"`)
	probe("an upstream with headers without end", `"http://%RAWHOST%/headers"`)
	probe("an upstream with interim answers without end", `"http://%RAWHOST%/interim"`)
	probe("an upstream with a status line of a megabyte", `"http://%RAWHOST%/status"`)
	probe("an upstream with two lengths", `"http://%RAWHOST%/lengths"`)

	odd := append([]Outcome{{Status: 200, Broken: true}}, harmless...)
	forged := `
		const h = new Headers();
		for (const [k, v] of Object.entries({
			Host: "127.0.0.1", Connection: "Upgrade, x-kept", Upgrade: "websocket", "Transfer-Encoding": "chunked", "Content-Length": "99",
			TE: "trailers", Trailer: "X", "CDN-Loop": "", "Proxy-Authorization": "Basic eA==", "Proxy-Connection": "keep-alive",
			"X-Forwarded-For": "127.0.0.1", Forwarded: "for=127.0.0.1", "X-Real-IP": "127.0.0.1", "Accept-Encoding": "evil", Expect: "100-continue",
		})) {
			try { h.append(k, v); } catch (e) {}
		}
	`
	return append(attacks, []Attack{
		{Name: "headers of the connection are not the script's", Code: forged + `return (await fetch("%ORIGIN%/forged", { headers: h })).text();`, Want: said("as it should be")},
		{Name: "no credential of the edge goes out", Code: `return (await fetch("%ORIGIN%/headers")).text();`, Want: []Outcome{answered}},
		{Name: "calls itself through the loop", Code: `return probe("%ORIGIN%/redirect?to=http://localhost:%EDGEPORT%/run");`, Want: refused},
		{Name: "a gzip bomb, read", Code: `return (await (await fetch("%ORIGIN%/bomb?gzip")).text()).length;`, Want: odd, Dangerous: true},
		{Name: "a gzip bomb, passed through", Code: `return fetch("%ORIGIN%/bomb?gzip");`, Want: odd},
		{Name: "a gzip bomb, counted", Code: `let n = 0; for await (const c of (await fetch("%ORIGIN%/bomb?gzip")).body) n += c.length; return n;`, Want: append(odd, stopped...)},
		{Name: "a zstd bomb, read", Code: `return (await (await fetch("%ORIGIN%/bomb?zstd")).text()).length;`, Want: odd, Dangerous: true},
		{Name: "a deflate bomb, read", Code: `return (await (await fetch("%ORIGIN%/bomb?deflate")).text()).length;`, Want: odd, Dangerous: true},
		{Name: "redirected with a backslash", Code: `return probe("%ORIGIN%/redirect?to=/\\127.0.0.1:%PORT%/");`, Want: append(refused, Outcome{Status: 200, Text: "reached: 404"})},
		{Name: "zstd that nobody reads", Code: `globalThis.kept = await Promise.all(Array.from({ length: 15 }, () => fetch("%ORIGIN%/bomb?zstd"))); return "kept";`, Often: 4, Want: append([]Outcome{{Status: 429}, {Status: 503}}, odd...)},
		{Name: "zstd that was not asked for", Code: `return tried(async () => (await (await fetch("%ORIGIN%/bomb?zstd", { headers: { Range: "bytes=0-9", "Accept-Encoding": "zstd" } })).arrayBuffer()).byteLength > 0);`, Want: odd, Dangerous: true},
		{Name: "gzip of nothing without end", Code: `return (await (await fetch("%ORIGIN%/nothing?gzip")).text()).length;`, Want: append([]Outcome{overTime}, odd...)},
		{Name: "deflate of nothing without end", Code: `return (await (await fetch("%ORIGIN%/nothing?deflate")).text()).length;`, Want: append([]Outcome{overTime}, odd...)},
		{Name: "zstd of nothing without end", Code: `return (await (await fetch("%ORIGIN%/nothing?zstd")).text()).length;`, Want: append([]Outcome{overTime}, odd...)},
		{Name: "a coding that is not what it says", Code: `return tried(async () => (await (await fetch("%ORIGIN%/bomb?br")).text()).length);`, Want: odd},
		{Name: "gzip within gzip", Code: `return (await (await fetch("%ORIGIN%/bomb?twice")).text()).length;`, Want: odd, Dangerous: true},
		{Name: "a body without end, read", Code: `return (await (await fetch("%ORIGIN%/endless")).text()).length;`, Want: odd, Dangerous: true},
		{Name: "JSON without end", Code: `return (await fetch("%ORIGIN%/json-bomb")).json();`, Want: odd, Dangerous: true},
		{Name: "an upstream that drips", Code: `return (await (await fetch("%ORIGIN%/drip")).text()).length;`, Want: append([]Outcome{overTime}, odd...)},
		{Name: "nothing is allowed, net of nothing", Net: []string{}, Code: `return probe("%ORIGIN%/empty");`, Want: refused},
		{Name: "net that names the inside opens nothing", Net: []string{"127.0.0.1", "localhost"}, Code: `return probe("http://127.0.0.1:%PORT%/");`, Want: refused},
		{Name: "net without the origin", Net: []string{"api.example.com"}, Code: `return probe("%ORIGIN%/empty");`, Want: refused},
		{Name: "scans ports", Code: `let n = 0; for (let p = 1; p < 60; p++) if ((await probe("http://127.0.0.1:" + p)).startsWith("reached")) n++; return n ? "reached " + n : "refused: all";`, Want: refused},
		{Name: "as a route", By: Route, Code: `return probe("http://127.0.0.1:%PORT%/");`, Want: refused},
		{Name: "the metadata service with its header", Code: `return probe("http://169.254.169.254/computeMetadata/v1/", { headers: { "Metadata-Flavor": "Google" } });`, Want: refused},
	}...)
}
