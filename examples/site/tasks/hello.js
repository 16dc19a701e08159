// The route /hello of the Caddyfile names this file, so no token is needed.
// One of the original webtask models: a context and a callback.

const greetings = {
  en: "Welcome aboard",
  de: "Willkommen an Bord",
  es: "Bienvenido a bordo",
  fr: "Bienvenue à bord",
  it: "Benvenuto a bordo",
  nl: "Welkom aan boord",
  pl: "Witamy na pokładzie",
  pt: "Bem-vindo a bordo",
};

module.exports = (ctx, cb) => {
  const asked = ctx.headers["accept-language"] || "";
  const language = asked
    .split(",")
    .map((range) => range.trim().slice(0, 2).toLowerCase())
    .find((tag) => Object.hasOwn(greetings, tag));
  cb(null, {
    greeting: greetings[language || ctx.params.fallback],
    language: language || ctx.params.fallback,
    place: ctx.params.place,
  });
};
