// All access to the page: listeners, timers, requests. The Rust code decides what they mean. Any error here or in the
// module ends the session silently, so that the host page is never affected.

let session = null;

// On a form or document, named elements shadow the object's own properties: `document.hidden` may be an image. The
// prototype has the real ones.
const read = (node, key) => Reflect.get(Object.getPrototypeOf(node), key, node);
const invoke = (node, key, ...args) => read(node, key).apply(node, args);
const ofDocument = (key) => read(document, key);
// Elements with an id are properties of the window's prototype.
const ofWindow = (key) => (globalThis.hasOwnProperty(key) ? globalThis[key] : undefined);
// The browser reads more options than we set, and would pick up any that a page added to `Object.prototype`.
const bare = (object) => ({ __proto__: null, ...object });

// Angular runs change detection after every timer and request in its zone; ours run outside of it.
function outside(work) {
  const zone = ofWindow("Zone");
  return zone?.root ? zone.root.run(work) : work();
}

const milliseconds = () => Math.trunc(performance.now());

// A request without an answer after this long counts as failed.
const ANSWER_MS_MAX = 30_000;

// Property values in the module's format: text is prefixed with `s`; numbers and booleans are already JSON.
function flat(props) {
  const parts = [];
  const clean = (text) => text.replaceAll("\0", "");
  for (const [key, value] of Object.entries(props ?? {})) {
    if (isText(value)) parts.push(clean(key), "s" + clean(value));
    else if (["boolean", "bigint"].includes(typeof value) || Number.isFinite(value)) parts.push(clean(key), " " + value);
  }
  return parts.join("\0");
}

// A form field or an attribute holds the number 5 as "5".
const number = (value) => {
  if (isText(value) && value.trim()) return Number(value);
  return typeof value === "number" ? value : NaN;
};

const isText = (value) => typeof value === "string";

const TYPE = "text/plain;charset=UTF-8";

// The page token, sent with every batch; the relay's answers carry newer ones.
let token;
const TOKEN = /^[\w-]{1,99}$/;
// Replaces the status if the token was refused and the answer carries a new one. `delivery.rs` uses the same value.
const RENEWED = 401;

// Status and Retry-After of an answer. A login page, a captive portal or another server can answer anything: only the
// relay's answers count, and those with which any server reports overload or throttling. The rest is no answer.
async function verdict(response) {
  const { status, headers, redirected } = response;
  const after = headers.get("Retry-After");
  const retryAfter = /^\d{1,9}$/.test(after) ? Number(after) : -1;
  const refused = status === 413 || status === 429 || status >= 500 || headers.get("Content-Type")?.startsWith("application/problem+json");
  const said = bare(await response.json().catch(() => null));
  const taken = status === 202 && typeof said.accepted === "number";
  if (redirected || !(taken || refused)) return [0, retryAfter];
  const isRenewed = isText(said.token) && TOKEN.test(said.token);
  if (isRenewed) token = said.token;
  return [isRenewed && status === 403 ? RENEWED : status, retryAfter];
}

// The storage key, shared by all tabs, of the browser's value of the day; the loader removes it when the user says no.
let shelf;
let kept = "";
const VALUE = /^[0-9a-f]{32}$/;

// A random value of the UTC day: with it the relay distinguishes browsers of the same make behind one address. It is
// kept for at most its day and an hour. In that hour both values are sent, so that a visit across midnight remains one.
export function visitor() {
  const now = Date.now();
  const today = Math.floor(now / 86_400_000);
  const early = now % 86_400_000 < 3_600_000;
  const isOfToday = (text) => text.startsWith(`${today} `);
  let found = attempt(() => localStorage.getItem(shelf)) ?? kept;
  // Storage that is readable but not writable may hold an old one.
  if (isOfToday(kept) && !isOfToday(found)) found = kept;
  let [day, value, before] = found.split(" ");
  if (+day !== today || !VALUE.test(value)) [value, before] = [random_id(), +day === today - 1 && value];
  const values = early && VALUE.test(before) ? `${value} ${before}` : value;
  kept = `${today} ${values}`;
  if (kept !== found) attempt(() => localStorage.setItem(shelf, kept));
  return values;
}

