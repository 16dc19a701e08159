// EventEmitter, after the documentation of the module events of Node.js 20.
// State is in own properties, so that an emitter works with any prototype that
// a framework gives it, and constructors are functions that can be called on
// an object, as util.inherits needs.
(() => {
	const kEvents = Symbol("events");
	const kFirst = Symbol("firstListener"); // a method that is called before there is one
	const kMax = Symbol("maxListeners");

	function EventEmitter() {}

	const invalid = listener => {
		const error = new TypeError(`The "listener" argument must be of type function. Received ${listener === null ? "null" : typeof listener}`);
		error.code = "ERR_INVALID_ARG_TYPE";
		return error;
	};

	const eventsOf = emitter => {
		if (!Object.hasOwn(emitter, kEvents)) {
			emitter[kFirst]?.();
			Object.defineProperty(emitter, kEvents, { value: new Map(), configurable: true });
		}
		return emitter[kEvents];
	};

	const add = (emitter, name, listener, first, once) => {
		if (typeof listener !== "function") throw invalid(listener);
		const events = eventsOf(emitter);
		if (events.has("newListener")) emitter.emit("newListener", name, listener);
		const entry = { listener, once };
		const entries = events.get(name);
		// A new array each time: an emit under way goes on with the old one.
		if (!entries) events.set(name, [entry]);
		else events.set(name, first ? [entry, ...entries] : [...entries, entry]);
		return emitter;
	};

	const remove = (emitter, name, entry) => {
		const events = eventsOf(emitter);
		const rest = (events.get(name) ?? []).filter(other => other !== entry);
		if (rest.length) events.set(name, rest);
		else events.delete(name);
		if (events.has("removeListener")) emitter.emit("removeListener", name, entry.listener);
	};

	const wrapped = (emitter, name, entry) => {
		if (!entry.once) return entry.listener;
		const f = function (...args) {
			remove(emitter, name, entry);
			return entry.listener.apply(this, args);
		};
		f.listener = entry.listener;
		return f;
	};

	const methods = {
		on(name, listener) { return add(this, name, listener, false, false); },
		once(name, listener) { return add(this, name, listener, false, true); },
		prependListener(name, listener) { return add(this, name, listener, true, false); },
		prependOnceListener(name, listener) { return add(this, name, listener, true, true); },
		removeListener(name, listener) {
			if (typeof listener !== "function") throw invalid(listener);
			const entries = this[kEvents]?.get(name) ?? [];
			for (let i = entries.length - 1; i >= 0; i--) {
				if (entries[i].listener === listener || entries[i].listener === listener.listener) {
					remove(this, name, entries[i]);
					break;
				}
			}
			return this;
		},
		removeAllListeners(name) {
			const events = eventsOf(this);
			const names = arguments.length > 0 ? [name] : [...events.keys()];
			for (const each of names) {
				for (const entry of [...events.get(each) ?? []].reverse()) remove(this, each, entry);
			}
			return this;
		},
		emit(name, ...args) {
			const entries = this[kEvents]?.get(name);
			if (!entries) {
				if (name !== "error") return false;
				if (args[0] instanceof Error) throw args[0];
				const error = new Error(`Unhandled error. (${String(args[0])})`);
				error.code = "ERR_UNHANDLED_ERROR";
				error.context = args[0];
				throw error;
			}
			for (const entry of entries) {
				if (entry.once) {
					if (entry.fired) continue;
					entry.fired = true;
					remove(this, name, entry);
				}
				entry.listener.apply(this, args);
			}
			return true;
		},
		listenerCount(name, listener) {
			const entries = this[kEvents]?.get(name) ?? [];
			return listener ? entries.filter(entry => entry.listener === listener).length : entries.length;
		},
		listeners(name) { return (this[kEvents]?.get(name) ?? []).map(entry => entry.listener); },
		rawListeners(name) { return (this[kEvents]?.get(name) ?? []).map(entry => wrapped(this, name, entry)); },
		eventNames() { return [...this[kEvents]?.keys() ?? []]; },
		// Listeners are not counted against a maximum: a request's live short.
		setMaxListeners(n) { this[kMax] = n; return this; },
		getMaxListeners() { return this[kMax] ?? EventEmitter.defaultMaxListeners; },
	};
	methods.addListener = methods.on;
	methods.off = methods.removeListener;
	for (const name of Object.keys(methods)) {
		Object.defineProperty(EventEmitter.prototype, name, { value: methods[name], writable: true, enumerable: true, configurable: true });
	}
	EventEmitter.defaultMaxListeners = 10;
	EventEmitter.EventEmitter = EventEmitter;
	return { EventEmitter, kEvents, kFirst };
})()
