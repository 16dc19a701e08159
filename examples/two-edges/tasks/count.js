// Counts in the visitor's session, on whichever edge the request arrives.

module.exports = async (ctx) => ({
  count: await ctx.session.update("count", (n = 0) => n + 1),
});
