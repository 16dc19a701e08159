// No route names this file: the token in the page does, by its URL. The key of
// the harbour's API travels in that token too, encrypted, and is put together
// with this code only inside the edge.

export default {
  async fetch(request, env) {
    const answer = await fetch(env.API_URL, {
      headers: { Authorization: `Bearer ${env.API_KEY}` },
    });
    if (!answer.ok) {
      return Response.json({ message: `The harbour answered ${answer.status}.` }, { status: 502 });
    }
    const { station, wind, sea, visibility } = await answer.json();
    return Response.json({
      station,
      report: `Wind ${wind.from} at ${wind.knots} knots, ${sea}, visibility ${visibility}.`,
    });
  },
};
