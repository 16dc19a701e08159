package webapi_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/dop251/goja"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/jsruntime/webapi"
)

// counting is the platform with counts(signal): [dependents, algorithms].
type counting struct{ *webapi.Platform }

func (c counting) Install(iso *jsruntime.Isolate) error {
	if err := c.Platform.Install(iso); err != nil {
		return err
	}
	return iso.Runtime().Set("counts", func(call goja.FunctionCall) goja.Value {
		dependents, algorithms := webapi.SignalCounts(call.Argument(0))
		return iso.Runtime().ToValue([]any{dependents, algorithms})
	})
}

// newCountingTask makes a task with counts and, as a URL, an origin.
func newCountingTask(t *testing.T, code string) *task {
	t.Helper()
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, strings.Repeat("x", 1<<10))
	}))
	t.Cleanup(origin.Close)
	tk := newTask(t, strings.ReplaceAll(code, "ORIGIN", origin.URL))
	plain := tk.engine
	tk.engine = jsruntime.NewEngine(jsruntime.Options{Web: counting{webapi.New()}, Node: noNode{}})
	if err := plain.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tk.engine.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return tk
}

// TestLongLivedSignal has every request do something with a signal that all of
// them share. Nothing of it may be left when they have ended.
func TestLongLivedSignal(t *testing.T) {
	for name, code := range map[string]string{
		"any":                       `AbortSignal.any([shared.signal]); AbortSignal.any([AbortSignal.any([shared.signal]), new AbortController().signal])`,
		"any, listened to for once": `const s = AbortSignal.any([shared.signal]), f = () => {}; s.addEventListener("abort", f); s.removeEventListener("abort", f); s.onabort = f; s.onabort = null`,
		"any, aborted":              `const c = new AbortController(), s = AbortSignal.any([shared.signal, c.signal]); s.onabort = () => {}; c.abort()`,
		"a Request":                 `new Request("ORIGIN", { signal: shared.signal })`,
		"a listener's signal":       `const e = new EventTarget(), f = () => {}; e.addEventListener("x", f, { signal: shared.signal }); e.removeEventListener("x", f)`,
		"a listener's signal, once": `const e = new EventTarget(); e.addEventListener("x", () => {}, { signal: shared.signal, once: true }); e.dispatchEvent(new Event("x"))`,
		"a fetch that is read":      `await (await fetch("ORIGIN", { signal: shared.signal })).text()`,
		"a fetch that is not read":  `await fetch("ORIGIN", { signal: shared.signal })`,
		"a fetch that is handed on": `return fetch("ORIGIN", { signal: shared.signal })`,
		"a fetch of any":            `return fetch("ORIGIN", { signal: AbortSignal.any([shared.signal, AbortSignal.timeout(1e6)]) })`,
		"a fetch that fails":        `await fetch("http://127.0.0.1:1", { signal: shared.signal }).catch(() => {})`,
		"a fetch that is cloned":    `const r = await fetch("ORIGIN", { signal: shared.signal }); await r.clone().text(); return r`,
	} {
		t.Run(name, func(t *testing.T) {
			tk := newCountingTask(t, `const shared = new AbortController();
				exports.default = async request => {
					if (request.url.endsWith("counts")) return Response.json(counts(shared.signal));
					`+code+`;
					return new Response("done");
				}`)
			for range 5 {
				if _, _, err := tk.do(get("https://example.com/")); err != nil {
					t.Fatal(err)
				}
			}
			if _, got, err := tk.do(get("https://example.com/counts")); err != nil || got != "[0,0]" {
				t.Errorf("afterwards the signal tells %s, %v", got, err)
			}
		})
	}
}

// TestFollowingSignals aborts signals that follow others, whether anybody
// listens to them or not.
func TestFollowingSignals(t *testing.T) {
	expectations{
		{`(() => { const c = new AbortController(), s = AbortSignal.any([c.signal]); c.abort("why"); return [s.aborted, s.reason] })()`, `[true,"why"]`},
		{`(() => { const a = new AbortController(), b = new AbortController(), s = AbortSignal.any([a.signal, b.signal]); b.abort("b"); a.abort("a"); return s.reason })()`, `"b"`},
		{`(() => { const a = new AbortController(), b = new AbortController(), s = AbortSignal.any([a.signal, b.signal]); let n = 0; s.onabort = () => n++; b.abort("b"); a.abort("a"); return [n, s.reason] })()`, `[1,"b"]`},
		{`(() => { const c = new AbortController(), s = AbortSignal.any([AbortSignal.any([c.signal])]); let seen; s.addEventListener("abort", () => seen = s.reason); c.abort("why"); return seen })()`, `"why"`},
		{`(() => { const c = new AbortController(), s = AbortSignal.any([c.signal]), seen = []; c.signal.onabort = () => seen.push("source", s.aborted); s.onabort = () => seen.push("dependent"); c.abort(); return seen })()`, `["source",true,"dependent"]`},
		{`(() => { const c = new AbortController(), s = AbortSignal.any([c.signal]); c.abort("why"); let late = 0; s.onabort = () => late++; try { s.throwIfAborted() } catch (e) { return [e, late, AbortSignal.any([s]).reason] } })()`, `["why",0,"why"]`},
		{`fetch(new Request("https://example.com/", { signal: AbortSignal.any([AbortSignal.abort("early")]) })).catch(e => e)`, `"early"`},
	}.check(t)
}
