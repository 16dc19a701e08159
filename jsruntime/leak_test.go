package jsruntime_test

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

// ofGo is what a script must never see: addresses, and names of Go's.
var ofGo = regexp.MustCompile(`0x[0-9a-f]{6,}|\bgoja\.|jsruntime|webapi\.|nodeapi\.|\bjson\.|reflect\.|github\.com|%!`)

//go:embed testdata/leaks.js
var leaksSource string

// TestNoGoInTexts calls everything that a script can find with values that it
// does not expect, and looks at all texts that come out.
func TestNoGoInTexts(t *testing.T) {
	b := newRealBench(t, jsruntime.Options{})
	defer b.engine.Close(context.Background())
	for name, code := range map[string]string{
		"node":     `module.exports = (ctx, req, res) => res.end(JSON.stringify(search({ globalThis, ctx, req, res, require, module }, +req.query.from, +req.query.to)))`,
		"callback": `module.exports = (ctx, cb) => cb(null, search({ ctx: { ...ctx }, cb, session: ctx.session }, +ctx.query.from, +ctx.query.to))`,
	} {
		t.Run(name, func(t *testing.T) {
			s := &leakSearch{t: t, bench: b, spec: b.spec(leaksSource+code, jsruntime.SpecOptions{Limits: webtask.Limits{
				Timeout: time.Hour, CPUTime: time.Hour, ResponseBody: 64 << 20, Timers: 1000,
			}})}
			s.run(0, 1)
			for from := 0; from < s.tasks; from += 100 {
				s.run(from, min(from+100, s.tasks))
			}
			if s.tasks < 100 || s.texts < 1000 || s.defects > s.tasks/10 {
				t.Errorf("%d tasks gave %d texts; %d ended the script", s.tasks, s.texts, s.defects)
			}
		})
	}
}

// leakSearch does the tasks of leaks.js.
type leakSearch struct {
	t                     *testing.T
	bench                 *bench
	spec                  *jsruntime.Spec
	tasks, texts, defects int
}

// run does some of the tasks, without those that a defect of the engine ends.
func (s *leakSearch) run(from, to int) {
	if from >= to {
		return
	}
	h := &fakeHost{logged: make(chan struct{}, 1<<20)}
	req := request(h)
	req.URL = fmt.Sprintf("https://example.com/?from=%d&to=%d", from, to)
	resp, err := s.bench.engine.Do(context.Background(), s.spec, req)
	if err != nil {
		if ofGo.MatchString(err.Error()) {
			s.t.Errorf("a task fails with %v", err)
		}
		last := from
		for _, entry := range h.logs {
			_, _ = fmt.Sscanf(entry.Message, "task %d", &last) // others log too
		}
		s.defects++
		s.run(from, last)
		s.run(last+1, to)
		return
	}
	var found struct {
		Texts map[string]string
		Tasks int
	}
	if err := json.Unmarshal(resp.Bytes, &found); err != nil {
		s.t.Fatal(err)
	}
	s.tasks, s.texts = found.Tasks, s.texts+len(found.Texts)
	for text, from := range found.Texts {
		if ofGo.MatchString(text) {
			s.t.Errorf("%s gives %.300q", from, text)
		}
	}
}

// TestNoGoInAnswers fails requests with values that cannot be converted.
func TestNoGoInAnswers(t *testing.T) {
	b := newRealBench(t, jsruntime.Options{})
	defer b.engine.Close(context.Background())
	for _, value := range []string{
		`Object.create(null)`, `{ toString: null, valueOf: null }`, `Symbol("s")`, `new Proxy({}, { get() { throw Object.create(null) } })`,
		`new TypeError(Symbol.iterator.description)`, `{ toJSON() { return "" + Object.create(null) } }`, `{ message: Object.create(null) }`, `10n`,
	} {
		for _, code := range []string{
			`module.exports = cb => { throw VALUE }`, `module.exports = cb => cb(VALUE)`, `module.exports = cb => cb(null, VALUE)`,
			`module.exports = async cb => "" + VALUE`, `module.exports = cb => Promise.reject(VALUE)`, `throw VALUE`, `"" + VALUE`,
			`module.exports = (ctx, req, res) => res.end(VALUE)`, `module.exports = (ctx, req, res) => { res.setHeader(VALUE, VALUE); res.end() }`,
			`module.exports = (ctx, req, res) => { console.log(VALUE, "%s %d", VALUE); res.statusCode = VALUE; res.end() }`, `module.exports = VALUE`,
			`module.exports = (ctx, cb) => ctx.session.set("a", VALUE).then(() => cb(), cb)`,
			`module.exports = (ctx, cb) => fetch(VALUE).then(() => cb(), cb)`,
		} {
			h := &fakeHost{logged: make(chan struct{}, 1<<20)}
			_, err := b.engine.Do(context.Background(), b.spec(strings.ReplaceAll(code, "VALUE", "("+value+")"), jsruntime.SpecOptions{}), request(h))
			var failure *jsruntime.ScriptError
			if errors.As(err, &failure) {
				text, _ := json.Marshal(failure)
				if ofGo.Match(text) || ofGo.MatchString(err.Error()) {
					t.Errorf("%s with %s fails with\n%s", code, value, text)
				}
			} else if err != nil {
				t.Errorf("%s with %s: %v", code, value, err)
			}
			for _, entry := range h.logs {
				if ofGo.MatchString(entry.Message + entry.Stack) {
					t.Errorf("%s with %s logs\n%s\n%s", code, value, entry.Message, entry.Stack)
				}
			}
		}
	}
}
