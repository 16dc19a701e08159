package jsruntime_test

import (
	"context"
	"errors"
	"io"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/dop251/goja"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/jsruntime/nodeapi"
	"github.com/webtask-edge/caddy-webtask/jsruntime/webapi"
)

// measuredWeb adds longest() to the real platform, which collects garbage and
// returns the length of the isolate's longest list.
type measuredWeb struct{ *webapi.Platform }

func (w measuredWeb) Install(iso *jsruntime.Isolate) error {
	return errors.Join(w.Platform.Install(iso), iso.Runtime().Set("longest", func(goja.FunctionCall) goja.Value {
		runtime.GC()
		return iso.Runtime().ToValue(iso.LongestList())
	}))
}

// onlineHost answers fetches, all but those of the path /down.
type onlineHost struct{ *fakeHost }

func (onlineHost) Fetch(_ context.Context, req *jsruntime.FetchRequest) (*jsruntime.FetchResponse, error) {
	if strings.HasSuffix(req.URL, "/down") {
		return nil, errors.New("no route")
	}
	return &jsruntime.FetchResponse{Status: 200, URL: req.URL, Body: io.NopCloser(strings.NewReader("body"))}, nil
}

// A request that goes on for hours: what it has done with is forgotten.
func TestLongRequestsDoNotGrow(t *testing.T) {
	for name, step := range map[string]string{
		"promises":     `for (let i = 0; i < 1000; i++) ctx.waitUntil(Promise.resolve(i))`,
		"never":        `for (let i = 0; i < 1000; i++) new ReadableStream().getReader().releaseLock()`,
		"rejections":   `for (let i = 0; i < 1000; i++) await Promise.reject(i).catch(() => {})`,
		"timers":       `for (let i = 0; i < 90; i++) clearTimeout(setTimeout(() => {}, 1e6))`,
		"fetches":      `for (let i = 0; i < 100; i++) await (await fetch("https://a.example/")).text()`,
		"streams":      `for (let i = 0; i < 100; i++) { const reader = (await fetch("https://a.example/")).body.getReader(); while (!(await reader.read()).done); }`,
		"failures":     `for (let i = 0; i < 100; i++) await fetch("https://a.example/down").catch(() => {})`,
		"sessions":     `for (let i = 0; i < 100; i++) await ctx.session.get("a")`,
		"sent streams": `for (let i = 0; i < 100; i++) await new Response(new ReadableStream({ start(c) { c.enqueue(new Uint8Array(1)); c.close() } })).text()`,
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, jsruntime.Options{})
			engine := jsruntime.NewEngine(jsruntime.Options{Web: measuredWeb{webapi.New()}, Node: nodeapi.New()})
			defer engine.Close(context.Background())
			spec := b.spec(`exports.default = async (request, env, ctx) => {
				let most = 0;
				for (let n = 0; n < 50; n++) {
					await (async () => { `+step+` })();
					await new Promise(done => setTimeout(done, 1));
					const now = longest();
					if (now > most) most = now;
				}
				return new Response(String(most));
			}`, jsruntime.SpecOptions{})
			resp, err := engine.Do(context.Background(), spec, request(onlineHost{newHost()}))
			if err != nil {
				t.Fatal(err)
			}
			// Of all steps together it would be at least 4,500; those of the
			// last two or three may be left.
			if most, err := strconv.Atoi(string(resp.Bytes)); err != nil || most > 3500 {
				t.Errorf("a list grew to %s entries", resp.Bytes)
			}
		})
	}
}