// A pane that covers less of the window is part of a page, not its content.
const PANE_SHARE_MIN = 1 / 4;
// Content that overflows by less, as a share of its visible part, does not count as scrollable.
const HIDDEN_SHARE_MIN = 1 / 10;
// Probe points for panes, as shares of the window: a pane that covers a quarter of it contains one of these nine
// points.
const POINTS = [1 / 6, 1 / 2, 5 / 6];
// Depth limit of nested shadow trees.
const SHADOWS_MAX = 4;

const root = () => ofDocument("scrollingElement") ?? ofDocument("documentElement");
const isTall = (element, seen) => read(element, "scrollHeight") - seen > seen * HIDDEN_SHARE_MIN;
const overflow = (element) => (element ? getComputedStyle(element).overflowY : "");
const isLocked = () => /hidden|clip/.test(overflow(ofDocument("documentElement")) + overflow(ofDocument("body")));

// The element that the user scrolls: the document, or the largest pane of a document that does not scroll.
function findScroller(last) {
  const page = root();
  if (isTall(page, innerHeight) && (scrollY > 0 || !isLocked())) return page;
  if (last && read(last, "isConnected") && read(last, "scrollTop") && isTall(last, read(last, "clientHeight"))) return last;
  let found = page;
  let largest = innerWidth * innerHeight * PANE_SHARE_MIN;
  const points = POINTS.flatMap((x) => POINTS.map((y) => [innerWidth * x, innerHeight * y]));
  for (const element of new Set(points.flatMap(([x, y]) => elementsAt(document, x, y)))) {
    const area = areaOf(element);
    if (element !== page && element !== ofDocument("documentElement") && area > largest && isPane(element)) {
      found = element;
      largest = area;
    }
  }
  return found;
}

const areaOf = (element) => read(element, "clientWidth") * read(element, "clientHeight");
const isPane = (element) =>
  isTall(element, read(element, "clientHeight")) && (/auto|scroll/.test(overflow(element)) || read(element, "scrollTop") !== 0);

function elementsAt(tree, x, y, depth = 0) {
  return invoke(tree, "elementsFromPoint", x, y).flatMap((element) => {
    const inner = depth < SHADOWS_MAX && invoke(element, "getRootNode") === tree && read(element, "shadowRoot");
    return inner ? [element, ...elementsAt(inner, x, y, depth + 1)] : [element];
  });
}

// How far a scroller was seen, and its height. A document that hides content without a way to scroll to it is moved by
// other means, if at all: then the depth is unknown.
function extent(scroller) {
  const heightOf = (element) => (element ? read(element, "scrollHeight") : 0);
  if (scroller !== root()) return [Math.abs(read(scroller, "scrollTop")) + read(scroller, "clientHeight"), heightOf(scroller)];
  const height = Math.max(heightOf(ofDocument("documentElement")), heightOf(ofDocument("body")));
  const isStuck = scrollY === 0 && height > innerHeight && isLocked();
  return isStuck ? undefined : [scrollY + innerHeight, height];
}

