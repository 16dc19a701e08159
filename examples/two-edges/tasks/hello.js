// Named by a token; who is greeted comes from the token too.

export default (request, env) => new Response(`Hello, ${env.WHO}.\n`);
