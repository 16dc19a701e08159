// Handlers that go wrong, each in the way its name says.

const handlers = {
  ok: (cb) => cb(null, "fine"),
  throws() {
    throw new Error("thrown on purpose");
  },
  rejects: () => Promise.reject(new Error("rejected on purpose")),
  async() {
    setTimeout(() => {
      throw new Error("from a timer");
    });
  },
  status: (cb) => cb(Object.assign(new Error("a teapot"), { statusCode: 418 })),
  error: (cb) => cb(new Error("given to the callback")),
  string: (cb) => cb("just text"),
  twice(cb) {
    cb(null, "first");
    cb(null, "second");
  },
  cycle(cb) {
    const a = {};
    a.a = a;
    cb(null, a);
  },
  bigint: (cb) => cb(null, { n: 1n }),
  falsy: (cb) => cb(null, 0),
};

module.exports = (ctx, cb) => handlers[ctx.query.do](cb);
