// IncomingMessage and ServerResponse, after the documentation of the module
// http of Node.js 20. native reads and writes the exchange that is named by the
// number id; one that is over has no effect.
((native, EventEmitter, Buffer, asyncIterator) => {
	const kState = Symbol("state");

	// nextTick by syntax: what f throws is an unhandled rejection.
	const tick = async f => { await undefined; f(); };

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
		get() { return lazy(this, name, make(this[kState])); },
		set(value) { lazy(this, name, value); },
		enumerable: true, configurable: true,
	});

	// --- IncomingMessage -------------------------------------------------

	function IncomingMessage(id, method, url, httpVersion, hasBody) {
		this.method = method;
		this.url = url;
		this.httpVersion = httpVersion;
		this.complete = !hasBody;
		Object.defineProperty(this, kState, { value: {
			id, hasBody,
			queue: [], flowing: null, reading: false, ended: !hasBody, endEmitted: false, destroyed: false,
			encoding: null, rest: null, waiter: null, pipes: [],
		} });
	}

	const read = (req, s) => {
		if (s.reading || s.ended || s.destroyed) return;
		s.reading = true;
		native.read(s.id, (failure, bytes) => {
			s.reading = false;
			if (s.destroyed) return;
			if (failure) {
				req.destroy(failure);
				return;
			}
			if (bytes === null) {
				s.ended = true;
				if (s.encoding) push(s, native.decodePart(s.rest, null));
			} else {
				push(s, s.encoding ? native.decodePart(s.rest, bytes) : new Buffer(bytes));
			}
			arrived(req, s);
		});
	};

	const push = (s, chunk) => { if (chunk.length > 0) s.queue.push(chunk); };

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
		while (s.flowing && s.queue.length > 0 && !s.destroyed) req.emit("data", s.queue.shift());
		if (!s.flowing || s.queue.length > 0) return;
		if (s.ended) finish(req, s);
		else read(req, s);
	};

	const finish = (req, s) => {
		if (s.endEmitted || s.destroyed) return;
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
			const s = this[kState];
			if (name === "data" && s.flowing === null) this.resume();
			else if (name === "readable" && !s.flowing) tick(() => s.ended ? this.emit("readable") : read(this, s));
			return this;
		},
		resume() {
			const s = this[kState];
			if (!s.flowing) {
				s.flowing = true;
				tick(() => flow(this, s));
			}
			return this;
		},
		pause() { this[kState].flowing = false; return this; },
		isPaused() { return this[kState].flowing === false; },
		setEncoding(encoding) {
			const s = this[kState];
			s.encoding = encoding ?? "utf8";
			s.rest = native.newDecoder(String(s.encoding));
			s.queue = s.queue.map(chunk => native.decodePart(s.rest, chunk));
			return this;
		},
		read() {
			const s = this[kState];
			if (s.queue.length === 0) {
				if (s.ended) finish(this, s);
				else read(this, s);
				return null;
			}
			const chunk = s.encoding ? s.queue.join("") : s.queue.length === 1 ? s.queue[0] : Buffer.concat(s.queue);
			s.queue = [];
			if (s.ended) finish(this, s);
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
			this[kState].pipes.push({ target, onData, onEnd });
			target.emit("pipe", this);
			return this.on("data", onData).on("end", onEnd) && target;
		},
		unpipe(target) {
			const s = this[kState];
			for (const pipe of s.pipes.filter(each => target === undefined || each.target === target)) {
				this.removeListener("data", pipe.onData).removeListener("end", pipe.onEnd);
				s.pipes.splice(s.pipes.indexOf(pipe), 1);
				pipe.target.emit("unpipe", this);
			}
			if (s.pipes.length === 0 && this.listenerCount("data") === 0) s.flowing = false;
			return this;
		},
		destroy(error) {
			const s = this[kState];
			if (s.destroyed) return this;
			s.destroyed = true;
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
			const req = this, s = req[kState];
			s.flowing = false;
			const next = () => new Promise((resolve, reject) => {
				if (s.queue.length > 0) return resolve({ value: s.queue.shift(), done: false });
				if (s.ended || s.destroyed) {
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
		get readable() { const s = this[kState]; return !s.destroyed && !s.endEmitted; },
		get readableEnded() { return this[kState].endEmitted; },
		get readableFlowing() { return this[kState].flowing; },
		get destroyed() { return this[kState].destroyed; },
		get aborted() { return false; },
	});
	Object.defineProperties(IncomingMessage.prototype, {
		headers: lazily("headers", s => native.headers(s.id)),
		rawHeaders: lazily("rawHeaders", s => native.rawHeaders(s.id)),
		trailers: lazily("trailers", () => ({})),
		rawTrailers: lazily("rawTrailers", () => []),
		query: lazily("query", s => native.query(s.id)),
		x_wt: lazily("x_wt", s => native.claims(s.id)),
		socket: lazily("socket", s => Object.assign(new EventEmitter(), native.socket(s.id), { destroy() {}, setTimeout() { return this; }, setNoDelay() { return this; }, setKeepAlive() { return this; } })),
	});

	// --- ServerResponse --------------------------------------------------

	function ServerResponse(req) {
		this.req = req;
		this.statusCode = 200;
		this.statusMessage = undefined;
		this.sendDate = true;
		Object.defineProperty(this, kState, { value: {
			id: req[kState].id, head: req.method === "HEAD",
			headers: new Map(), committed: false, sent: false, ended: false, finished: false, destroyed: false, waiting: false,
		} });
	}

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
		if (s.committed) return;
		checkStatus(res.statusCode);
		s.committed = true;
		s.bodiless = s.head || res.statusCode === 204 || res.statusCode === 304;
	};

	// send passes the head on; what follows can be a body only.
	const send = (res, s) => {
		commit(res, s);
		if (s.sent) return;
		s.sent = true;
		for (const [name, , values] of s.headers.values()) native.header(s.id, name, ...values);
		native.writeHead(s.id, Math.trunc(res.statusCode));
	};

	const bytesOf = (chunk, encoding) => {
		if (typeof chunk === "string") return encoding === undefined || encoding === "utf8" || encoding === "utf-8" ? chunk : Buffer.from(chunk, encoding);
		if (chunk instanceof Uint8Array) return chunk;
		if (chunk === null) throw coded(TypeError, "ERR_STREAM_NULL_VALUES", "May not write null values to stream");
		throw coded(TypeError, "ERR_INVALID_ARG_TYPE", `The "chunk" argument must be of type string or an instance of Buffer or Uint8Array. Received ${typeof chunk}`);
	};

	inherit(ServerResponse, {
		setHeader(name, value) {
			const s = this[kState];
			if (s.committed) throw headersSent("set");
			s.headers.set(String(name).toLowerCase(), store(s, name, value));
			return this;
		},
		setHeaders(headers) {
			for (const [name, value] of headers) this.setHeader(name, value);
			return this;
		},
		appendHeader(name, value) {
			const s = this[kState];
			if (s.committed) throw headersSent("append");
			const [, , more] = store(s, name, value);
			const old = s.headers.get(name.toLowerCase());
			const values = old ? [...old[2], ...more] : more;
			s.headers.set(name.toLowerCase(), [name, values, values]);
			return this;
		},
		getHeader(name) { return this[kState].headers.get(String(name).toLowerCase())?.[1]; },
		hasHeader(name) { return this[kState].headers.has(String(name).toLowerCase()); },
		removeHeader(name) {
			const s = this[kState];
			if (s.committed) throw headersSent("remove");
			s.headers.delete(String(name).toLowerCase());
		},
		getHeaders() {
			const all = Object.create(null);
			for (const [key, [, value]] of this[kState].headers) all[key] = value;
			return all;
		},
		getHeaderNames() { return [...this[kState].headers.keys()]; },
		getRawHeaderNames() { return [...this[kState].headers.values()].map(([name]) => name); },
		writeHead(status, message, headers) {
			const s = this[kState];
			if (s.committed) throw headersSent("write");
			checkStatus(status);
			if (typeof message === "string") this.statusMessage = message;
			else headers ??= message;
			if (Array.isArray(headers)) {
				if (headers.length % 2 !== 0) throw coded(TypeError, "ERR_INVALID_ARG_VALUE", "The argument 'headers' is invalid: an odd number of names and values");
				for (let i = 0; i < headers.length; i += 2) s.headers.delete(String(headers[i]).toLowerCase());
				for (let i = 0; i < headers.length; i += 2) this.appendHeader(headers[i], headers[i + 1]);
			} else if (headers) {
				for (const name of Object.keys(headers)) this.setHeader(name, headers[name]);
			}
			this.statusCode = status;
			commit(this, s);
			return this;
		},
		flushHeaders() { send(this, this[kState]); },
		write(chunk, encoding, callback) {
			if (typeof encoding === "function") [encoding, callback] = [undefined, encoding];
			const s = this[kState];
			if (s.ended || s.destroyed) {
				const error = s.ended ? coded(Error, "ERR_STREAM_WRITE_AFTER_END", "write after end")
					: coded(Error, "ERR_STREAM_DESTROYED", "Cannot call write after a stream was destroyed");
				tick(() => { callback?.(error); this.emit("error", error); });
				return false;
			}
			const bytes = bytesOf(chunk, encoding);
			send(this, s);
			if (callback) tick(callback);
			if (s.bodiless) return true;
			const more = native.write(s.id, bytes, s.waiting ? undefined : () => {
				s.waiting = false;
				if (!s.destroyed) this.emit("drain");
			});
			if (!more) s.waiting = true;
			return more;
		},
		end(chunk, encoding, callback) {
			if (typeof chunk === "function") [chunk, callback] = [undefined, chunk];
			else if (typeof encoding === "function") [encoding, callback] = [undefined, encoding];
			const s = this[kState];
			if (s.ended) {
				if (callback) tick(() => callback(coded(Error, "ERR_STREAM_ALREADY_FINISHED", "Cannot call end after a stream was finished")));
				return this;
			}
			if (chunk !== undefined && chunk !== null) this.write(chunk, encoding);
			send(this, s);
			s.ended = true;
			native.end(s.id);
			tick(() => {
				s.finished = true;
				this.emit("finish");
				callback?.();
				this.emit("close");
			});
			return this;
		},
		destroy(error) {
			const s = this[kState];
			if (s.destroyed || s.ended) return this;
			s.destroyed = true;
			native.fail(s.id, error === undefined ? "the response was destroyed" : String(error?.message ?? error));
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
		get headersSent() { return this[kState].committed; },
		get finished() { return this[kState].ended; },
		get writableEnded() { return this[kState].ended; },
		get writableFinished() { return this[kState].finished; },
		get writable() { const s = this[kState]; return !s.ended && !s.destroyed; },
		get writableNeedDrain() { return this[kState].waiting; },
		get destroyed() { return this[kState].destroyed; },
		get closed() { return this[kState].finished || this[kState].destroyed; },
		get socket() { return this.req.socket; },
		get connection() { return this.req.socket; },
	});

	return (id, method, url, httpVersion, hasBody) => {
		const req = new IncomingMessage(id, method, url, httpVersion, hasBody);
		const res = new ServerResponse(req);
		req.res = res;
		return [req, res];
	};
})