export function attach(exports, endpoint, site, options) {
  session?.end();
  token = options.token;
  shelf = `feedback-relay:${site}:today`;
  const undo = [];
  const flights = new Set();
  let timer;
  // The last request failed: the next one does not use `keepalive`, which browsers ration.
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
    if (reason) attempt(() => options.ended(reason));
  };
  const call = (name, ...args) => {
    if (!live) return;
    try {
      outside(() => exports[name](...args));
    } catch {
      end("failed");
    }
  };
  const listen = (target, type, handler, capture = false) => {
    const how = bare({ passive: true, capture });
    invoke(target, "addEventListener", type, handler, how);
    undo.push(() => invoke(target, "removeEventListener", type, handler, how));
  };
  const look = (name, visible = ofDocument("visibilityState") === "visible", ...more) =>
    call(name, milliseconds(), location.href, visible, invoke(document, "hasFocus"), ...more);

  let scroller;
  const forget = (element) => element && invoke(element, "removeEventListener", "scroll", measure);
  const measure = () =>
    attempt(() => {
      const last = scroller;
      scroller = findScroller(last);
      if (scroller !== last) {
        forget(last);
        // The document receives the scroll events of all panes except those in shadow trees.
        if (invoke(scroller, "getRootNode") !== document) invoke(scroller, "addEventListener", "scroll", measure, bare({ passive: true }));
      }
      const [bottom, height] = extent(scroller) ?? [];
      if (height) call("scroll", Math.ceil(bottom), height, scroller !== last);
    });
  undo.push(() => forget(scroller));
  // Widgets scroll often and are not measured.
  const scrolled = ({ target }) => {
    if (target === document || areaOf(target) > innerWidth * innerHeight * PANE_SHARE_MIN) measure();
  };

  session = {
    end,
    wakeIn: (ms) => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        // A second after a new page, its content has been drawn.
        measure();
        call("wake");
      }, ms);
    },
    send: (number, unsigned, parting) => {
      const body = token ? `{"token":"${token}",${unsigned.slice(1)}` : unsigned;
      const answer = ([status, retryAfter]) => {
        strained = status === 0;
        call("answer", number, status, retryAfter, Math.trunc(Math.random() * 2 ** 31));
      };
      // A beacon has no answer, and filter lists block beacons first. It is only for browsers without an alternative.
      if (parting && !("keepalive" in Request.prototype) && attempt(() => navigator.sendBeacon(endpoint, new Blob([body], bare({ type: TYPE }))))) {
        return answer([202, -1]);
      }
      const flight = new AbortController();
      flights.add(flight);
      const late = setTimeout(() => flight.abort(), ANSWER_MS_MAX);
      const request = bare({
        method: "POST",
        headers: { "Content-Type": TYPE },
        body,
        keepalive: parting || !strained,
        signal: flight.signal,
      });
      // Within a promise, because a page's replacement of fetch may throw.
      new Promise((sent) => sent(fetch(endpoint, request)))
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
    let place;
    const moved = (replaced) => {
      // A page is measured before its router draws the next one. A map that writes its position into the query many
      // times a second stays on its page.
      const next = location.pathname + location.hash.split("?")[0];
      if (next !== place) measure();
      place = next;
      look("navigate", undefined, replaced, navigator.userActivation?.hasBeenActive === false);
    };
    hearOfMoves(moved, listen, undo);
    const attention = () => {
      measure();
      look("attend");
    };
    listen(document, "visibilitychange", attention);
    listen(window, "focus", attention);
    listen(window, "blur", attention);
    listen(window, "pagehide", () => {
      measure();
      look("attend", false);
    });
    listen(window, "online", () => call("online"));
    listen(window, "pageshow", (event) => event.persisted && open());
    listen(document, "scroll", scrolled, true);
    if (ofWindow("ResizeObserver")) {
      const observer = new ResizeObserver(measure);
      observer.observe(ofDocument("documentElement"));
      undo.push(() => observer.disconnect());
    }
    open();
  };
  const open = () => {
    look("open");
    measure();
  };
  // An opt-out could not reach a session that started only partly.
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

// Calls `moved` after each change of the address, with whether it replaced the previous history entry.
function hearOfMoves(moved, listen, undo) {
  // One event for every kind of change, without wrapping the page's functions. A page may have a variable of this name,
  // and a document without an origin has no entries.
  const navigation = attempt(() => ofWindow("navigation"));
  if (navigation?.currentEntry && navigation.addEventListener) {
    listen(navigation, "currententrychange", ({ navigationType }) => moved(navigationType === "replace"));
    return;
  }
  // Until a page has loaded, browsers replace its history entry instead of adding one.
  const rewritten = () => moved(ofDocument("readyState") !== "complete");
  listen(window, "hashchange", rewritten);
  listen(window, "popstate", rewritten);
  // If the history cannot be wrapped, changes of the hash are still observed.
  attempt(() => wrap("pushState", () => moved(false), undo));
  attempt(() => wrap("replaceState", () => moved(true), undo));
}

// The original runs first, and its result or exception is passed on. If another script wrapped our wrapper, removing
// ours would remove theirs as well, so it stays and does nothing.
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
export const referrer = () => ofDocument("referrer");
export const random_id = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
export const wake_in = (ms) => session?.wakeIn(ms);
export const now = milliseconds;
export const send = (number, body, parting) => attempt(() => session?.send(number, body, parting));
