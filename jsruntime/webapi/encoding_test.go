package webapi_test

import "testing"

func TestTextEncoder(t *testing.T) {
	expectations{
		{`[...new TextEncoder().encode("aé€\u{1f600}")]`, `[97,195,169,226,130,172,240,159,152,128]`},
		{`[...new TextEncoder().encode("\ud800")]`, `[239,191,189]`},
		{`new TextEncoder().encode().length`, `0`},
		{`(() => { const d = new Uint8Array(5); return [new TextEncoder().encodeInto("a€\u{1f600}", d), [...d]] })()`, `[{"read":2,"written":4},[97,226,130,172,0]]`},
		{`new TextEncoder().encodeInto("a", new Uint16Array(2))`, `throws TypeError: *`},
		{`new TextEncoder().encoding`, `"utf-8"`},
	}.check(t)
}

func TestTextDecoder(t *testing.T) {
	expectations{
		{`new TextDecoder().decode(new Uint8Array([0xef, 0xbb, 0xbf, 0x61]))`, `"a"`},
		{`new TextDecoder("utf-8", { ignoreBOM: true }).decode(new Uint8Array([0xef, 0xbb, 0xbf, 0x61])).length`, `2`},
		// One U+FFFD for each maximal part, by the table of Unicode §3.9.
		{`new TextDecoder().decode(new Uint8Array([0x61, 0xf1, 0x80, 0x80, 0xe1, 0x80, 0xc2, 0x62, 0x80, 0x63, 0x80, 0xbf, 0x64]))`, `"a���b�c��d"`},
		{`new TextDecoder().decode(new Uint8Array([0xed, 0xa0, 0x80]))`, `"���"`},
		{`new TextDecoder().decode(new Uint8Array([0xf0, 0x9f, 0x98]))`, `"�"`},
		{`new TextDecoder("utf-8", { fatal: true }).decode(new Uint8Array([0xff]))`, `throws TypeError: The encoded data was not valid utf-8`},
		{`(() => { const d = new TextDecoder(); return [d.decode(new Uint8Array([0xe2, 0x82]), { stream: true }), d.decode(new Uint8Array([0xac, 0x61]), { stream: true }), d.decode()] })()`, `["","€a",""]`},
		{`(() => { const d = new TextDecoder(); d.decode(new Uint8Array([0xe2]), { stream: true }); return d.decode() })()`, `"�"`},
		{`(() => { const d = new TextDecoder("utf-8", { fatal: true }); d.decode(new Uint8Array([0xe2]), { stream: true }); return d.decode() })()`, `throws TypeError: *`},
		{`new TextDecoder("utf-16").decode(new Uint8Array([0x61, 0, 0x3d, 0xd8, 0, 0xde]))`, `"a😀"`},
		{`new TextDecoder("utf-16be").decode(new Uint8Array([0, 0x61, 0xd8, 0x3d]))`, `"a�"`},
		{`(() => { const d = new TextDecoder("utf-16le"); return [d.decode(new Uint8Array([0x3d]), { stream: true }), d.decode(new Uint8Array([0xd8, 0]), { stream: true }), d.decode(new Uint8Array([0xde]))] })()`, `["","","😀"]`},
		{`new TextDecoder("latin1").encoding + new TextDecoder(" UTF8\n").encoding`, `"windows-1252utf-8"`},
		{`new TextDecoder("windows-1252").decode(new Uint8Array([0x80, 0xe9]))`, `"€é"`},
		{`new TextDecoder("shift_jis").decode(new Uint8Array([0x83, 0x65]))`, `"テ"`},
		{`(() => { const d = new TextDecoder("gbk"); return d.decode(new Uint8Array([0xc4]), { stream: true }) + d.decode(new Uint8Array([0xe3])) })()`, `"你"`},
		{`["iso-8859-2", "windows-1252"].map(n => new TextDecoder(n, { fatal: true }).decode(new Uint8Array([0x81])).charCodeAt(0)).join()`, `"129,129"`},
		{`new TextDecoder("windows-1253", { fatal: true }).decode(new Uint8Array([0xaa]))`, `throws TypeError: *`},
		{`new TextDecoder("\vutf-8")`, `throws RangeError: *`},
		{`new TextDecoder("nonsense")`, `throws RangeError: *`},
		{`new TextDecoder("replacement")`, `throws RangeError: *`},
		{`new TextDecoder().decode(new DataView(new Uint8Array([97, 98, 99]).buffer, 1))`, `"bc"`},
		{`new TextDecoder().decode(new Uint8Array([97, 98, 99]).subarray(0, 2))`, `"ab"`},
		{`new TextDecoder().decode(new Uint8Array([97]).buffer)`, `"a"`},
		{`new TextDecoder().decode("a")`, `throws TypeError: *`},
		{`new TextDecoder().decode([97])`, `throws TypeError: *`},
	}.check(t)
}

func TestBase64(t *testing.T) {
	expectations{
		{`btoa("\u00e9\u00ff")`, `"6f8="`},
		{`btoa("€")`, `throws InvalidCharacterError: *`},
		{`atob(" 6f8= ")`, `"éÿ"`},
		{`[atob("YQ"), atob("YQ=="), atob(""), atob("YR")]`, `["a","a","","a"]`},
		{`atob("YQ=")`, `throws InvalidCharacterError: *`},
		{`atob("Y")`, `throws InvalidCharacterError: *`},
		{`atob("Y-Q_")`, `throws InvalidCharacterError: *`},
		{`atob("YQ==Yg")`, `throws InvalidCharacterError: *`},
		{`(() => { try { btoa("€") } catch (e) { return [e instanceof DOMException, e instanceof Error, e.code, typeof e.stack, Object.prototype.toString.call(e)] } })()`, `[true,true,5,"string","[object DOMException]"]`},
	}.check(t)
}

func TestCrypto(t *testing.T) {
	expectations{
		{`/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(crypto.randomUUID())`, `true`},
		{`crypto.randomUUID() !== crypto.randomUUID()`, `true`},
		{`(() => { const a = new Uint32Array(8); return [crypto.getRandomValues(a) === a, a.some(n => n > 65535)] })()`, `[true,true]`},
		{`(() => { const a = new Uint8Array(64); crypto.getRandomValues(a.subarray(0, 32)); return [a.slice(0, 32).some(n => n), a.slice(32).some(n => n)] })()`, `[true,false]`},
		{`crypto.getRandomValues(new Uint8Array(65537))`, `throws QuotaExceededError: *`},
		{`crypto.getRandomValues(new Float64Array(1))`, `throws TypeMismatchError: *`},
		{`crypto.getRandomValues([1])`, `throws TypeMismatchError: *`},
	}.check(t)
}
