package jsruntime_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

// session runs body, which has s (ctx.session) and e (an error's text), as the
// body of an async function, and answers its result.
func session(body string) string {
	return `const e = async f => { try { return await f() } catch (err) { return err.name + ": " + err.message } };
	module.exports = async (ctx, cb) => { const s = ctx.session; ` + body + ` }`
}

func existing(id string, entries map[string]string) *fakeHost {
	host := newHost()
	host.session.ID = id
	set := make(map[string][]byte)
	for key, value := range entries {
		set[key] = []byte(value)
	}
	host.apply(&webtask.SessionChange{Set: set})
	return host
}

// summary describes what a response asks to be saved.
func summary(change *webtask.SessionChange) string {
	if change == nil {
		return "nothing"
	}
	return fmt.Sprintf("set %s delete %v move %q destroy %v", change.Set, change.Delete, change.MoveTo, change.Destroy)
}

func TestSessionCalls(t *testing.T) {
	for name, test := range map[string]struct {
		body         string
		stored       map[string]string // nil: no session yet
		want, change string
		loads, saves int
	}{
		"read":              {`return [await s.get("a"), await s.get("b") === undefined, s.id]`, map[string]string{"a": `{"x":1}`}, `[{"x":1},true,"id1"]`, "nothing", 1, 0},
		"read none":         {`return [s.id, await s.get("a") === undefined]`, nil, `[null,true]`, "nothing", 1, 0},
		"read at once":      {`return await Promise.all([s.get("a"), s.get("a"), s.entries()])`, map[string]string{"a": `1`}, `[1,1,[["a",1]]]`, "nothing", 1, 0},
		"untouched":         {`return 1`, map[string]string{"a": `1`}, `1`, "nothing", 0, 0},
		"write":             {`await s.set("a", {x: [1, null]}); return await s.get("a")`, nil, `{"x":[1,null]}`, `set map[a:{"x":[1,null]}] delete [] move "" destroy false`, 0, 0},
		"write is a copy":   {`const v = {n: 1}; await s.set("a", v); v.n = 2; return await s.get("a")`, nil, `{"n":1}`, `set map[a:{"n":1}] delete [] move "" destroy false`, 0, 0},
		"read is a copy":    {`(await s.get("a")).x = 2; return await s.get("a")`, map[string]string{"a": `{"x":1}`}, `{"x":1}`, "nothing", 1, 0},
		"delete":            {`await s.set("b", 1); await s.delete("b"); await s.delete("a"); return [await s.get("a") === undefined, await s.entries()]`, map[string]string{"a": `1`, "c": `3`}, `[true,[["c",3]]]`, `set map[] delete [a b] move "" destroy false`, 1, 0},
		"entries":           {`await s.set("b", 2); await s.delete("a"); return await s.entries()`, map[string]string{"a": `1`, "c": `"3"`}, `[["b",2],["c","3"]]`, `set map[b:2] delete [a] move "" destroy false`, 1, 0},
		"destroy":           {`await s.set("b", 2); await s.destroy(); return [s.id, await s.entries(), await e(() => s.set("c", 1))]`, map[string]string{"a": `1`}, `[null,[],"Error: the session was destroyed by this request; a new one can be begun by the next"]`, `set map[] delete [] move "" destroy true`, 1, 0},
		"regenerate":        {`await s.set("b", 2); await s.regenerate(); return 1`, map[string]string{"a": `1`}, `1`, `set map[b:2] delete [] move "*" destroy false`, 0, 0},
		"update":            {`return [await s.update("n", n => n + 1), await s.get("n")]`, map[string]string{"n": `41`}, `[42,42]`, "nothing", 1, 1},
		"update async":      {`return await s.update("n", async n => { await null; return n + 1 })`, map[string]string{"n": `41`}, `42`, "nothing", 1, 1},
		"update absent":     {`return await s.update("n", (n = 0) => n + 1)`, map[string]string{}, `1`, "nothing", 1, 1},
		"update carries":    {`await s.set("a", 1); await s.delete("x"); await s.update("n", n => n + 1); await s.set("b", 2); return await s.entries()`, map[string]string{"n": `1`, "x": `0`}, `[["a",1],["b",2],["n",2]]`, `set map[b:2] delete [] move "" destroy false`, 1, 1},
		"update new":        {`await s.update("n", (n = 0) => n + 1); return await s.update("n", n => n + 1)`, nil, `2`, `set map[n:2] delete [] move "" destroy false`, 1, 0},
		"update own":        {`await s.set("n", 1); return await s.update("n", n => n + 1)`, map[string]string{"n": `7`}, `2`, `set map[n:2] delete [] move "" destroy false`, 1, 0},
		"update throws":     {`return await e(() => s.update("n", () => { throw new RangeError("no") }))`, map[string]string{"n": `7`}, `"RangeError: no"`, "nothing", 1, 0},
		"update rejects":    {`return await e(() => s.update("n", async () => { throw new RangeError("no") }))`, map[string]string{"n": `7`}, `"RangeError: no"`, "nothing", 1, 0},
		"update undefined":  {`return await e(() => s.update("n", () => {}))`, map[string]string{"n": `7`}, `"TypeError: the value for session key \"n\" is undefined; use null for no value, or ctx.session.delete(\"n\")"`, "nothing", 1, 0},
		"update no fn":      {`return await e(() => s.update("n", 5))`, map[string]string{"n": `7`}, `"TypeError: ctx.session.update(\"n\", fn): fn must be a function that returns the new value"`, "nothing", 0, 0},
		"two at once":       {`await Promise.all([s.update("n", n => n + 1), s.update("n", n => n + 1), s.update("n", n => n + 1)]); return await s.get("n")`, map[string]string{"n": `0`}, `3`, "nothing", 1, -1},
		"assigned":          {`return await e(() => { s.user = 1 })`, nil, `"TypeError: ctx.session.user cannot be assigned; use await ctx.session.set(\"user\", value)"`, "nothing", 0, 0},
		"throws after save": {`await s.set("b", 1); throw new Error("x")`, map[string]string{}, ``, "", 0, 0},
		"undefined":         {`return await e(() => s.set("a"))`, nil, `"TypeError: the value for session key \"a\" is undefined; use null for no value, or ctx.session.delete(\"a\")"`, "nothing", 0, 0},
		"function":          {`return await e(() => s.set("a", {f() {}}))`, nil, `"TypeError: the value for session key \"a\" cannot be stored: a function (at \"f\") is no JSON data; store strings, numbers, booleans, null, arrays and objects of them"`, "nothing", 0, 0},
		"symbol":            {`return await e(() => s.set("a", Symbol("x")))`, nil, `"TypeError: the value for session key \"a\" cannot be stored: a symbol is no JSON data; store strings, numbers, booleans, null, arrays and objects of them"`, "nothing", 0, 0},
		"BigInt":            {`return (await e(() => s.set("a", [1n]))).slice(0, 84)`, nil, `"TypeError: the value for session key \"a\" cannot be stored: a BigInt (at \"0\") is no J"`, "nothing", 0, 0},
		"cycle":             {`const a = {}; a.a = a; return (await e(() => s.set("k", a))).slice(0, 75)`, nil, `"TypeError: the value for session key \"k\" cannot be stored: Converting circu"`, "nothing", 0, 0},
		"keys":              {`return [await e(() => s.get(7)), await e(() => s.set("", 1)), (await e(() => s.get("k".repeat(300)))).slice(-8)]`, nil, `["TypeError: a session key must be a string","TypeError: a session key must have 1 to 256 bytes, this one has 0"," has 300"]`, "nothing", 0, 0},
		"proto":             {`await s.set("__proto__", 1); return [await s.get("__proto__"), await s.get("toString") === undefined]`, nil, `[1,true]`, `set map[__proto__:1] delete [] move "" destroy false`, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, jsruntime.Options{})
			host := newHost()
			if test.stored != nil {
				host = existing("id1", test.stored)
			}
			resp, err := b.engine.Do(context.Background(), b.spec(session(test.body), jsruntime.SpecOptions{}), request(host))
			if test.want == "" {
				if err == nil {
					t.Fatalf("answered %s", resp.Bytes)
				}
			} else if err != nil {
				t.Fatal(err)
			} else if got := string(resp.Bytes); got != test.want || summary(resp.Session) != test.change {
				t.Errorf("answered %s, want %s\n saves %s, want %s", got, test.want, summary(resp.Session), test.change)
			}
			if host.loads != test.loads || (test.saves >= 0 && host.saves != test.saves) {
				t.Errorf("%d loads and %d saves, want %d and %d", host.loads, host.saves, test.loads, test.saves)
			}
		})
	}
}

