// IncomingMessage and ServerResponse, after the documentation of the module
// http of Node.js 20. Go makes the objects (NewExchange); both have a handle at
// _exchange, which only Go can turn into the state of their exchange: scripts
// may find the handle, but never the state. What they have of their own is as
// little as possible, since most handlers use little: the rest is in the
// prototypes, or made when it is needed. native works on the exchange of a
// state; on one that is over it has no effect.
((native, { EventEmitter, kEvents, kFirst }, Buffer, asyncIterator) => {
	// stateOf is undefined for what belongs to no exchange, such as a prototype.
	// The last one is remembered, as most of a request's calls are for its own.
	let lastHandle, lastState;
	const stateOf = o => {
		const handle = o._exchange;
		if (handle !== lastHandle) {
			lastState = native.state(handle);
			lastHandle = handle;
		}
		return lastState;
	};

	// tick is nextTick by the microtask that the language makes for a thenable:
	// it looks nothing up that scripts could have replaced, and what f throws is
	// an unhandled rejection.
	const tick = f => { native.tick({ __proto__: null, then() { f(); } }); };

	// Phases of a response, in order. A response that nobody listens to is QUIET
	// when it ends, which spares it the events.
	const OPEN = 0, COMMITTED = 1, SENT = 2, QUIET = 3, ENDED = 4, FINISHED = 5;

	// states are what the states inherit, so that of their own they have only
	// what is different. All requests share them: a method of the language that
	// a script replaced may get hold of none, and so of what is frozen here.
	const none = Object.freeze([]);
	const state = (eof, head) => ({
		__proto__: null,
		// of the request
		queue: none, flowing: null, reading: false, eof, endEmitted: false, gone: false,
		encoding: null, rest: null, waiter: null, pipes: none,
		// of the response; headers is a Map once there are any
		phase: OPEN, head, bodiless: false, headers: null, destroyed: false, waiting: false,
	});

	const coded = (Class, code, message) => {
		const error = new Class(message);
		error.code = code;
		return error;
	};

	const inherit = (Class, members) => {
		Object.setPrototypeOf(Class, EventEmitter);
		Object.setPrototypeOf(Class.prototype, EventEmitter.prototype);
		Object.defineProperties(Class.prototype, Object.getOwnPropertyDescriptors(members));
	};

	// lazy defines an own property of a request when it is first read.
	const lazy = (o, name, value) => {
		Object.defineProperty(o, name, { value, writable: true, enumerable: true, configurable: true });
		return value;
	};
	const lazily = (name, make) => ({
		get() {
			const s = stateOf(this);
			// A prototype has none, and must not hand its own to every request.
			return s && lazy(this, name, make(s));
		},
		set(value) { lazy(this, name, value); },
		enumerable: true, configurable: true,
	});

	// --- IncomingMessage -------------------------------------------------

	function IncomingMessage() {}

	const read = (req, s) => {
		if (s.reading || s.eof || s.gone) return;
		s.reading = true;
		native.read(s, (failure, bytes) => {
			s.reading = false;
			if (s.gone) return;
			if (failure) {
				req.destroy(failure);
				return;
			}
			if (bytes === null) {
				s.eof = true;
				if (s.encoding) push(s, native.decodePart(s.rest, null));
			} else {
				push(s, s.encoding ? native.decodePart(s.rest, bytes) : new Buffer(bytes));
			}
			arrived(req, s);
		});
	};

	const push = (s, chunk) => {
		if (chunk.length === 0) return;
		if (s.queue.length === 0) s.queue = [chunk];
		else s.queue.push(chunk);
	};

	const arrived = (req, s) => {
		if (s.waiter) {
			const wake = s.waiter;
			s.waiter = null;
			wake();
		} else if (s.flowing) {
			flow(req, s);
		} else {
			req.emit("readable");
		}
	};

	const flow = (req, s) => {
		while (s.flowing && s.queue.length > 0 && !s.gone) req.emit("data", s.queue.shift());
		if (!s.flowing || s.queue.length > 0) return;
		if (s.eof) finish(req, s);
		else read(req, s);
	};

	const finish = (req, s) => {
		if (s.endEmitted || s.gone) return;
		s.endEmitted = true;
		tick(() => {
			req.complete = true;
			req.emit("end");
			req.emit("close");
		});
	};

	inherit(IncomingMessage, {
		on(name, listener) {
			EventEmitter.prototype.on.call(this, name, listener);
			const s = stateOf(this);
			if (name === "data" && s.flowing === null) this.resume();
			else if (name === "readable" && !s.flowing) tick(() => s.eof ? this.emit("readable") : read(this, s));
			return this;
		},
		resume() {
			const s = stateOf(this);
			if (!s.flowing) {
				s.flowing = true;
				tick(() => flow(this, s));
			}
			return this;
		},
		pause() { stateOf(this).flowing = false; return this; },
		isPaused() { return stateOf(this).flowing === false; },
		setEncoding(encoding) {
			const s = stateOf(this);
			s.encoding = encoding ?? "utf8";
			s.rest = native.newDecoder(String(s.encoding));
			s.queue = s.queue.map(chunk => native.decodePart(s.rest, chunk));
			return this;
		},
		read() {
			const s = stateOf(this);
			if (s.queue.length === 0) {
				if (s.eof) finish(this, s);
				else read(this, s);
				return null;
			}
			const chunk = s.encoding ? s.queue.join("") : s.queue.length === 1 ? s.queue[0] : Buffer.concat(s.queue);
			s.queue = [];
			if (s.eof) finish(this, s);
			else read(this, s);
			return chunk;
		},
		pipe(target, options) {
			const onData = chunk => {
				if (target.write(chunk) === false) {
					this.pause();
					target.once("drain", () => this.resume());
				}
			};
			const onEnd = () => { if (options?.end !== false) target.end(); };
			const s = stateOf(this);
			s.pipes = [...s.pipes, { target, onData, onEnd }];
			target.emit("pipe", this);
			return this.on("data", onData).on("end", onEnd) && target;
		},
		unpipe(target) {
			const s = stateOf(this);
			for (const pipe of s.pipes.filter(each => target === undefined || each.target === target)) {
				this.removeListener("data", pipe.onData).removeListener("end", pipe.onEnd);
				s.pipes = s.pipes.filter(each => each !== pipe);
				pipe.target.emit("unpipe", this);
			}
			if (s.pipes.length === 0 && this.listenerCount("data") === 0) s.flowing = false;
			return this;
		},
		destroy(error) {
			const s = stateOf(this);
			if (s.gone) return this;
			s.gone = true;
			s.queue = [];
			if (s.waiter) s.waiter(error);
			tick(() => {
				if (error) this.emit("error", error);
				this.emit("close");
			});
			return this;
		},
		setTimeout() { return this; },
		[asyncIterator]() {
			const req = this, s = stateOf(req);
			s.flowing = false;
			const next = () => new Promise((resolve, reject) => {
				if (s.queue.length > 0) return resolve({ value: s.queue.shift(), done: false });
				if (s.eof || s.gone) {
					finish(req, s);
					return resolve({ value: undefined, done: true });
				}
				s.waiter = error => error ? reject(error) : resolve(next());
				read(req, s);
			});
			return {
				next,
				return: async value => { req.destroy(); return { value, done: true }; },
				[asyncIterator]() { return this; },
			};
		},
		get httpVersionMajor() { return parseInt(this.httpVersion, 10); },
		get httpVersionMinor() { return parseInt(this.httpVersion.split(".")[1] ?? "0", 10); },
		get connection() { return this.socket; },
		get readable() { const s = stateOf(this); return !s.gone && !s.endEmitted; },
		get readableEnded() { return stateOf(this).endEmitted; },
		get readableFlowing() { return stateOf(this).flowing; },
		get destroyed() { return stateOf(this).gone; },
		get aborted() { return false; },
		complete: true, // that of a request without a body
	});
	Object.defineProperties(IncomingMessage.prototype, {
		headers: lazily("headers", s => native.headers(s)),
		rawHeaders: lazily("rawHeaders", s => native.rawHeaders(s)),
		trailers: lazily("trailers", () => ({})),
		rawTrailers: lazily("rawTrailers", () => []),
		query: lazily("query", s => native.query(s)),
		x_wt: lazily("x_wt", s => native.claims(s)),
		socket: lazily("socket", s => Object.assign(new EventEmitter(), native.socket(s), { destroy() {}, setTimeout() { return this; }, setNoDelay() { return this; }, setKeepAlive() { return this; } })),
	});

	// --- ServerResponse --------------------------------------------------

	function ServerResponse() {}

	const setHeader = (s, name, entry) => {
		s.headers ??= new Map();
		s.headers.set(name.toLowerCase(), entry);
	};

	const headersSent = what => coded(Error, "ERR_HTTP_HEADERS_SENT", `Cannot ${what} headers after they are sent to the client`);

	const store = (s, name, value) => {
		if (typeof name !== "string" || !native.validName(name)) {
			throw coded(TypeError, "ERR_INVALID_HTTP_TOKEN", `Header name must be a valid HTTP token ["${String(name)}"]`);
		}
		if (value === undefined) {
			throw coded(TypeError, "ERR_HTTP_INVALID_HEADER_VALUE", `Invalid value "undefined" for header "${name}"`);
		}
		const values = (Array.isArray(value) ? value : [value]).map(String);
		if (!values.every(native.validValue)) {
			throw coded(TypeError, "ERR_INVALID_CHAR", `Invalid character in header content ["${name}"]`);
		}
		return [name, value, values];
	};

	const checkStatus = status => {
		if (!(status >= 100 && status <= 999)) throw coded(RangeError, "ERR_HTTP_INVALID_STATUS_CODE", `Invalid status code: ${status}`);
	};

	// commit fixes status and headers, as writeHead does.
	const commit = (res, s) => {
		if (s.phase >= COMMITTED) return;
		const status = res.statusCode;
		checkStatus(status);
		s.phase = COMMITTED;
		if (s.head || status === 204 || status === 304) s.bodiless = true;
	};

	// send passes the head on; what follows can be a body only.
	const send = (res, s) => {
		commit(res, s);
		if (s.phase >= SENT) return;
		s.phase = SENT;
		sendHeaders(s);
		native.writeHead(s, res.statusCode);
	};

	const sendHeaders = s => {
		if (s.headers === null) return;
		for (const [name, , values] of s.headers.values()) native.header(s, name, ...values);
	};

	const bytesOf = (chunk, encoding) => {
		if (typeof chunk === "string") return encoding === undefined || encoding === "utf8" || encoding === "utf-8" ? chunk : Buffer.from(chunk, encoding);
		if (chunk instanceof Uint8Array) return chunk;
		if (chunk === null) throw coded(TypeError, "ERR_STREAM_NULL_VALUES", "May not write null values to stream");
		throw coded(TypeError, "ERR_INVALID_ARG_TYPE", `The "chunk" argument must be of type string or an instance of Buffer or Uint8Array. Received ${typeof chunk}`);
	};

	// write is res.write, and the writing of res.end.
	const write = (res, s, chunk, encoding, callback) => {
		if (s.phase >= QUIET || s.destroyed) {
			const error = s.phase >= QUIET ? coded(Error, "ERR_STREAM_WRITE_AFTER_END", "write after end")
				: coded(Error, "ERR_STREAM_DESTROYED", "Cannot call write after a stream was destroyed");
			tick(() => { callback?.(error); res.emit("error", error); });
			return false;
		}
		const bytes = bytesOf(chunk, encoding);
		send(res, s);
		if (callback) tick(callback);
		if (s.bodiless) return true;
		const more = native.write(s, bytes, s.waiting ? undefined : () => {
			s.waiting = false;
			if (!s.destroyed) res.emit("drain");
		});
		if (!more) s.waiting = true;
		return more;
	};

	// answer is the end of a response of which nothing was sent before.
	const answer = (res, s, chunk, encoding) => {
		const bytes = chunk === undefined || chunk === null ? undefined : bytesOf(chunk, encoding);
		commit(res, s);
		sendHeaders(s);
		s.phase = QUIET;
		native.answer(s, res.statusCode, s.bodiless ? undefined : bytes);
	};

	const end = (res, s, chunk, encoding) => {
		if (chunk !== undefined && chunk !== null) write(res, s, chunk, encoding);
		send(res, s);
		s.phase = QUIET;
		native.end(s);
	};

	const alreadyFinished = callback => {
		tick(() => callback(coded(Error, "ERR_STREAM_ALREADY_FINISHED", "Cannot call end after a stream was finished")));
	};

	const finishSoon = (res, s, callback) => {
		s.phase = ENDED;
		tick(() => {
			s.phase = FINISHED;
			res.emit("finish");
			callback?.();
			res.emit("close");
		});
	};

	// finished reports whether the events of the end are, or would be, over.
	const finished = s => s.phase === FINISHED || s.phase === QUIET && !native.ending(s);

	inherit(ServerResponse, {
		statusCode: 200,
		statusMessage: undefined,
		sendDate: true,
		setHeader(name, value) {
			const s = stateOf(this);
			if (s.phase >= COMMITTED) throw headersSent("set");
			setHeader(s, String(name), store(s, name, value));
			return this;
		},
		setHeaders(headers) {
			for (const [name, value] of headers) this.setHeader(name, value);
			return this;
		},
		appendHeader(name, value) {
			const s = stateOf(this);
			if (s.phase >= COMMITTED) throw headersSent("append");
			const [, , more] = store(s, name, value);
			const old = s.headers?.get(name.toLowerCase());
			const values = old ? [...old[2], ...more] : more;
			setHeader(s, name, [name, values, values]);
			return this;
		},
		getHeader(name) { return stateOf(this).headers?.get(String(name).toLowerCase())?.[1]; },
		hasHeader(name) { return stateOf(this).headers?.has(String(name).toLowerCase()) ?? false; },
		removeHeader(name) {
			const s = stateOf(this);
			if (s.phase >= COMMITTED) throw headersSent("remove");
			s.headers?.delete(String(name).toLowerCase());
		},
		getHeaders() {
			const all = Object.create(null);
			for (const [key, [, value]] of stateOf(this).headers ?? none) all[key] = value;
			return all;
		},
		getHeaderNames() { return [...stateOf(this).headers?.keys() ?? none]; },
		getRawHeaderNames() { return [...stateOf(this).headers?.values() ?? none].map(([name]) => name); },
		writeHead(status, message, headers) {
			const s = stateOf(this);
			if (s.phase >= COMMITTED) throw headersSent("write");
			checkStatus(status);
			if (typeof message === "string") this.statusMessage = message;
			else headers ??= message;
			if (Array.isArray(headers)) {
				if (headers.length % 2 !== 0) throw coded(TypeError, "ERR_INVALID_ARG_VALUE", "The argument 'headers' is invalid: an odd number of names and values");
				for (let i = 0; i < headers.length; i += 2) s.headers?.delete(String(headers[i]).toLowerCase());
				for (let i = 0; i < headers.length; i += 2) this.appendHeader(headers[i], headers[i + 1]);
			} else if (headers) {
				for (const name of Object.keys(headers)) this.setHeader(name, headers[name]);
			}
			this.statusCode = status;
			commit(this, s);
			return this;
		},
		flushHeaders() { send(this, stateOf(this)); },
		write(chunk, encoding, callback) {
			if (typeof encoding === "function") [encoding, callback] = [undefined, encoding];
			return write(this, stateOf(this), chunk, encoding, callback);
		},
		end(chunk, encoding, callback) {
			if (typeof chunk === "function") [chunk, callback] = [undefined, chunk];
			else if (typeof encoding === "function") [encoding, callback] = [undefined, encoding];
			const s = stateOf(this);
			if (s.phase >= QUIET) {
				if (callback) alreadyFinished(callback);
				return this;
			}
			if (s.phase < SENT && !s.destroyed) answer(this, s, chunk, encoding);
			else end(this, s, chunk, encoding);
			if (callback || this[kEvents] !== undefined || this.emit !== EventEmitter.prototype.emit) finishSoon(this, s, callback);
			return this;
		},
		// Somebody listens, but the response may have ended already.
		[kFirst]() {
			const s = stateOf(this);
			if (s?.phase === QUIET && native.ending(s)) finishSoon(this, s);
		},
		destroy(error) {
			const s = stateOf(this);
			if (s.destroyed || s.phase >= QUIET) return this;
			s.destroyed = true;
			native.fail(s, error === undefined ? "the response was destroyed" : String(error?.message ?? error));
			tick(() => {
				if (error) this.emit("error", error);
				this.emit("close");
			});
			return this;
		},
		cork() {},
		uncork() {},
		setTimeout() { return this; },
		writeContinue() {},
		assignSocket() {},
		get headersSent() { return stateOf(this).phase >= COMMITTED; },
		get finished() { return stateOf(this).phase >= QUIET; },
		get writableEnded() { return stateOf(this).phase >= QUIET; },
		get writableFinished() { return finished(stateOf(this)); },
		get writable() { const s = stateOf(this); return s.phase < QUIET && !s.destroyed; },
		get writableNeedDrain() { return stateOf(this).waiting; },
		get destroyed() { return stateOf(this).destroyed; },
		get closed() { return finished(stateOf(this)) || stateOf(this).destroyed; },
		get socket() { return this.req.socket; },
		get connection() { return this.req.socket; },
	});

	return {
		request: IncomingMessage.prototype,
		response: ServerResponse.prototype,
		states: [state(false, false), state(false, true), state(true, false), state(true, true)],
	};
})
