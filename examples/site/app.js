// The page's own code: three calls to the edge, and what they answered.

const $ = (id) => document.getElementById(id);

// call fetches JSON, and tells how long that took. An error answer of the edge
// is JSON too, and says what to do in `message`.
async function call(url, init) {
  const start = performance.now();
  const response = await fetch(url, { cache: "no-store", ...init });
  const text = await response.text();
  const took = performance.now() - start;
  let body;
  try {
    body = JSON.parse(text);
  } catch {
    body = { message: text || response.statusText };
  }
  return { response, body, took };
}

function show(target, timing, { response, body, took }, text) {
  const output = $(target);
  output.classList.toggle("failed", !response.ok);
  output.textContent = response.ok ? text(body) : `${response.status}: ${body.message}`;
  $(timing).textContent = `${response.status} in ${took.toFixed(1)} ms`;
}

async function greet(language) {
  const init = language ? { headers: { "Accept-Language": language } } : {};
  show("hello", "hello-time", await call("hello", init), (body) => `${body.greeting}, at ${body.place}.`);
}

// Languages that the task knows, one after the other.
const abroad = ["fr", "pl", "it", "nl", "pt", "de", "es"];

function greetAbroad() {
  abroad.push(abroad.shift());
  return greet(abroad.at(-1));
}

// The token is written by `make run`, which knows the keys of this edge.
const { default: token } = await import("./token.js").catch(() => ({ default: "" }));

const run = (bearer) => call("run", { headers: { Authorization: `Bearer ${bearer}` } });

async function report() {
  if (!token) {
    $("report").textContent = "This page has no token yet. Start the site with make run, which issues one.";
    return;
  }
  show("report", "report-time", await run(token), (body) => body.report);
}

const decode = (part) => JSON.parse(atob(part.replaceAll("-", "+").replaceAll("_", "/")));

function dissect() {
  const parts = token.split(".");
  const names = ["header", "claims", "signature"];
  $("token").replaceChildren(
    ...parts.flatMap((part, i) => {
      const span = document.createElement("span");
      span.className = names[i];
      span.textContent = part;
      return i ? [".", span] : [span];
    }),
  );
  const claims = decode(parts[1]);
  $("token-header").textContent = JSON.stringify(decode(parts[0]), null, 2);
  $("token-claims").textContent = JSON.stringify(
    { ...claims, ectx: `${claims.ectx.slice(0, 24)}… (encrypted: the secrets)` },
    null,
    2,
  );
  return claims;
}

async function attempt(what, request) {
  const { response, body } = await request;
  $("attempt").textContent = `${what}: ${response.status}. ${body.message}`;
}

// One letter in the middle of the signature, so that it differs in full bits.
function tampered() {
  const at = token.length - 20;
  return token.slice(0, at) + (token[at] === "A" ? "B" : "A") + token.slice(at + 1);
}

function showLamp(answer) {
  show("lit", "lamp-time", answer, (body) => String(body.lit));
  document.querySelector(".bulb").classList.toggle("lit", answer.body.lit > 0);
}

async function showSources() {
  for (const code of document.querySelectorAll("[data-source]")) {
    code.textContent = await (await fetch(code.dataset.source)).text();
  }
}

$("light").addEventListener("click", async () => showLamp(await call("lamp", { method: "POST" })));
$("forget").addEventListener("click", async () => showLamp(await call("lamp", { method: "DELETE" })));
$("greet").addEventListener("click", () => greet());
$("abroad").addEventListener("click", greetAbroad);
$("ask").addEventListener("click", report);

if (token) {
  const claims = dissect();
  $("direct").addEventListener("click", () => attempt("The API without the key", call(claims.pctx.API_URL)));
  $("tamper").addEventListener("click", () => attempt("A token with one letter changed", run(tampered())));
}

await Promise.all([greet(), report(), call("lamp").then(showLamp), showSources()]);
document.body.dataset.ready = "true";
