// Counts in the visitor's session, on whichever edge the request arrives.

module.exports = async (ctx, cb) => ({
  count: await ctx.session.update("count", (n = 0) => n + 1),
});
