package webapi_test

import "testing"

func TestEventTarget(t *testing.T) {
	expectations{
		{`(() => { const t = new EventTarget(), seen = []; const f = e => seen.push(e.type + e.eventPhase + (e.currentTarget === t));
			t.addEventListener("a", f); t.addEventListener("a", f); t.addEventListener("a", { handleEvent(e) { seen.push("object") } });
			t.addEventListener("a", () => seen.push("once"), { once: true });
			t.dispatchEvent(new Event("a")); t.removeEventListener("a", f); t.dispatchEvent(new Event("a")); return seen })()`,
			`["a2true","object","once","object"]`},
		{`(() => { const t = new EventTarget(), e = new Event("a", { cancelable: true }); t.addEventListener("a", e => e.preventDefault());
			const passive = new EventTarget(), p = new Event("a", { cancelable: true }); passive.addEventListener("a", e => e.preventDefault(), { passive: true });
			return [t.dispatchEvent(e), e.defaultPrevented, e.target === t, e.currentTarget, passive.dispatchEvent(p)] })()`, `[false,true,true,null,true]`},
		{`(() => { const t = new EventTarget(), seen = []; t.addEventListener("a", e => { seen.push(1); e.stopImmediatePropagation() }); t.addEventListener("a", () => seen.push(2)); t.dispatchEvent(new Event("a")); return seen })()`, `[1]`},
		{`(() => { const t = new EventTarget(), seen = []; const second = () => seen.push(2); t.addEventListener("a", () => { seen.push(1); t.removeEventListener("a", second); t.addEventListener("a", () => seen.push(3)) }); t.addEventListener("a", second); t.dispatchEvent(new Event("a")); return seen })()`, `[1]`},
		{`(() => { const t = new EventTarget(), c = new AbortController(); let n = 0; t.addEventListener("a", () => n++, { signal: c.signal }); t.dispatchEvent(new Event("a")); c.abort(); t.dispatchEvent(new Event("a")); return n })()`, `1`},
		{`(() => { const t = new EventTarget(), e = new Event("a"); let name; t.addEventListener("a", () => { try { t.dispatchEvent(e) } catch (x) { name = x.name } }); t.dispatchEvent(e); return name })()`, `"InvalidStateError"`},
		{`new EventTarget().addEventListener("a", 5)`, `throws TypeError: *`},
		{`new EventTarget().addEventListener("a", null)`, `undefined`},
		{`new Event()`, `throws TypeError: *`},
		{`[new Event("x", { bubbles: true }).bubbles, Event.AT_TARGET, new Event("x").timeStamp > 0, new Event("x").isTrusted, new Event("x").composedPath()]`, `[true,2,true,false,[]]`},
		{`new CustomEvent("x").detail`, `null`},
	}.check(t)
}

func TestListenerThatThrowsFailsTheRequest(t *testing.T) {
	_, err := tryEval(t, `const t = new EventTarget(); t.addEventListener("a", () => { throw new RangeError("from the listener") }); t.dispatchEvent(new Event("a")); return "went on"`)
	assertError(t, err, "from the listener")
}

func TestAbort(t *testing.T) {
	expectations{
		{`(() => { const c = new AbortController(); const before = c.signal.aborted; c.abort(); return [before, c.signal.aborted, c.signal.reason.name, c.signal.reason instanceof DOMException] })()`, `[false,true,"AbortError",true]`},
		{`(() => { const c = new AbortController(), seen = []; c.signal.onabort = e => seen.push("on" + e.isTrusted); c.signal.addEventListener("abort", () => seen.push(c.signal.reason)); c.abort("why"); c.abort("again"); return seen })()`, `["ontrue","why"]`},
		{`(() => { const s = AbortSignal.abort(5); try { s.throwIfAborted() } catch (e) { return [e, s.aborted] } })()`, `[5,true]`},
		{`(() => { const a = new AbortController(), b = new AbortController(), any = AbortSignal.any([a.signal, b.signal]); b.abort("b"); return [any.aborted, any.reason, AbortSignal.any([AbortSignal.abort(1)]).reason, AbortSignal.any([]).aborted] })()`, `[true,"b",1,false]`},
		{`(() => { const seen = [], a = new AbortController(), one = AbortSignal.any([a.signal]), two = AbortSignal.any([one]); for (const [n, s] of [["two", two], ["one", one], ["a", a.signal]]) s.addEventListener("abort", () => seen.push(n, two.aborted)); a.abort(); return seen })()`, `["a",true,"one",true,"two",true]`},
		{`new Promise(resolve => { const s = AbortSignal.timeout(1); s.onabort = () => resolve(s.reason.name) })`, `"TimeoutError"`},
		{`AbortSignal.timeout(-1)`, `throws TypeError: *`},
		{`(() => { const c = new AbortController(); let n = 0; c.signal.onabort = () => n++; c.signal.onabort = null; c.abort(); return [n, c.signal.onabort] })()`, `[0,null]`},
	}.check(t)
}

func TestTimers(t *testing.T) {
	expectations{
		{`new Promise(resolve => { const order = []; setTimeout(() => { order.push("b"); resolve(order) }, 5); setTimeout((x, y) => order.push(x + y), 1, "a", "1"); queueMicrotask(() => order.push("micro")) })`, `["micro","a1","b"]`},
		{`new Promise(resolve => { let n = 0; const id = setInterval(() => { if (++n == 3) { clearInterval(id); setTimeout(() => resolve(n), 5) } }, 1) })`, `3`},
		{`new Promise(resolve => { const id = setTimeout(() => resolve("not cleared"), 1); clearTimeout(id); clearTimeout(undefined); clearTimeout(12345); setTimeout(resolve, 5, "cleared") })`, `"cleared"`},
		{`typeof setTimeout(() => {}, 0)`, `"number"`},
		{`setTimeout("code")`, `throws TypeError: *`},
		{`queueMicrotask()`, `throws TypeError: *`},
	}.check(t)
}

func TestTimerThatThrowsFailsTheRequest(t *testing.T) {
	_, err := tryEval(t, `await new Promise(() => setTimeout(() => { throw new RangeError("from the timer") }, 1))`)
	assertError(t, err, "from the timer")
}

func TestMicrotaskThatThrowsFailsTheRequest(t *testing.T) {
	_, err := tryEval(t, `await new Promise(() => queueMicrotask(() => { throw new RangeError("from the microtask") }))`)
	assertError(t, err, "from the microtask")
}
