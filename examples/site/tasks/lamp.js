// A counter in the visitor's session. `update` is atomic: of two clicks in two
// tabs, neither is lost.

const routes = {
  GET: (session) => session.get("lamp"),
  POST: (session) => session.update("lamp", (lit = 0) => lit + 1),
  async DELETE(session) {
    await session.destroy();
  },
};

export default {
  async fetch(request, env, ctx) {
    const route = routes[request.method];
    if (!route) {
      return new Response(null, { status: 405, headers: { Allow: Object.keys(routes).join(", ") } });
    }
    const lit = (await route(ctx.session)) ?? 0;
    return Response.json({ lit });
  },
};
