package jsruntime_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

func TestModelsAnswer(t *testing.T) {
	options := jsruntime.SpecOptions{
		Name: "hello", ID: "jti1", Token: "tok",
		Secrets: map[string]string{"KEY": "s3cret", "both": "secret"},
		Params:  map[string]string{"lang": "en", "both": "param"},
		Meta:    map[string]string{"m": "1"},
	}
	for name, test := range map[string]struct{ code, want string }{
		"cb":                  {`module.exports = cb => cb(null, {a: [1, "x"]})`, `{"a":[1,"x"]}`},
		"cb string":           {`module.exports = cb => cb(null, "<x>")`, `"<x>"`},
		"cb falsy":            {`module.exports = cb => cb(null, 0)`, `{}`},
		"cb null":             {`module.exports = cb => cb()`, `{}`},
		"cb promise":          {`module.exports = async cb => 7`, `7`},
		"cb thenable":         {`module.exports = cb => ({then(f) { f("t") }})`, `"t"`},
		"cb async undefined":  {`module.exports = async cb => {}`, `{}`},
		"cb async calls back": {`module.exports = async cb => { setTimeout(() => cb(null, 1), 1) }`, `1`},
		"cb timer":            {`module.exports = cb => setTimeout(() => cb(null, "late"), 1)`, `"late"`},
		"top-level return":    {`return function (ctx, cb) { cb(null, ctx.data.lang) }`, `"en"`},
		"ctx params":          {`module.exports = (ctx, cb) => cb(null, [ctx.params.lang, ctx.secrets.KEY, ctx.meta.m, ctx.id, ctx.token, ctx.ip])`, `["en","s3cret","1","r1","tok","192.0.2.7"]`},
		"ctx webtask":         {`module.exports = (ctx, cb) => cb(null, ctx.webtask)`, `{"container":"acme","name":"hello","id":"jti1"}`},
		"ctx query":           {`module.exports = (ctx, cb) => cb(null, ctx.query)`, `{"a":["1","2"],"b":"x y"}`},
		"ctx data":            {`module.exports = (ctx, cb) => cb(null, [ctx.data.both, ctx.data.b, ctx.data.lang])`, `["secret","x y","en"]`},
		"ctx headers":         {`module.exports = (ctx, cb) => cb(null, [ctx.headers["x-test"], ctx.headers.accept, ctx.headers["X-Test"] === undefined, ctx.headers.host, Object.keys(ctx.headers)])`, `["yes","a, b",true,"example.com",["accept","host","x-test"]]`},
		"ctx writable":        {`module.exports = (ctx, cb) => { ctx.mine = 1; delete ctx.ip; cb(null, [ctx.mine, "ip" in ctx, ctx.nothing === undefined]) }`, `[1,false,true]`},
		"module.webtask":      {`const {params, secrets, meta} = module.webtask; module.exports = cb => cb(null, [params.lang, secrets.KEY, meta.m])`, `["en","s3cret","1"]`},
		"node":                {`module.exports = (ctx, req, res) => { res.writeHead(201); res.write("hi "); res.write(ctx.params.lang); res.end() }`, `hi en`},
		"node late":           {`module.exports = (ctx, req, res) => { setTimeout(() => { res.writeHead(200); res.write("late"); res.end() }, 1) }`, `late`},
		"node streams":        {`module.exports = (ctx, req, res) => { res.writeHead(200); res.write("a"); setTimeout(() => { res.write("b"); res.end() }, 1) }`, `ab`},
		"web":                 {`exports.default = { greeting: "hi", fetch(request, env) { return this.greeting + " " + env.KEY + " " + env.both + " " + env.lang } }`, `hi s3cret secret en`},
		"web async":           {`exports.default = { async fetch(request, env, ctx) { await gate.call; await new Promise(r => setTimeout(r, 1)); return request.method + ctx.webtask.name + ctx.ip } }`, `GEThello192.0.2.7`},
		"web function":        {`exports.default = (request, env, ctx) => request.url.slice(0, 19)`, `https://example.com`},
		"web class":           {`class Task { fetch() { return this.name() } name() { return "class" } } exports.default = new Task`, `class`},
		"web by __esModule":   {`exports.__esModule = true; exports["default"] = () => "es"`, `es`},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, jsruntime.Options{})
			if got, _ := b.do(b.spec(test.code, options), request(newHost())); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestModelHeads(t *testing.T) {
	b := newBench(t, jsruntime.Options{})
	_, resp := b.do(b.spec(`module.exports = cb => cb(null, 1)`, jsruntime.SpecOptions{}), request(newHost()))
	if resp.Status != 200 || resp.ContentType != "application/json" || resp.BodyLength != 1 {
		t.Errorf("cb: %d %s, length %d", resp.Status, resp.ContentType, resp.BodyLength)
	}
	_, resp = b.do(b.spec(`module.exports = (ctx, req, res) => { res.writeHead(418); res.end() }`, jsruntime.SpecOptions{}), request(newHost()))
	if resp.Status != 418 || resp.Header.Get("X-Made-By") != "script" {
		t.Errorf("node: %d %v", resp.Status, resp.Header)
	}
}

func TestBadHandlers(t *testing.T) {
	for name, test := range map[string]struct {
		code    string
		kind    jsruntime.ErrorKind
		status  int
		message string
		details string // JSON; empty: not looked at
		at      string // file:line:column in Stack
	}{
		"no function":     {code: `module.exports = 7`, kind: jsruntime.KindNoHandler, status: 400, message: "Supplied code must return or export a function."},
		"arity 0":         {code: `module.exports = () => 1`, kind: jsruntime.KindNoHandler, status: 400, message: "one of the following signatures"},
		"arity 4":         {code: `module.exports = (a, b, c, d) => 1`, kind: jsruntime.KindNoHandler, status: 400, message: "one of the following signatures"},
		"no arity":        {code: `module.exports = cb => cb(); delete module.exports.length`, kind: jsruntime.KindNoHandler, status: 400, message: "one of the following signatures"},
		"no fetch":        {code: `exports.default = { get() {} }`, kind: jsruntime.KindNoHandler, status: 400, message: "fetch(request, env, ctx)"},
		"no default":      {code: `exports.default; exports.fetch = () => 1`, kind: jsruntime.KindNoHandler, status: 400, message: "default export"},
		"load throws":     {code: "\n  throw new TypeError('boom')", kind: jsruntime.KindLoad, status: 400, message: "boom", at: "hello.js:2:9"},
		"load rejects":    {code: `Promise.reject(new Error("boom")); module.exports = cb => cb()`, kind: jsruntime.KindLoad, status: 400, message: "boom"},
		"load waits":      {code: `setTimeout(() => {}, 1); module.exports = cb => cb()`, kind: jsruntime.KindLoad, status: 400, message: "move it into the handler"},
		"missing module":  {code: `require("left-pad")`, kind: jsruntime.KindLoad, status: 400, message: "Cannot find module 'left-pad'"},
		"sync throw":      {code: "module.exports = cb => {\n  null.x }", kind: jsruntime.KindSync, status: 500, message: "Cannot read property", at: "hello.js:2:"},
		"throws string":   {code: `module.exports = cb => { throw "str" }`, kind: jsruntime.KindSync, status: 500, message: "str", details: `"str"`},
		"throws null":     {code: `module.exports = cb => { throw null }`, kind: jsruntime.KindSync, status: 500, message: "null"},
		"throws hostile":  {code: `module.exports = cb => { throw {get message() { throw 1 }, get stack() { throw 2 }, toString() { throw 3 }} }`, kind: jsruntime.KindSync, status: 500},
		"throws proxy":    {code: `module.exports = cb => { throw new Proxy({}, {get() { throw 1 }, ownKeys() { throw 2 }}) }`, kind: jsruntime.KindSync, status: 500},
		"async throw":     {code: `module.exports = cb => setTimeout(() => { throw new RangeError("late") }, 1)`, kind: jsruntime.KindAsync, status: 500, message: "late", details: `"RangeError: late"`},
		"rejects":         {code: `exports.default = async () => { throw new Error("no") }`, kind: jsruntime.KindAsync, status: 500, message: "no"},
		"rejects late":    {code: `exports.default = async () => { await gate.x; await new Promise(r => setTimeout(r, 1)); throw new Error("no") }`, kind: jsruntime.KindAsync, status: 500, message: "no"},
		"unhandled":       {code: `module.exports = cb => { Promise.reject(new Error("lost")); setTimeout(cb, 50) }`, kind: jsruntime.KindAsync, status: 500, message: "lost"},
		"cb(err)":         {code: `module.exports = cb => cb(new Error("bad"))`, kind: jsruntime.KindCallback, status: 400, message: "bad", details: `"Error: bad"`},
		"cb(statusCode)":  {code: `module.exports = cb => cb(Object.assign(new Error("gone"), {statusCode: 410}))`, kind: jsruntime.KindCallback, status: 410, message: "gone"},
		"cb(bad status)":  {code: `module.exports = cb => cb(Object.assign(new Error("x"), {statusCode: 200}))`, kind: jsruntime.KindCallback, status: 400, message: "x"},
		"cb(string)":      {code: `module.exports = cb => cb("str")`, kind: jsruntime.KindCallback, status: 400, details: `"str"`},
		"cb(object)":      {code: `module.exports = cb => cb({a: 1, message: "m"})`, kind: jsruntime.KindCallback, status: 400, message: "m", details: `{"a":1,"message":"m"}`},
		"result cycle":    {code: `module.exports = cb => { const a = {}; a.a = a; cb(null, a) }`, kind: jsruntime.KindResult, status: 400, message: "circular"},
		"result BigInt":   {code: `module.exports = cb => cb(null, 1n)`, kind: jsruntime.KindResult, status: 400, message: "BigInt"},
		"result function": {code: `module.exports = cb => cb(null, () => 1)`, kind: jsruntime.KindResult, status: 400, message: "no JSON form"},
		"result toJSON":   {code: `module.exports = cb => cb(null, {toJSON() { throw new Error("nope") }})`, kind: jsruntime.KindResult, status: 400, message: "nope"},
		"nonsense":        {code: `exports.default = () => 7`, kind: jsruntime.KindResult, status: 500},
		"never cb":        {code: `module.exports = cb => {}`, kind: jsruntime.KindNoAnswer, status: 504, message: "never called"},
		"never settles":   {code: `exports.default = () => new Promise(() => {})`, kind: jsruntime.KindNoAnswer, status: 504, message: "never settled"},
		"never ends":      {code: `module.exports = (ctx, req, res) => {}`, kind: jsruntime.KindNoAnswer, status: 504, message: "res.end()"},
		"recursion":       {code: `module.exports = cb => { (function f() { f() })() }`, kind: jsruntime.KindSync, status: 500, message: "Maximum call stack size exceeded"},
		"load recursion":  {code: `(function f() { f() })()`, kind: jsruntime.KindLoad, status: 400, message: "Maximum call stack size exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, jsruntime.Options{})
			spec := b.spec(test.code, jsruntime.SpecOptions{})
			// Twice, since the first must leave the pool whole.
			for range 2 {
				failure := fails[*jsruntime.ScriptError](b, spec, request(newHost()))
				if failure.Kind != test.kind || failure.Status != test.status || !strings.Contains(failure.Message, test.message) {
					t.Errorf("got %s %d %q (%s), want %s %d %q", failure.Kind, failure.Status, failure.Message, failure.Details, test.kind, test.status, test.message)
				}
				if test.details != "" {
					if got, _ := json.Marshal(failure.Details); string(got) != test.details {
						t.Errorf("details %s, want %s", got, test.details)
					}
				}
				if !strings.Contains(failure.Stack, test.at) || (test.at != "" && !strings.Contains(failure.Frame, "^")) {
					t.Errorf("stack %q and frame %q do not name %s", failure.Stack, failure.Frame, test.at)
				}
			}
			for _, stats := range b.engine.Stats() {
				if stats.Busy != 0 || stats.Queued != 0 {
					t.Errorf("pool is left with %+v", stats)
				}
			}
		})
	}
}