// namingHost tells scripts the id that a new session will have.
type namingHost struct{ *fakeHost }

func (namingHost) NewSessionID() string { return "next" }

func TestSessionIDIsOfASessionThatIsOrWillBe(t *testing.T) {
	for name, test := range map[string]struct {
		body   string
		stored map[string]string // nil: no session yet
		want   string
	}{
		"none":                 {`return [s.id]`, nil, `[null]`},
		"regenerated none":     {`await s.regenerate(); return [s.id]`, nil, `[null]`},
		"begun":                {`await s.set("a", 1); return [s.id]`, nil, `["next"]`},
		"begun, regenerated":   {`await s.regenerate(); await s.set("a", 1); return [s.id]`, nil, `["next"]`},
		"there":                {`return [s.id]`, map[string]string{"a": `1`}, `["id1"]`},
		"there, regenerated":   {`await s.regenerate(); return [s.id]`, map[string]string{"a": `1`}, `["next"]`},
		"regenerated, deleted": {`await s.regenerate(); await s.destroy(); return [s.id]`, map[string]string{"a": `1`}, `[null]`},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, jsruntime.Options{})
			host := newHost()
			if test.stored != nil {
				host = existing("id1", test.stored)
			}
			if got, _ := b.do(b.spec(session(test.body), jsruntime.SpecOptions{}), request(namingHost{host})); got != test.want {
				t.Errorf("answered %s, want %s", got, test.want)
			}
		})
	}
}

