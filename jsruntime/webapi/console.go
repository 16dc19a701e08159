package webapi

import (
	"strings"
	"time"

	"github.com/dop251/goja"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
)

// console is the state of the global console (Console Standard). It lives as
// long as its isolate, so its counters and timers go on over requests.
type console struct {
	counts map[string]int
	timers map[string]time.Time
	indent int
}

// maxLabels bounds the labels of count and time that an isolate remembers.
const maxLabels = 1000

// newConsole returns the namespace object. Its methods are made as they are
// first looked up: most scripts use one or two.
func (r *realm) newConsole() goja.Value {
	r.console = &console{counts: make(map[string]int), timers: make(map[string]time.Time)}
	pending := &pendingMethods{r: r, methods: make(map[string]method, len(consoleMethods))}
	for _, m := range consoleMethods {
		pending.methods[m.name] = m
	}
	o := r.rt.CreateObject(r.rt.NewDynamicObject(pending))
	pending.target = o
	r.must(o.DefineDataPropertySymbol(goja.SymToStringTag, r.rt.ToValue("console"), goja.FLAG_FALSE, goja.FLAG_TRUE, goja.FLAG_FALSE))
	return o
}

var consoleMethods = []method{
	{"log", 0, printing(jsruntime.LogInfo)},
	{"info", 0, printing(jsruntime.LogInfo)},
	{"debug", 0, printing(jsruntime.LogDebug)},
	{"warn", 0, printing(jsruntime.LogWarn)},
	{"error", 0, printing(jsruntime.LogError)},
	{"trace", 0, consoleTrace},
	{"assert", 0, consoleAssert},
	{"dir", 0, consoleDir},
	{"dirxml", 0, consoleDir},
	{"table", 0, consoleDir},
	{"clear", 0, consoleClear},
	{"count", 0, consoleCount},
	{"countReset", 0, consoleCountReset},
	{"group", 0, consoleGroup},
	{"groupCollapsed", 0, consoleGroup},
	{"groupEnd", 0, consoleGroupEnd},
	{"time", 0, consoleTime},
	{"timeLog", 0, consoleTimeLog},
	{"timeEnd", 0, consoleTimeEnd},
}

func printing(level jsruntime.LogLevel) func(*realm, goja.FunctionCall) goja.Value {
	return func(r *realm, call goja.FunctionCall) goja.Value {
		r.print(level, call.Arguments)
		return undefined()
	}
}

// print is "Logger" with "Formatter" and "Printer": one line for the log.
func (r *realm) print(level jsruntime.LogLevel, args []goja.Value) {
	if len(args) == 0 {
		return
	}
	p := &printer{r: r}
	p.indent(r.console.indent)
	p.format(args)
	r.iso.Log(level, escapeControls(p.String()), p.stack)
}

func (r *realm) say(level jsruntime.LogLevel, text string) {
	r.iso.Log(level, strings.Repeat("  ", r.console.indent)+escapeControls(text), "")
}

func consoleTrace(r *realm, call goja.FunctionCall) goja.Value {
	p := &printer{r: r}
	p.indent(r.console.indent)
	p.WriteString("Trace: ")
	p.format(call.Arguments)
	stack := r.rt.NewTypeError("").Get("stack").String()
	r.iso.Log(jsruntime.LogInfo, escapeControls(p.String()), strings.TrimPrefix(afterFirstLine(stack), "\n"))
	return undefined()
}

func consoleAssert(r *realm, call goja.FunctionCall) goja.Value {
	if call.Argument(0).ToBoolean() {
		return undefined()
	}
	p := &printer{r: r}
	p.indent(r.console.indent)
	p.WriteString("Assertion failed")
	if len(call.Arguments) > 1 {
		p.WriteString(": ")
		p.format(call.Arguments[1:])
	}
	r.iso.Log(jsruntime.LogError, escapeControls(p.String()), p.stack)
	return undefined()
}

// consoleDir prints values without format specifiers; a log line has no room
// for the rows of table.
func consoleDir(r *realm, call goja.FunctionCall) goja.Value {
	if len(call.Arguments) == 0 {
		return undefined()
	}
	p := &printer{r: r}
	p.indent(r.console.indent)
	p.inspect(call.Arguments[0], 0)
	r.iso.Log(jsruntime.LogInfo, escapeControls(p.String()), p.stack)
	return undefined()
}

func consoleClear(r *realm, _ goja.FunctionCall) goja.Value {
	r.console.indent = 0
	return undefined()
}

func (r *realm) label(call goja.FunctionCall) string {
	if v := call.Argument(0); !goja.IsUndefined(v) {
		return r.toString(v)
	}
	return "default"
}

func consoleCount(r *realm, call goja.FunctionCall) goja.Value {
	label := r.label(call)
	if _, ok := r.console.counts[label]; ok || len(r.console.counts) < maxLabels {
		r.console.counts[label]++
	}
	r.say(jsruntime.LogInfo, label+": "+r.rt.ToValue(r.console.counts[label]).String())
	return undefined()
}

func consoleCountReset(r *realm, call goja.FunctionCall) goja.Value {
	label := r.label(call)
	if _, ok := r.console.counts[label]; !ok {
		r.say(jsruntime.LogWarn, "Count for '"+label+"' does not exist")
		return undefined()
	}
	delete(r.console.counts, label)
	return undefined()
}

// maxIndent bounds the nesting of groups that is shown.
const maxIndent = 40

func consoleGroup(r *realm, call goja.FunctionCall) goja.Value {
	r.print(jsruntime.LogInfo, call.Arguments)
	r.console.indent = min(r.console.indent+1, maxIndent)
	return undefined()
}

func consoleGroupEnd(r *realm, _ goja.FunctionCall) goja.Value {
	r.console.indent = max(r.console.indent-1, 0)
	return undefined()
}

func consoleTime(r *realm, call goja.FunctionCall) goja.Value {
	label := r.label(call)
	if _, ok := r.console.timers[label]; ok {
		r.say(jsruntime.LogWarn, "Timer '"+label+"' already exists")
	} else if len(r.console.timers) < maxLabels {
		r.console.timers[label] = r.platform.now()
	}
	return undefined()
}

func consoleTimeLog(r *realm, call goja.FunctionCall) goja.Value {
	r.logTimer(call)
	return undefined()
}

func consoleTimeEnd(r *realm, call goja.FunctionCall) goja.Value {
	r.logTimer(call)
	delete(r.console.timers, r.label(call))
	return undefined()
}

func (r *realm) logTimer(call goja.FunctionCall) {
	label := r.label(call)
	start, ok := r.console.timers[label]
	if !ok {
		r.say(jsruntime.LogWarn, "Timer '"+label+"' does not exist")
		return
	}
	p := &printer{r: r}
	p.indent(r.console.indent)
	p.WriteString(label + ": " + r.platform.now().Sub(start).String())
	for _, v := range call.Arguments[min(1, len(call.Arguments)):] {
		p.WriteByte(' ')
		p.inspect(v, 0)
	}
	r.iso.Log(jsruntime.LogInfo, escapeControls(p.String()), p.stack)
}
