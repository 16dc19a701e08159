package webapi

import "github.com/dop251/goja"

// promise is a promise that the platform settles.
type promise struct {
	goja.Value
	r       *realm
	state   *goja.Promise
	settled bool
	res     func(any) error
	rej     func(any) error
}

func (r *realm) newPromise() *promise {
	p, resolve, reject := r.rt.NewPromise()
	return &promise{Value: r.rt.ToValue(p), r: r, state: p, res: resolve, rej: reject}
}

// resolve settles the promise. Errors of it are interrupts, which end the
// request.
func (p *promise) resolve(v goja.Value) {
	p.settled = true
	p.r.iso.Uncaught(p.res(v))
}

func (p *promise) reject(reason goja.Value) {
	p.settled = true
	p.r.iso.Uncaught(p.rej(reason))
}

// resolved returns a promise that is resolved with v.
func (r *realm) resolved(v goja.Value) goja.Value {
	p := r.newPromise()
	p.resolve(v)
	return p.Value
}

// rejected returns a promise that is rejected with reason.
func (r *realm) rejected(reason goja.Value) goja.Value {
	p := r.newPromise()
	p.reject(reason)
	return p.Value
}

// markHandled keeps a rejection of the promise from being reported.
func (p *promise) markHandled() { p.r.iso.Track(p.state) }

// awaitProgram waits by syntax: neither Promise.prototype.then nor anything
// else that scripts can replace is looked up on a promise of the language.
var awaitProgram = compiled("await", `(async (value, done) => {
	let result, rejected = false;
	try { result = await value; } catch (reason) { result = reason; rejected = true; }
	done(result, rejected);
})`)

// await calls done, in a microtask at the earliest, with the outcome of v: of a
// promise or thenable, or v itself. What done throws is uncaught.
func (r *realm) await(v goja.Value, done func(result goja.Value, rejected bool)) {
	if r.awaiter == nil {
		r.awaiter, _ = goja.AssertFunction(r.run(awaitProgram))
	}
	_, err := r.awaiter(goja.Undefined(), v, r.callback(func(call goja.FunctionCall) goja.Value {
		done(call.Argument(0), call.Argument(1).ToBoolean())
		return goja.Undefined()
	}))
	r.iso.Uncaught(err)
}

// attempt runs f, which calls code of the author, and returns what it threw.
func (r *realm) attempt(f func() goja.Value) (result, thrown goja.Value) {
	result = goja.Undefined()
	if exception := r.rt.Try(func() { result = f() }); exception != nil {
		return nil, exception.Value()
	}
	return result, nil
}

// invoke calls a function of the author's from within a platform function;
// exceptions pass through.
func invoke(f goja.Callable, this goja.Value, args ...goja.Value) goja.Value {
	v, err := f(this, args...)
	if err != nil {
		panic(err)
	}
	return v
}