func TestSessionUpdatesOfManyRequestsAreExact(t *testing.T) {
	b := newBench(t, jsruntime.Options{})
	host := existing("id1", map[string]string{"n": `0`})
	spec := b.spec(session(`return await s.update("n", n => n + 1)`), jsruntime.SpecOptions{})
	var group sync.WaitGroup
	failures := make(chan error, 64)
	for range 8 {
		group.Go(func() {
			for range 25 {
				if _, err := b.engine.Do(context.Background(), spec, request(host)); err != nil {
					failures <- err
				}
			}
		})
	}
	group.Wait()
	close(failures)
	for err := range failures {
		t.Error(err)
	}
	if got := string(host.session.Data.Entries["n"].Value); got != "200" {
		t.Errorf("200 updates made %s", got)
	}
}

func TestSessionStoreDown(t *testing.T) {
	b := newBench(t, jsruntime.Options{})
	host := existing("id1", nil)
	host.down = true
	failure := fails[*jsruntime.ScriptError](b, b.spec(session(`return await s.get("a")`), jsruntime.SpecOptions{}), request(host))
	if !errors.Is(failure, webtask.ErrStoreUnavailable) || failure.Name != "StoreUnavailable" {
		t.Errorf("got %#v", failure)
	}
	wrapped := `try { await s.get("a") } catch (cause) { throw new Error("wrapped", {cause}) }`
	failure = fails[*jsruntime.ScriptError](b, b.spec(session(wrapped), jsruntime.SpecOptions{}), request(host))
	if !errors.Is(failure, webtask.ErrStoreUnavailable) {
		t.Errorf("a cause is not seen through: %#v", failure)
	}
	caught := `return await e(() => s.get("a"))`
	if got, _ := b.do(b.spec(session(caught), jsruntime.SpecOptions{}), request(host)); got != `"StoreUnavailable: the session store is unavailable; try again later"` {
		t.Errorf("got %s", got)
	}
	if got, _ := b.do(b.spec(session(`return 1`), jsruntime.SpecOptions{}), request(host)); got != "1" {
		t.Errorf("a task without session answered %s", got)
	}
}

