// A basket for an application that has none. What is in it lives in the
// visitor's session; what it costs, the application knows.

async function priced(basket, catalogue) {
  const answer = await fetch(catalogue);
  const goods = new Map((await answer.json()).map((item) => [item.id, item]));
  const lines = Object.entries(basket).map(([id, count]) => ({ ...goods.get(id), count }));
  return { lines, cents: lines.reduce((sum, line) => sum + line.cents * line.count, 0) };
}

export default {
  async fetch(request, env, ctx) {
    if (request.method === "POST") {
      const { id } = await request.json();
      const goods = await (await fetch(env.CATALOGUE)).json();
      if (!goods.some((item) => item.id === id)) {
        return Response.json({ message: `There is no ${JSON.stringify(id)} in the catalogue.` }, { status: 404 });
      }
      await ctx.session.update("basket", (basket = {}) => ({ ...basket, [id]: (basket[id] ?? 0) + 1 }));
    } else if (request.method === "DELETE") {
      await ctx.session.delete("basket");
    }
    const basket = (await ctx.session.get("basket")) ?? {};
    return Response.json(await priced(basket, env.CATALOGUE));
  },
};
