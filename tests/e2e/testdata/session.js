// Does to the session what the last part of the path says.

const unstorable = {
  bigint: () => 1n,
  function: () => () => {},
  cycle() {
    const a = {};
    a.a = a;
    return a;
  },
};

const actions = {
  get: async (s, key) => (await s.get(key)) ?? null,
  set: async (s, key, request) => (await s.set(key, await request.json()), true),
  add: (s, key) => s.update(key, (n = 0) => n + 1),
  delete: async (s, key) => (await s.delete(key), true),
  entries: async (s) => Object.fromEntries(await s.entries()),
  destroy: async (s) => (await s.destroy(), true),
  regenerate: async (s) => (await s.regenerate(), true),
  id: async (s) => (await s.get("any"), s.id),
  unstorable: (s, key) => s.set("bad", unstorable[key]()),
  async throw(s, key) {
    await s.set(key, "written before the throw");
    throw new Error("thrown after a write");
  },
};

export default {
  async fetch(request, env, ctx) {
    const url = new URL(request.url);
    const action = url.pathname.split("/").pop();
    const value = await actions[action](ctx.session, url.searchParams.get("key"), request);
    return Response.json({ value });
  },
};
