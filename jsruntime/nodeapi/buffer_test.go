package nodeapi_test

import "testing"

// TestJavaScript evaluates expressions in a handler; want is the JSON of each.
func TestJavaScript(t *testing.T) {
	for expression, want := range map[string]string{
		// Buffer
		`Buffer.from('héllo').toString()`:                                                                                                                 `"héllo"`,
		`Buffer.from('héllo').toString('hex')`:                                                                                                            `"68c3a96c6c6f"`,
		`Buffer.from('68c3a9zz', 'hex').toString('base64')`:                                                                                               `"aMOp"`,
		`Buffer.from('_-8', 'base64').toString('base64url') + Buffer.from([255, 239]).toString('base64')`:                                                 `"_-8/+8="`,
		`Buffer.from('a-_b c=', 'base64url').length`:                                                                                                      `3`,
		`Buffer.from('é', 'latin1').length + Buffer.from([233]).toString('binary')`:                                                                       `"1é"`,
		`Buffer.from('a€', 'utf16le').toString('hex') + Buffer.from('6100', 'hex').toString('ucs2')`:                                                      `"6100ac20a"`,
		`Buffer.from([255, 97]).toString()`:                                                                                                               `"�a"`,
		`Buffer.concat([Buffer.from('ab'), new Uint8Array([99])]).toString()`:                                                                             `"abc"`,
		`Buffer.concat([Buffer.from('abc'), Buffer.from('def')], 4).toString()`:                                                                           `"abcd"`,
		`[Buffer.isBuffer(Buffer.alloc(1)), Buffer.isBuffer(new Uint8Array(1)), Buffer.alloc(2) instanceof Uint8Array]`:                                   `[true,false,true]`,
		`[...Buffer.alloc(3, 'ab'), ...Buffer.alloc(2, 7)]`:                                                                                               `[97,98,97,7,7]`,
		`[Buffer.byteLength('é'), Buffer.byteLength('aa', 'hex'), Buffer.isEncoding('UTF-8')]`:                                                            `[2,1,true]`,
		`(() => { const b = Buffer.from('abcd'), s = b.slice(1, 3); s[0] = 120; return [b.toString(), Buffer.isBuffer(s), b.toString('utf8', 1, 3)] })()`: `["axcd",true,"xc"]`,
		`[Buffer.from('a').equals(Buffer.from('a')), Buffer.from('a').compare(Buffer.from('b')), Buffer.compare(Buffer.from('b'), Buffer.from('a'))]`:     `[true,-1,1]`,
		`JSON.stringify(Buffer.from('a')) + Buffer.from(JSON.parse(JSON.stringify(Buffer.from('xy')))).toString()`:                                        `"{\"type\":\"Buffer\",\"data\":[97]}xy"`,
		`(() => { const b = Buffer.alloc(5); return [b.write('é', 1), b.write('long text', 3), b.toString('hex'), b.copy(Buffer.alloc(2), 0, 1)] })()`:    `[2,2,"00c3a96c6f",2]`,
		`Buffer.from(new Uint8Array([1, 2]).buffer, 1).length`:                                                                                            `1`,
		`(() => { globalThis.Buffer = 5; return Buffer })()`:                                                                                              `5`,
		`Object.keys(globalThis).includes('Buffer')`:                                                                                                      `false`,
		// whose memory was transferred
		`(() => { const b = new Buffer(new ArrayBuffer(65536), 8), seen = []; structuredClone(1, { transfer: [b.buffer] }); for (const f of [() => b.toString('hex'), () => Buffer.from(b).length, () => res.write(b)]) { try { seen.push(f()) } catch (e) { seen.push(e.name) } } return seen })()`: `["","TypeError","TypeError"]`,
		// EventEmitter, by way of req
		`(() => { const seen = []; req.on('x', (a, b) => seen.push(a + b)).once('x', () => seen.push('once')).prependListener('x', () => seen.push('first')); req.emit('x', 1, 2); req.emit('x', 3, 4); return [seen, req.emit('nobody'), req.eventNames()] })()`:                                             `[["first",3,"once","first",7],false,["x"]]`,
		`(() => { const f = () => {}; req.on('x', f).on('x', f); req.off('x', f); const one = req.listenerCount('x'); req.removeAllListeners('x'); return [one, req.listenerCount('x'), req.listeners('x')] })()`:                                                                                             `[1,0,[]]`,
		`(() => { const seen = []; const g = () => seen.push('g'); req.on('x', () => { seen.push('f'); req.removeListener('x', g) }).on('x', g); req.emit('x'); req.emit('x'); return seen })()`:                                                                                                              `["f","g","f"]`,
		`(() => { const seen = []; req.on('newListener', n => seen.push('+' + n)).on('removeListener', n => seen.push('-' + n)); const f = () => {}; req.on('x', f); req.once('y', f); req.emit('y'); req.off('x', f); return seen })()`:                                                                      `["+removeListener","+x","+y","-y","-x"]`,
		`(() => { try { req.emit('error', new RangeError('m')) } catch (e) { return e.message } })()`:                                                                                                                                                                                                         `"m"`,
		`(() => { const E = Object.getPrototypeOf(Object.getPrototypeOf(req)).constructor; function Old() { E.call(this) } Object.setPrototypeOf(Old.prototype, E.prototype); class New extends E {}; let n = 0; for (const e of [new Old(), new New()]) { e.on('x', () => n++); e.emit('x') } return n })()`: `2`,
		// require knows nothing
		`(() => { try { require('left-pad') } catch (e) { return [e.code, e.message] } })()`: `["MODULE_NOT_FOUND","Cannot find module 'left-pad'"]`,
	} {
		t.Run(expression, func(t *testing.T) {
			if _, got := answer(t, `res.end(JSON.stringify(`+expression+`))`, ""); got != want {
				t.Errorf("value is %s, not %s", got, want)
			}
		})
	}
}
