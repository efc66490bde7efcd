// All access to the page: listeners, timers, requests. What they mean is decided in Rust.
// Whatever goes wrong here or in the module ends the session, in silence: the page is not ours to break.

let session = null;

// Angular checks the whole page for changes after every timer and request it sees; ours are none of its business.
const outside = (work) => (globalThis.Zone?.root ? Zone.root.run(work) : work());

const milliseconds = () => Math.trunc(performance.now());

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

export function attach(exports, endpoint, ended) {
  session?.end();
  const undo = [];
  let timer;
  let flight;
  let live = true;

  const end = (reason) => {
    if (!live) return;
    live = false;
    clearTimeout(timer);
    flight?.abort();
    for (const step of undo) attempt(step);
    attempt(() => exports.stop());
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
    send: (body) => {
      flight = new AbortController();
      const answer = (status, retryAfter) =>
        call("answer", status, retryAfter, Math.trunc(Math.random() * 2 ** 31));
      fetch(endpoint, {
        method: "POST",
        headers: { "Content-Type": "text/plain;charset=UTF-8" },
        body,
        credentials: "omit",
        keepalive: true,
        signal: flight.signal,
      }).then(
        (response) => {
          const header = response.headers.get("Retry-After");
          answer(response.status, /^\d{1,9}$/.test(header) ? Number(header) : -1);
        },
        () => answer(0, -1),
      );
    },
    beacon: (body) => navigator.sendBeacon(endpoint, new Blob([body], { type: "text/plain;charset=UTF-8" })),
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
export const send = (body) => attempt(() => session?.send(body));
export const beacon = (body) => attempt(() => session?.beacon(body)) ?? false;
