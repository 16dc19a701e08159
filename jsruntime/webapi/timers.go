package webapi

import (
	"math"
	"time"

	"github.com/dop251/goja"
)

// maxDelay is the longest delay: a signed 32-bit number of milliseconds. A
// longer one is treated as none, as in browsers and Node.js.
const maxDelay = math.MaxInt32

func setTimeout(r *realm, call goja.FunctionCall) goja.Value { return r.setTimer(call, false) }

func setInterval(r *realm, call goja.FunctionCall) goja.Value { return r.setTimer(call, true) }

// setTimer is HTML §8.6; a string is no handler here.
func (r *realm) setTimer(call goja.FunctionCall, repeat bool) goja.Value {
	handler, ok := goja.AssertFunction(call.Argument(0))
	if !ok {
		panic(r.rt.NewTypeError("setTimeout and setInterval take a function, not %s", describe(call.Argument(0))))
	}
	delay := r.toDelay(call.Argument(1))
	if repeat {
		delay = max(delay, time.Millisecond)
	}
	var args []goja.Value
	if len(call.Arguments) > 2 {
		args = append(args, call.Arguments[2:]...) // goja reuses the slice
	}
	id := r.iso.SetTimer(delay, repeat, func() {
		_, err := handler(goja.Undefined(), args...)
		r.iso.Uncaught(err)
	})
	return r.rt.ToValue(id)
}

func (r *realm) toDelay(v goja.Value) time.Duration {
	ms := r.toNumber(v)
	if !(ms >= 0 && ms <= maxDelay) {
		return 0
	}
	return time.Duration(math.Trunc(ms)) * time.Millisecond
}

func clearTimer(r *realm, call goja.FunctionCall) goja.Value {
	if v := call.Argument(0); goja.IsNumber(v) {
		r.iso.ClearTimer(int(v.ToInteger()))
	}
	return undefined()
}

func queueMicrotask(r *realm, call goja.FunctionCall) goja.Value {
	f, ok := goja.AssertFunction(call.Argument(0))
	if !ok {
		panic(r.rt.NewTypeError("queueMicrotask takes a function, not %s", describe(call.Argument(0))))
	}
	r.await(undefined(), func(goja.Value, bool) { invoke(f, undefined()) })
	return undefined()
}

// describe names the kind of a value for error messages, without running code
// of the author.
func describe(v goja.Value) string {
	switch o := v.(type) {
	case nil:
		return "undefined"
	case *goja.Object:
		if _, ok := goja.AssertFunction(o); ok {
			return "a function"
		}
		return "an object"
	case *goja.Symbol:
		return "a symbol"
	default:
		if goja.IsString(v) {
			return "a string"
		}
		if goja.IsNumber(v) {
			return "a number"
		}
		return v.String()
	}
}
