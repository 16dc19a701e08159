// The logbook: a text that everybody who is here changes at once. The process at
// the other end of the WebSocket has it; this side has a copy, sends what was
// typed as a change of one version, and adapts that when somebody else's change
// was made first.

const area = document.getElementById("logbook");
const state = document.getElementById("logbook-state");

let socket;
let copy = ""; // of the text, as the process has told it
let version = 0;
let asked = false; // a change was sent, and is not answered yet

const apply = (text, { at, remove, insert }) => text.slice(0, at) + insert + text.slice(at + remove);

// difference is the change that makes one text another, or null.
function difference(from, to) {
  if (from === to) {
    return null;
  }
  let start = 0;
  while (start < from.length && start < to.length && from[start] === to[start]) start++;
  let end = 0;
  while (end < from.length - start && end < to.length - start && from.at(-1 - end) === to.at(-1 - end)) end++;
  // The halves of a character stay together.
  if (start > 0 && /[\uD800-\uDBFF]/.test(from[start - 1])) start--;
  if (end > 0 && /[\uDC00-\uDFFF]/.test(from.at(-end))) end--;
  return { at: start, remove: from.length - start - end, insert: to.slice(start, to.length - end) };
}

// moved is where a position is after a change.
function moved(position, { at, remove, insert }) {
  if (position <= at) return position;
  return position >= at + remove ? position + insert.length - remove : at + insert.length;
}

// take makes somebody else's change, under what was typed here and not sent yet.
function take(change) {
  const typed = difference(copy, area.value);
  copy = apply(copy, change);
  let text = copy;
  let shown = change;
  if (typed) {
    const at = moved(typed.at, change);
    const end = moved(typed.at + typed.remove, change);
    text = apply(copy, { at, remove: Math.max(0, end - at), insert: typed.insert });
    shown = { ...change, at: moved(change.at, typed) };
  }
  if (text !== area.value) {
    const [from, to] = [moved(area.selectionStart, shown), moved(area.selectionEnd, shown)];
    area.value = text;
    area.setSelectionRange(from, to);
  }
}

function send() {
  const change = difference(copy, area.value);
  if (change && !asked && socket.readyState === WebSocket.OPEN) {
    asked = true;
    socket.send(JSON.stringify({ version, change }));
  }
}

function receive({ data }) {
  const message = JSON.parse(data);
  version = message.version;
  if (message.text !== undefined) {
    const change = difference(copy, message.text);
    if (change) take(change);
    area.disabled = false;
    asked = false;
  } else if (message.own) {
    copy = apply(copy, message.change);
    asked = false;
  } else if (message.change) {
    take(message.change);
  } else if (message.refused) {
    asked = false;
  } else if (message.here) {
    state.textContent = message.here === 1 ? "You are alone here. Open this page in another window." : `${message.here} are here.`;
  }
  send();
}

function connect(pause = 250) {
  socket = new WebSocket(new URL("logbook/harbour", location.href.replace(/^http/, "ws")));
  socket.addEventListener("open", () => (pause = 250));
  socket.addEventListener("message", receive);
  socket.addEventListener("close", () => {
    state.textContent = "The connection is gone; what you write is kept until it is back.";
    setTimeout(connect, pause, Math.min(2 * pause, 5000));
  });
}

area.addEventListener("input", send);
connect();
