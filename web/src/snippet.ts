// The loader: knows the user's choice and the administrators' switch, and fetches the module only if both say yes.
// Without a yes from the user it makes no request. It never throws into the page.
//
// An element named `scripts` shadows `document.scripts`, one with the id `feedback` appears as `window.feedback`, and
// scripts may add properties to `Object.prototype`. Therefore nothing is read that a page's markup or such a script can
// shadow: see `ofWindow` and `bare`. The document's properties are read from its prototype. Replacements of `fetch`,
// `JSON` or `localStorage` by the page itself are trusted.

import type * as Client from "./client";
import type { Feedback, FeedbackCall, FeedbackProps, FeedbackState } from "./feedback";

interface Stored {
  choice: "in" | "out";
  plan: number | null;
  categories: string[];
  /** When the user decided, in milliseconds, and always later than any stored decision. The latest counts. */
  at: number;
}

interface Config {
  enabled: boolean;
  plan: number;
  categories: string[];
  token: string | undefined;
}

/** One start of the module; after the user has said no, the current one is another or none. */
interface Run {
  ready?: Promise<void>;
  handle?: Client.Handle;
}

/** Limit of calls kept until the user has decided. Above it the oldest is dropped, ratings last. */
const CALLS_MAX = 100;
/** Time limit for a request and for loading; afterwards they count as failed. */
const ANSWER_MS_MAX = 10_000;
/**
 * How often a page whose user said yes checks whether it may collect: at first, at least, and while the relay says yes
 * but refuses.
 */
const LOOK_MS = 5_000;
const LOOK_MS_MAX = 60_000;
const REFUSED_MS_MAX = 3_600_000;

const base = new URL(".", import.meta.url).href;
/**
 * A property of the window itself. Named elements appear on its prototype, and cannot shadow properties that every
 * object has.
 */
const ofWindow = (key: string): any => window.hasOwnProperty(key) && window[key as keyof Window];
/** The own properties of an object, without inherited ones. */
const bare = <T>(object?: T): T => ({ __proto__: null, ...object }) as T;

const script = [...(Reflect.get(Document.prototype, "scripts", document) as HTMLCollectionOf<HTMLScriptElement>)].find((element) => element.src === import.meta.url);
const site = script?.getAttribute("data-site") || location.hostname;
const key = `feedback-relay:${site}`;
/** Otherwise uncounted browsers that the page wants to count. */
const counted = script?.getAttribute("data-count") ?? "";

let remembered: Stored | null = null;
let storage = true;
/** The last decision made in this tab. */
let mine: Stored | null = null;
let latest = 0;
let config: Config | null = null;
/** Whether the relay answered the last request. */
let heard = false;
let asked = 0;
let asking: Promise<void> | undefined;
let run: Run | undefined;
/** The module failed: off until the page is loaded again. */
let failed = false;
/** Nothing is started before this time, because the relay refused a batch or the module could not be loaded. */
let rest = 0;
let refusals = 0;
let looks = 0;
let loads = 0;
let client: typeof Client | undefined;
let timer: ReturnType<typeof setTimeout> | undefined;
let calls: ["track" | "rate", unknown, unknown][] = [];

// Angular runs change detection after every timer in its zone, and waits for them.
declare const Zone: { root: { run<T>(work: () => T): T } };

function later(work: () => void, ms: number): ReturnType<typeof setTimeout> {
  const start = () => setTimeout(work, ms);
  try {
    return Zone.root.run(start);
  } catch {
    return start();
  }
}

function inTime<T>(work: Promise<T>): Promise<T> {
  return Promise.race([work, new Promise<never>((_, fail) => later(fail as () => void, ANSWER_MS_MAX))]);
}

/** The pause before the next check: doubles each time, with jitter between browsers. */
const pause = (times: number, ms_max: number) => Math.min(LOOK_MS * 2 ** times, ms_max) * (1 - Math.random() / 2);

function read(): Stored | null {
  if (storage) {
    try {
      const found = bare<Stored>(JSON.parse(localStorage.getItem(key) ?? "null"));
      if (!Number.isSafeInteger(found.at)) found.at = 0;
      remembered = found.choice === "out" || (found.choice === "in" && Array.isArray(found.categories)) ? found : null;
    } catch (error) {
      // The stored text was unreadable, which counts as none. Any other error means that there is no storage.
      if (error instanceof SyntaxError) remembered = null;
      else storage = false;
    }
  }
  return remembered;
}

/** The time of a decision made now. Clocks jump; the order of decisions must not. */
const decided = () => (latest = Math.max(Date.now(), latest + 1, (read()?.at ?? 0) + 1));

function write(stored: Stored): void {
  // The user decided again while this one waited for the relay, here or in another tab.
  if ((read()?.at ?? 0) < stored.at) keep(stored);
}