func TestSessionTooLarge(t *testing.T) {
	b := newBench(t, jsruntime.Options{})
	spec := b.spec(session(`await s.set("a", "x".repeat(20)); await s.set("a", "y".repeat(20)); await s.set("b", "x".repeat(20))`),
		jsruntime.SpecOptions{Limits: webtask.Limits{SessionSize: 40}})
	failure := fails[*jsruntime.ScriptError](b, spec, request(newHost()))
	if !errors.Is(failure, webtask.ErrSessionTooLarge) || !strings.Contains(failure.Message, `40 B with key "b"`) {
		t.Errorf("got %v", failure)
	}
}

func TestSessionAfterTheHead(t *testing.T) {
	streamed := func(body string) string {
		return `module.exports = async (ctx, req, res) => {
			const s = ctx.session;
			res.writeHead(200); res.write("head ");
			await gate("head");
			try { ` + body + ` } catch (err) { res.write(err.name) }
			res.end() }`
	}
	for name, test := range map[string]struct{ body, want, stored string }{
		"set":        {`await s.set("a", 2); res.write("ok " + await s.get("a"))`, "head ok 2", "2"},
		"delete":     {`await s.delete("a"); res.write("ok " + await s.get("a"))`, "head ok undefined", ""},
		"update":     {`res.write("ok " + await s.update("a", a => a + 10))`, "head ok 11", "11"},
		"regenerate": {`await s.regenerate()`, "head SessionCommitted", "1"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, jsruntime.Options{})
			host := existing("id1", map[string]string{"a": `1`})
			resp, err := b.engine.Do(context.Background(), b.spec(streamed(test.body), jsruntime.SpecOptions{}), request(host))
			if err != nil {
				t.Fatal(err)
			}
			b.gates.release("head")
			if got := b.text(resp); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if got := string(host.session.Data.Entries["a"].Value); got != test.stored {
				t.Errorf("stored %q, want %q", got, test.stored)
			}
		})
	}
	b := newBench(t, jsruntime.Options{})
	resp, err := b.engine.Do(context.Background(), b.spec(streamed(`await s.set("a", 2)`), jsruntime.SpecOptions{}), request(newHost()))
	if err != nil {
		t.Fatal(err)
	}
	b.gates.release("head")
	if got := b.text(resp); got != "head SessionCommitted" {
		t.Errorf("a first write after the head gave %q", got)
	}
}

// committingHost saves what leaves with the head when the test says so.
type committingHost struct {
	*fakeHost
	asked, committed chan struct{}
}

func (h *committingHost) AwaitSessionCommit(ctx context.Context) error {
	h.asked <- struct{}{}
	select {
	case <-h.committed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestLaterWritesDoNotOvertakeEarlierOnes(t *testing.T) {
	b := newBench(t, jsruntime.Options{})
	host := &committingHost{existing("id1", nil), make(chan struct{}, 2), make(chan struct{})}
	resp, err := b.engine.Do(context.Background(), b.spec(`module.exports = async (ctx, req, res) => {
		await ctx.session.set("a", 1);
		res.writeHead(200); res.write("head ");
		await gate("head");
		await ctx.session.set("a", 2); res.write("saved"); res.end() }`, jsruntime.SpecOptions{}), request(host))
	if err != nil {
		t.Fatal(err)
	}
	b.gates.release("head")
	<-host.asked
	if host.saves != 0 {
		t.Error("the later write came first")
	}
	host.mu.Lock()
	host.apply(resp.Session)
	host.mu.Unlock()
	close(host.committed)
	if got := b.text(resp); got != "head saved" || string(host.session.Data.Entries["a"].Value) != "2" {
		t.Errorf("got %q, stored %s", got, host.session.Data.Entries["a"].Value)
	}
}