func TestSecondCallbackIsIgnoredAndLogged(t *testing.T) {
	b := newBench(t, jsruntime.Options{})
	host := newHost()
	got, _ := b.do(b.spec(`module.exports = cb => { cb(null, 1); cb(null, 2); cb(new Error("x")) }`, jsruntime.SpecOptions{}), request(host))
	if got != "1" || len(host.messages()) != 2 || !strings.Contains(host.messages()[0], "called again") {
		t.Errorf("answered %s, logged %q", got, host.messages())
	}
}

func TestStaleObjectsReachNoOtherRequest(t *testing.T) {
	b := newBench(t, jsruntime.Options{})
	spec := b.spec(`let old, oldDone; module.exports = (ctx, cb) => {
		if (!old) { old = ctx; oldDone = cb; return cb(null, "first") }
		let seen; try { seen = old.session } catch (e) { seen = e.message }
		oldDone(null, "stolen");
		cb(null, [seen, ctx.id]) }`, jsruntime.SpecOptions{})
	b.do(spec, request(newHost()))
	second := request(newHost())
	second.ID = "r2"
	if got, _ := b.do(spec, second); got != `["the request of this ctx has ended, so ctx.session is gone","r2"]` {
		t.Errorf("got %s", got)
	}
}

func TestBodies(t *testing.T) {
	echo := `module.exports = (ctx, cb) => cb(null, [ctx.body === undefined ? null : ctx.body, ctx.body_raw === undefined ? null : ctx.body_raw, ctx.data.KEY || null, ctx.data.extra || null])`
	const asJSON, asForm = "application/json; charset=utf-8", "application/x-www-form-urlencoded"
	for name, test := range map[string]struct {
		code, contentType, body, want string
		parse                         webtask.ParseBody
		merge, force                  bool
	}{
		"json":        {echo, asJSON, `{"x":[1]}`, `[{"x":[1]},"{\"x\":[1]}","s",null]`, webtask.ParseBodyByArity, false, false},
		"form":        {echo, asForm, `x=1&x=2&y=a+b`, `[{"x":["1","2"],"y":"a b"},"x=1&x=2&y=a+b","s",null]`, webtask.ParseBodyByArity, false, false},
		"bad json":    {echo, asJSON, `{"x":`, `[null,"{\"x\":","s",null]`, webtask.ParseBodyByArity, false, false},
		"deep json":   {echo, asJSON, strings.Repeat("[", 100_000), `[null,"` + strings.Repeat("[", 100_000) + `","s",null]`, webtask.ParseBodyByArity, false, false},
		"text":        {echo, "text/plain", `hi`, `[null,"hi","s",null]`, webtask.ParseBodyByArity, false, false},
		"never":       {echo, asJSON, `{}`, `[null,null,"s",null]`, webtask.ParseBodyNever, false, false},
		"forced":      {echo, asJSON, `{}`, `[{},"{}","s",null]`, webtask.ParseBodyNever, false, true},
		"merged":      {echo, asJSON, `{"KEY":"shadow","extra":"e"}`, `[{"KEY":"shadow","extra":"e"},"{\"KEY\":\"shadow\",\"extra\":\"e\"}","s","e"]`, webtask.ParseBodyByArity, true, false},
		"proto":       {echo, asForm, `__proto__=x`, `[{"__proto__":"x"},"__proto__=x","s",null]`, webtask.ParseBodyByArity, true, false},
		"node":        {`module.exports = (ctx, req, res) => { res.writeHead(200); res.write(req.read() + (ctx.body === undefined)); res.end() }`, asJSON, `{}`, `{}true`, webtask.ParseBodyByArity, false, false},
		"node parsed": {`module.exports = (ctx, req, res) => { res.writeHead(200); res.write(req.read() + ctx.body.x); res.end() }`, asJSON, `{"x":1}`, `{"x":1}1`, webtask.ParseBodyAlways, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, jsruntime.Options{})
			spec := b.spec(test.code, jsruntime.SpecOptions{ParseBody: test.parse, MergeBody: test.merge, Secrets: map[string]string{"KEY": "s"}})
			for range 2 { // before and after the model is known
				req := request(newHost())
				req.Header = http.Header{"Content-Type": {test.contentType}}
				req.Body, req.Length, req.ForceParseBody = io.NopCloser(strings.NewReader(test.body)), -1, test.force
				if got, _ := b.do(spec, req); got != test.want {
					t.Errorf("got %.200s, want %.200s", got, test.want)
				}
			}
		})
	}
}