function keep(stored: Stored): void {
  mine = remembered = stored;
  try {
    // Hand-written: JSON.stringify calls a `toJSON` that objects and lists inherit.
    localStorage.setItem(key, `{"choice":"${stored.choice}","plan":${stored.plan},"categories":[${stored.categories.map((category) => `"${category}"`)}],"at":${stored.at}}`);
    storage = true;
  } catch {
    // From here on this page's memory counts. An older answer must not outlive a newer one.
    storage = false;
    try {
      localStorage.removeItem(key);
    } catch {
      // There is none to remove.
    }
  }
}

/** Why this browser is not counted, whatever its user chose: the same reasons as in Plausible's tracker. */
function uncounted(): "automation" | "ignored" | null {
  const driven = navigator.webdriver || ["_phantom", "__nightmare", "Cypress"].some(ofWindow);
  if (driven && !counted.includes("automation")) return "automation";
  try {
    return localStorage.getItem("plausible_ignore") === "true" && !counted.includes("ignored") ? "ignored" : null;
  } catch {
    return null;
  }
}

function signal(): FeedbackState["signal"] {
  const { globalPrivacyControl, doNotTrack } = navigator as Navigator & {
    globalPrivacyControl?: boolean;
    doNotTrack?: string | null;
  };
  return uncounted() ?? (globalPrivacyControl ? "gpc" : doNotTrack === "1" ? "dnt" : null);
}

function choice(): FeedbackState["choice"] {
  const stored = read();
  if (!stored || (stored.choice === "in" && config && stored.plan !== config.plan)) return "unset";
  return stored.choice;
}

function current(): FeedbackState {
  return {
    collection: heard ? (config!.enabled ? "on" : "off") : "unknown",
    choice: choice(),
    active: !!run?.handle,
    plan: config?.plan ?? null,
    signal: signal(),
  };
}

const textOf = (values: object) => String(Object.values(values));
let told = textOf(current());

function tell(): FeedbackState {
  const state = current();
  const text = textOf(state);
  if (text !== told) {
    told = text;
    dispatchEvent(new CustomEvent("feedback-state", bare({ detail: state })));
  }
  return state;
}

/** Asks the relay; without an answer the last one counts. */
function ask(): Promise<void> {
  asked = performance.now();
  asking ??= (async () => {
    const answer = await inTime(question()).catch(() => null);
    config = answer ?? config;
    heard = !!answer;
    asking = undefined;
  })();
  return asking;
}

async function question(): Promise<Config | null> {
  const response = await fetch(
    `${base}api/config?site=${encodeURIComponent(site)}`,
    bare<RequestInit>({ signal: AbortSignal.timeout?.(ANSWER_MS_MAX) }),
  );
  const answer = bare<Config>(await response.json());
  // A login page may answer instead of the relay.
  return response.ok && !response.redirected && typeof answer.plan === "number" && Array.isArray(answer.categories) ? answer : null;
}

/** Whether calls can still wait for a decision. */
function open(): boolean {
  const said = choice();
  return !failed && !uncounted() && (!!asking || config?.enabled !== false) && (said === "in" || (said === "unset" && !signal()));
}

/** Starts or stops the module, as the current state requires. */
async function settle(): Promise<FeedbackState> {
  try {
    const agreed = choice() === "in";
    // The module's value of the day is for users who said yes.
    if (!agreed && storage) localStorage.removeItem(`${key}:today`);
    const wanted = !failed && agreed && config?.enabled && !uncounted();
    if (!wanted) halt();
    else if (!run && performance.now() >= rest) {
      run = bare<Run>();
      run.ready = begin(run, config!);
    }
    if (!open()) calls = [];
    await run?.ready;
    schedule();
  } catch {
    halt();
  }
  return tell();
}

/** Whether the user said yes but nothing runs, which may change at any time. */
const waits = () => !run && !failed && !uncounted() && choice() === "in";

/** Checks again after a pause, as long as the page is visible. */
function schedule(): void {
  clearTimeout(timer);
  if (!waits()) looks = 0;
  else if (document.hidden !== true && !Reflect.get(Document.prototype, "hidden", document)) {
    timer = later(resume, Math.min(Math.max(rest - performance.now(), pause(looks++, LOOK_MS_MAX)), REFUSED_MS_MAX));
  }
}

/** Called on each use of the page: a run that ended may begin again. */
function wake(): void {
  if (waits() && performance.now() >= Math.max(rest, asked + LOOK_MS)) void resume();
}

function halt(): void {
  run?.handle?.stop();
  run = undefined;
}

