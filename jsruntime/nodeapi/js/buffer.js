// Buffer, the part of it that handlers of requests need, after the
// documentation of the module buffer of Node.js 20. native does the encodings.
(native => {
	const encodings = {
		__proto__: null,
		utf8: "utf8", "utf-8": "utf8", hex: "hex", base64: "base64", base64url: "base64url", ascii: "latin1",
		latin1: "latin1", binary: "latin1", ucs2: "utf16le", "ucs-2": "utf16le", utf16le: "utf16le", "utf-16le": "utf16le",
	};

	const canonical = encoding => {
		if (encoding === undefined || encoding === null || encoding === "") return "utf8";
		const name = encodings[String(encoding).toLowerCase()];
		if (name === undefined) {
			const error = new TypeError(`Unknown encoding: ${encoding}`);
			error.code = "ERR_UNKNOWN_ENCODING";
			throw error;
		}
		return name;
	};

	const invalid = (name, expected, value) => {
		const error = new TypeError(`The "${name}" argument must be ${expected}. Received ${value === null ? "null" : typeof value}`);
		error.code = "ERR_INVALID_ARG_TYPE";
		return error;
	};

	const range = (value, fallback, length) => {
		const n = value === undefined ? fallback : Math.trunc(Number(value)) || 0;
		return Math.min(Math.max(n, 0), length);
	};

	const compare = (a, b) => {
		const length = Math.min(a.length, b.length);
		for (let i = 0; i < length; i++) {
			if (a[i] !== b[i]) return a[i] < b[i] ? -1 : 1;
		}
		return Math.sign(a.length - b.length);
	};

	class Buffer extends Uint8Array {
		static from(value, encodingOrOffset, length) {
			if (typeof value === "string") return new Buffer(native.encode(value, canonical(encodingOrOffset)));
			if (value instanceof ArrayBuffer) return new Buffer(value, encodingOrOffset, length);
			if (value !== null && typeof value === "object") {
				if (value.type === "Buffer" && Array.isArray(value.data)) return super.from.call(Buffer, value.data);
				if (ArrayBuffer.isView(value) || Array.isArray(value) || typeof value.length === "number") return super.from.call(Buffer, value);
				const primitive = value.valueOf();
				if (primitive !== value && primitive != null) return Buffer.from(primitive, encodingOrOffset, length);
			}
			throw invalid("first", "of type string or an instance of Buffer, ArrayBuffer, or Array or an Array-like Object", value);
		}

		static alloc(size, fill, encoding) {
			if (typeof size !== "number") throw invalid("size", "of type number", size);
			const buffer = new Buffer(size);
			return fill === undefined || fill === 0 ? buffer : buffer.fill(fill, encoding);
		}

		static allocUnsafe(size) { return Buffer.alloc(size); }

		static concat(list, total) {
			if (!Array.isArray(list)) throw invalid("list", "an instance of Array", list);
			const length = total ?? list.reduce((sum, part) => sum + part.length, 0);
			const joined = new Buffer(length);
			let at = 0;
			for (const part of list) {
				if (!(part instanceof Uint8Array)) throw invalid("list", "an Array of Buffer or Uint8Array", part);
				if (at >= length) break;
				joined.set(part.length > length - at ? part.subarray(0, length - at) : part, at);
				at += part.length;
			}
			return joined;
		}

		static isBuffer(value) { return value instanceof Buffer; }
		static isEncoding(encoding) { return typeof encoding === "string" && encodings[encoding.toLowerCase()] !== undefined; }

		static byteLength(value, encoding) {
			return typeof value === "string" ? native.encode(value, canonical(encoding)).byteLength : value.byteLength;
		}

		static compare(a, b) { return compare(a, b); }

		toString(encoding, start, end) {
			const from = range(start, 0, this.length);
			const to = range(end, this.length, this.length);
			return from >= to ? "" : native.decode(super.subarray(from, to), canonical(encoding));
		}

		toJSON() { return { type: "Buffer", data: Array.from(this) }; }
		// As in Node.js, unlike Uint8Array.prototype.slice, the memory is shared.
		slice(start, end) { return this.subarray(start, end); }

		equals(other) {
			if (!(other instanceof Uint8Array)) throw invalid("otherBuffer", "an instance of Buffer or Uint8Array", other);
			return compare(this, other) === 0;
		}

		compare(other) { return compare(this, other); }

		copy(target, targetStart, start, end) {
			const at = range(targetStart, 0, target.length);
			const source = this.subarray(range(start, 0, this.length), range(end, this.length, this.length));
			const fitting = source.subarray(0, Math.min(source.length, target.length - at));
			target.set(fitting, at);
			return fitting.length;
		}

		write(text, offset, length, encoding) {
			if (typeof offset === "string") [offset, length, encoding] = [0, undefined, offset];
			else if (typeof length === "string") [length, encoding] = [undefined, length];
			const at = range(offset, 0, this.length);
			const bytes = new Uint8Array(native.encode(String(text), canonical(encoding)));
			const fitting = bytes.subarray(0, Math.min(bytes.length, range(length, this.length, this.length), this.length - at));
			this.set(fitting, at);
			return fitting.length;
		}

		fill(value, offset, end, encoding) {
			if (typeof value !== "string") return super.fill(value, offset, end);
			if (typeof offset === "string") [offset, end, encoding] = [undefined, undefined, offset];
			const bytes = new Uint8Array(native.encode(value, canonical(encoding)));
			const to = range(end, this.length, this.length);
			for (let i = range(offset, 0, this.length), k = 0; i < to; i++, k++) this[i] = bytes.length ? bytes[k % bytes.length] : 0;
			return this;
		}
	}
	return Buffer;
})