func TestBodyTooLarge(t *testing.T) {
	b := newBench(t, jsruntime.Options{})
	spec := b.spec(`module.exports = (ctx, cb) => cb(null, ctx.body_raw)`, jsruntime.SpecOptions{
		ParseBody: webtask.ParseBodyByArity, Limits: webtask.Limits{RequestBody: 4},
	})
	for _, length := range []int64{5, -1} {
		req := request(newHost())
		req.Body, req.Length = strings.NewReader("12345"), length
		failure := fails[*jsruntime.LimitError](b, spec, req)
		if failure.Limit != "request_body" || failure.Status != 413 || failure.Value != "4 B" {
			t.Errorf("got %+v", failure)
		}
	}
	req := request(newHost())
	req.Body, req.Length = strings.NewReader("1234"), -1
	if got, _ := b.do(spec, req); got != `"1234"` {
		t.Errorf("got %s", got)
	}
}

// A handler of one parameter is given the callback, whatever it takes it for.
func TestHintOfOneParameter(t *testing.T) {
	const none = jsruntime.LogLevel(-1)
	for code, level := range map[string]jsruntime.LogLevel{
		`module.exports = async ctx => "hello " + typeof ctx`:               jsruntime.LogInfo,
		`module.exports = async ctx => ctx.query.name`:                      jsruntime.LogWarn,
		`module.exports = async cb => cb(null, 1)`:                          none,
		`module.exports = async cb => { setTimeout(() => cb(null, 1), 1) }`: none,
		`module.exports = async (ctx, cb) => 1`:                             none,
		`module.exports = cb => cb(null, 1)`:                                none,
	} {
		b := newBench(t, jsruntime.Options{})
		spec := b.spec(code, jsruntime.SpecOptions{})
		h := newHost()
		for range 2 {
			_, _ = b.engine.Do(context.Background(), spec, request(h)) // what is answered is tested above
		}
		var hints []jsruntime.LogEntry
		for _, entry := range h.logs {
			if strings.Contains(entry.Message, "async (ctx, cb)") {
				hints = append(hints, entry)
			}
		}
		switch {
		case level == none && len(hints) > 0, level != none && (len(hints) != 1 || hints[0].Level != level):
			t.Errorf("%s gives the hints %v", code, hints)
		}
	}
}

// An answer leaves at the end of its turn: until then the request can fail.
func TestRejectionAfterTheAnswer(t *testing.T) {
	b := newBench(t, jsruntime.Options{})
	same := b.spec(`module.exports = cb => { cb(null, 1); Promise.reject(new Error("forgotten")) }`, jsruntime.SpecOptions{})
	if failure := fails[*jsruntime.ScriptError](b, same, request(newHost())); failure.Status != 500 || failure.Message != "forgotten" {
		t.Errorf("in the same turn: %v", failure)
	}
	h := newHost()
	later := b.spec(`module.exports = (ctx, cb) => { ctx.waitUntil(new Promise(() => setTimeout(() => Promise.reject(new Error("forgotten")), 1))); cb(null, 1) }`, jsruntime.SpecOptions{Limits: webtask.Limits{WaitUntil: time.Minute}})
	if got, _ := b.do(later, request(h)); got != "1" {
		t.Errorf("in a later turn: %s", got)
	}
	<-h.logged
	if got := h.messages(); len(got) != 1 || !strings.Contains(got[0], "forgotten") {
		t.Errorf("in a later turn it logs %q", got)
	}
}
