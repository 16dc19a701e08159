package nodeapi_test

import "testing"

// TestNothingShared runs two requests in one isolate. What the first one does
// to what it can reach, the language's own methods included, must not show in
// the second.
func TestNothingShared(t *testing.T) {
	for name, test := range map[string]struct{ first, second, want string }{
		"the state of an exchange": {
			`res._exchange.headers.set('x', ['x', 'leaked', ['leaked']])`,
			`res.getHeader('x')`, "undefined",
		},
		"what the states inherit": {
			`Object.getPrototypeOf(res._exchange).phase = 4`,
			`res.writableEnded`, "false",
		},
		"the headers of none": {
			`const get = Map.prototype.get; Map.prototype.get = function (k) { Map.prototype.get = get; this.set('x', ['x', 'leaked', ['leaked']]) }; res.getHeader('y'); Map.prototype.get = get`,
			`res.getHeader('x')`, "undefined",
		},
		"the queue of none": {
			`const map = Array.prototype.map; try { Array.prototype.map = function () { this.push('leaked'); return [] }; req.setEncoding('utf8') } finally { Array.prototype.map = map }`,
			`req.read()`, "null",
		},
		"the pipes of none": {
			`const filter = Array.prototype.filter; try { Array.prototype.filter = function () { this.push({ leaked: 1 }); return [] }; req.unpipe() } finally { Array.prototype.filter = filter }`,
			`(req.unpipe(), 'nothing is piped')`, "nothing is piped",
		},
		"headers read from the prototype": {
			`void Object.getPrototypeOf(req).headers`,
			`req.headers.host`, "b.example",
		},
		"all that is read from the prototype": {
			`for (const name of ['rawHeaders', 'trailers', 'query', 'x_wt', 'socket']) void Object.create(Object.getPrototypeOf(req))[name], Object.getPrototypeOf(req)[name]`,
			`[req.rawHeaders.length, req.query.q, req.x_wt.container, req.socket.remoteAddress]`, "2,2,acme,192.0.2.1",
		},
		"a method of the response": {
			`const end = res.end; res.end = function (s) { return end.call(this, 'patched ' + s) }`,
			`Object.hasOwn(res, 'end')`, "false",
		},
	} {
		t.Run(name, func(t *testing.T) {
			tk := newTask(t, `let got; if (kept.again) { got = `+test.second+` } else { kept.again = true; try { `+test.first+` } catch (e) {} } res.end(String(got))`)
			if _, _, err := tk.do(request("GET", "https://a.example/?q=1", "")); err != nil {
				t.Fatal(err)
			}
			if _, got, err := tk.do(request("GET", "https://b.example/?q=2", "")); err != nil || got != test.want {
				t.Errorf("the second request sees %q, %v, not %q", got, err, test.want)
			}
		})
	}
}

// TestInternalsOutOfReach looks at all that req and res have, and inherit.
func TestInternalsOutOfReach(t *testing.T) {
	_, got := answer(t, `
		const found = [];
		for (const start of [req, res]) for (let o = start; o && o !== Object.prototype; o = Object.getPrototypeOf(o)) {
			for (const key of Reflect.ownKeys(o)) {
				const { value } = Object.getOwnPropertyDescriptor(o, key);
				if (value && typeof value === 'object' && ('phase' in value || 'queue' in value)) found.push(String(key));
			}
		}
		const handle = Object.getOwnPropertyDescriptor(res, '_exchange');
		found.push(handle.writable, handle.configurable, handle.enumerable, res._exchange === req._exchange, res._exchange === undefined);
		res.end(found.join())`, "")
	if want := "false,false,false,true,false"; got != want {
		t.Errorf("found %s, not %s", got, want)
	}
}

// TestWrappedResponse answers through what libraries make of a response.
func TestWrappedResponse(t *testing.T) {
	for name, code := range map[string]string{
		"an object that inherits":  `const wrapped = Object.create(res); wrapped.setHeader('a', 'b'); wrapped.end(String(wrapped.getHeader('a')))`,
		"a proxy":                  `const wrapped = new Proxy(res, {}); wrapped.setHeader('a', 'b'); wrapped.end(String(wrapped.getHeader('a')))`,
		"patched methods":          `const end = res.end, set = res.setHeader; res.setHeader = function (n, v) { return set.call(this, n, 'b') }; res.end = function (s) { end.call(this, s) }; res.setHeader('a', 'x'); res.end(res.getHeader('a'))`,
		"a patched prototype":      `const proto = Object.getPrototypeOf(res), end = proto.end; proto.end = function (s) { return end.call(this, s + 'b') }; res.end('')`,
		"a prototype of their own": `Object.setPrototypeOf(res, Object.create(Object.getPrototypeOf(res), { send: { value(s) { this.end(s) } } })); res.send('b')`,
	} {
		t.Run(name, func(t *testing.T) {
			if _, got := answer(t, code, ""); got != "b" {
				t.Errorf("answer is %q", got)
			}
		})
	}
}
