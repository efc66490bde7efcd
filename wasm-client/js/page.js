// All access to the page: listeners, timers, requests. What they mean is decided in Rust.
// Whatever goes wrong here or in the module ends the session, in silence: the page is not ours to break.

let session = null;

// Angular checks the whole page for changes after every timer and request it sees; ours are none of its business.
const outside = (work) => (globalThis.Zone?.root ? Zone.root.run(work) : work());

const milliseconds = () => Math.trunc(performance.now());

// A request without an answer after this long counts as failed.
const ANSWER_MS_MAX = 30_000;

// Property values as the module reads them: text is marked with `s`, numbers and booleans are JSON already.
function flat(props) {
  const parts = [];
  const clean = (text) => text.replaceAll("\0", "");
  for (const [key, value] of Object.entries(props ?? {})) {
    if (isText(value)) parts.push(clean(key), "s" + clean(value));
    else if (["boolean", "bigint"].includes(typeof value) || Number.isFinite(value)) parts.push(clean(key), " " + value);
  }
  return parts.join("\0");
}

// A form's field and an attribute hold the number 5 as "5".
const number = (value) => {
  if (isText(value) && value.trim()) return Number(value);
  return typeof value === "number" ? value : NaN;
};

const isText = (value) => typeof value === "string";

const TYPE = "text/plain;charset=UTF-8";

// Status and Retry-After of an answer. A login page, a captive portal or another server can answer anything: only the
// relay's answers count, and those by which any server says that it is busy or takes less. The rest is no answer.
async function verdict(response) {
  const { status, headers, redirected } = response;
  const after = headers.get("Retry-After");
  const retryAfter = /^\d{1,9}$/.test(after) ? Number(after) : -1;
  const refused = status === 413 || status === 429 || status >= 500 || headers.get("Content-Type")?.startsWith("application/problem+json");
  const taken = status === 202 && typeof (await response.json()).accepted === "number";
  return [!redirected && (taken || refused) ? status : 0, retryAfter];
}

// Where all tabs find the browser's value of the day; the loader removes it when the user says no.
let shelf;
let kept = "";
const VALUE = /^[0-9a-f]{32}$/;

// A random value of the UTC day: by it the relay distinguishes browsers of one make behind one address. It is not kept
// longer than its day and an hour. In that hour both values are sent, so that a visit over midnight stays one.
export function visitor() {
  const now = Date.now();
  const today = Math.floor(now / 86_400_000);
  const early = now % 86_400_000 < 3_600_000;
  const found = attempt(() => localStorage.getItem(shelf)) ?? kept;
  let [day, value, before] = found.split(" ");
  if (+day !== today || !VALUE.test(value)) [value, before] = [random_id(), +day === today - 1 && value];
  const values = early && VALUE.test(before) ? `${value} ${before}` : value;
  kept = `${today} ${values}`;
  if (kept !== found) attempt(() => localStorage.setItem(shelf, kept));
  return values;
}

export function attach(exports, endpoint, site, ended) {
  session?.end();
  shelf = `feedback-relay:${site}:today`;
  const undo = [];
  const flights = new Set();
  let timer;
  // The last request failed: the next one does without what browsers ration.
  let strained = false;
  let live = true;

  const end = (reason) => {
    if (!live) return;
    live = false;
    clearTimeout(timer);
    for (const flight of flights) flight.abort();
    for (const step of undo) attempt(step);
    attempt(() => exports.stop());
    kept = "";
    if (reason) attempt(() => ended(reason));
  };
  const call = (name, ...args) => {
    if (!live) return;
    try {
      outside(() => exports[name](...args));
    } catch {
      end("failed");
    }
  };
  const listen = (target, type, handler) => {
    const options = { passive: true };
    target.addEventListener(type, handler, options);
    undo.push(() => target.removeEventListener(type, handler, options));
  };
  const look = (name, visible = document.visibilityState === "visible") =>
    call(name, milliseconds(), location.href, visible, document.hasFocus());
  const measure = () => {
    const { documentElement, body } = document;
    const height = Math.max(documentElement.scrollHeight, body?.scrollHeight ?? 0);
    call("scroll", Math.ceil(scrollY + innerHeight), height);
  };

  session = {
    end,
    wakeIn: (ms) => {
      clearTimeout(timer);
      timer = setTimeout(() => call("wake"), ms);
    },
    send: (number, body, parting) => {
      const answer = ([status, retryAfter]) => {
        strained = status === 0;
        call("answer", number, status, retryAfter, Math.trunc(Math.random() * 2 ** 31));
      };
      // A beacon has no answer, and filter lists block beacons first. It is for browsers that have nothing better.
      if (parting && !("keepalive" in Request.prototype) && attempt(() => navigator.sendBeacon(endpoint, new Blob([body], { type: TYPE })))) {
        return answer([202, -1]);
      }
      const flight = new AbortController();
      flights.add(flight);
      const late = setTimeout(() => flight.abort(), ANSWER_MS_MAX);
      fetch(endpoint, {
        method: "POST",
        headers: { "Content-Type": TYPE },
        body,
        credentials: "same-origin",
        keepalive: parting || !strained,
        signal: flight.signal,
      })
        .then(verdict)
        .catch(() => [0, -1])
        .then((ended) => {
          clearTimeout(late);
          flights.delete(flight);
          answer(ended);
        });
    },
  };

  const begin = () => {
    const moved = () => look("navigate");
    listen(window, "hashchange", moved);
    listen(window, "popstate", moved);
    // A history that cannot be changed leaves the addresses that change by hash.
    for (const name of ["pushState", "replaceState"]) attempt(() => wrap(name, moved, undo));
    const attention = () => look("attend");
    listen(document, "visibilitychange", attention);
    listen(window, "focus", attention);
    listen(window, "blur", attention);
    listen(window, "pagehide", () => look("attend", false));
    listen(window, "online", () => call("online"));
    listen(window, "pageshow", (event) => event.persisted && look("open"));
    listen(window, "scroll", measure);
    if (globalThis.ResizeObserver) {
      const observer = new ResizeObserver(measure);
      observer.observe(document.documentElement);
      undo.push(() => observer.disconnect());
    }
    measure();
    look("open");
  };
  // Half a start would be one that no opt-out reaches.
  try {
    outside(begin);
  } catch {
    end("failed");
  }

  return {
    track: (name, props) => attempt(() => isText(name) && call("track", name, flat(props))),
    rate: (activity, rating) => attempt(() => isText(activity) && call("rate", activity, number(rating))),
    stop: () => end(),
    dropped: () => (live ? exports.dropped() : 0),
  };
}

// The original runs first and its result or exception is passed on. When someone else wrapped ours in
// turn, taking it out would take out theirs too, so it stays and does nothing.
function wrap(name, moved, undo) {
  const own = Object.hasOwn(history, name);
  const original = history[name];
  const wrapped = function (...args) {
    const result = Reflect.apply(original, this, args);
    moved();
    return result;
  };
  history[name] = wrapped;
  undo.push(() => {
    if (history[name] !== wrapped) return;
    if (own) history[name] = original;
    else delete history[name];
  });
}

function attempt(step) {
  try {
    return step();
  } catch {
    return undefined;
  }
}

export const detach = () => session?.end("refused");
export const referrer = () => document.referrer;
export const random_id = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
export const wake_in = (ms) => session?.wakeIn(ms);
export const now = milliseconds;
export const send = (number, body, parting) => attempt(() => session?.send(number, body, parting));