async function begin(mine: Run, { plan, categories: offered, token }: Config): Promise<void> {
  let loaded = false;
  try {
    // Some browsers remember by URL that loading failed.
    const part = client ?? ((await inTime(import(`${base}client.js${loads++ ? `?${loads}` : ""}`))) as typeof Client);
    await inTime(part.load(base));
    client = part;
    loaded = true;
    await inTime(part.ready());
    if (run !== mine) return;
    const stored = read();
    if (stored?.choice !== "in" || stored.plan !== plan) return halt();
    mine.handle = part.start({
      base,
      site,
      plan,
      categories: stored.categories.filter((category) => offered.includes(category)),
      token,
      ended: (reason) => void ended(reason),
    });
    for (const [method, ...args] of calls) mine.handle[method](...args);
    calls = [];
  } catch {
    if (run === mine) {
      halt();
      // No WebAssembly, or a policy against it: off for this page. A relay that is away may come back.
      failed = loaded;
      rest = performance.now() + pause(looks, LOOK_MS_MAX);
    }
  }
}

/** The module has switched itself off. Usually the switch was turned off, and the page may want to show that. */
async function ended(reason: "refused" | "failed"): Promise<void> {
  halt();
  failed ||= reason === "failed";
  rest = Infinity;
  tell();
  await ask();
  refusals = config?.enabled ? refusals + 1 : 0;
  rest = refusals && performance.now() + pause(refusals - 1, REFUSED_MS_MAX);
  await settle();
}

function call(method: "track" | "rate", first: unknown, second: unknown): void {
  try {
    // A copy, because the page may change the object afterwards. Copying can throw: a property may be a getter.
    const copy = typeof second === "object" ? { ...second } : second;
    if (run?.handle) return run.handle[method](first, copy);
    wake();
    if (open()) calls.push([method, first, copy]);
    if (calls.length > CALLS_MAX) calls.splice(Math.max(0, calls.findIndex(([kept]) => kept === "track")), 1);
  } catch {
    // Not worth an error in the page.
  }
}

const feedback: Feedback = {
  async optIn(categories) {
    const at = decided();
    await ask();
    if (config) {
      const { plan, categories: offered } = config;
      const agreed = Array.isArray(categories) ? offered.filter((category) => categories.includes(category)) : offered;
      const text = () => textOf({ ...read(), at: 0 });
      const before = text();
      write({ choice: "in", plan, categories: agreed, at });
      // A run under an older agreement must stop; repeating the same answer changes nothing.
      if (text() !== before) halt();
      rest = 0;
    }
    return settle();
  },
  async optOut() {
    write({ choice: "out", plan: config?.plan ?? null, categories: [], at: decided() });
    return settle();
  },
  async state() {
    await ask();
    return settle();
  },
  track: (name: string, props?: FeedbackProps) => call("track", name, props),
  rate: (activity: string, rating: number) => call("rate", activity, rating),
};

/** Runs the calls that a page queued, before or after this script was loaded. */
function push(...written: FeedbackCall[]): void {
  for (const entry of written) {
    try {
      const [method, ...args] = entry;
      (feedback[method] as (...args: unknown[]) => unknown)(...args);
    } catch {
      // Not a call, or of an unknown method.
    }
  }
}

/** Starts the module if the user opted in; only then asks the relay. */
async function resume(): Promise<void> {
  if (waits()) await ask();
  await settle();
}

/** Another tab stored its user's choice. */
function heed(): void {
  const found = read();
  // Tabs may write in a different order than their user decided. A no overrides any older record.
  const older = found && mine && (found.at < mine.at || (found.at === mine.at && found.choice !== mine.choice && mine.choice === "out"));
  if (older && (mine!.choice === "out" || found.at)) keep(mine!);
  void resume();
}

function install(): void {
  // A second copy of the snippet must not count everything twice.
  const early = bare(ofWindow("feedback") as Partial<NonNullable<Window["feedback"]>>);
  if (early.optIn) return;
  window.feedback = { ...feedback, q: { push } };
  // The user's answer in another tab counts here as well, also if this page returns from the back-forward cache and has
  // missed the message.
  addEventListener("storage", (event) => {
    // Another tab could write, so storage is available again.
    if (event.key === key || event.key === null) {
      storage = true;
      heed();
    }
  });
  addEventListener("pageshow", (event) => {
    if (event.persisted) void resume();
  });
  for (const use of ["popstate", "hashchange", "online"]) addEventListener(use, wake);
  addEventListener("visibilitychange", () => (wake(), schedule()), true);
  if (Array.isArray(early.q)) push(...(early.q as FeedbackCall[]));
  void resume();
  // Last, because a page may have something else of this name.
  ofWindow("navigation")?.addEventListener("currententrychange", wake);
}

try {
  install();
} catch {
  // The page has its own `feedback` that cannot be replaced, or its own `navigation`.
}
