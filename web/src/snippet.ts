// The loader: knows the user's choice and the administrators' switch, and fetches the module only when
// both say yes. On its own it makes no request. It never throws into the page.

import type * as Client from "./client";
import type { Feedback, FeedbackCall, FeedbackProps, FeedbackState } from "./feedback";

interface Stored {
  choice: "in" | "out";
  plan: number | null;
  categories: string[];
}

interface Config {
  enabled: boolean;
  plan: number;
  categories: string[];
}

/** One start of the module; another one, or none, is the current one after the user has said no. */
interface Run {
  ready?: Promise<void>;
  handle?: Client.Handle;
}

/** Calls kept until the user has decided; the oldest go first. */
const CALLS_MAX = 100;

const base = new URL(".", import.meta.url).href;
const script = [...document.scripts].find((element) => element.src === import.meta.url);
const site = script?.dataset["site"] || location.hostname;
const key = `feedback-relay:${site}`;

let remembered: Stored | null = null;
let storage = true;
let config: Config | null = null;
let asking: Promise<void> | undefined;
let run: Run | undefined;
/** The relay refused this page or the module failed: off until the page is loaded again. */
let ended = false;
let calls: ["track" | "rate", unknown, unknown][] = [];

function read(): Stored | null {
  if (storage) {
    try {
      const found = JSON.parse(localStorage.getItem(key) ?? "null") as Stored | null;
      const { choice, plan, categories } = found ?? {};
      remembered =
        choice === "out" || (choice === "in" && Array.isArray(categories))
          ? { choice, plan: plan ?? null, categories: categories ?? [] }
          : null;
    } catch (error) {
      // Something unreadable was stored: as good as nothing. Anything else means there is no storage.
      if (error instanceof SyntaxError) remembered = null;
      else storage = false;
    }
  }
  return remembered;
}

function write(stored: Stored): void {
  remembered = stored;
  try {
    localStorage.setItem(key, JSON.stringify(stored));
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

function signal(): FeedbackState["signal"] {
  const { globalPrivacyControl, doNotTrack } = navigator as Navigator & {
    globalPrivacyControl?: boolean;
    doNotTrack?: string | null;
  };
  return globalPrivacyControl ? "gpc" : doNotTrack === "1" ? "dnt" : null;
}

function choice(): FeedbackState["choice"] {
  const stored = read();
  if (!stored || (stored.choice === "in" && config && stored.plan !== config.plan)) return "unset";
  return stored.choice;
}

function current(): FeedbackState {
  return {
    collection: config ? (config.enabled ? "on" : "off") : "unknown",
    choice: choice(),
    active: !!run?.handle,
    plan: config ? config.plan : null,
    signal: signal(),
  };
}

let told = JSON.stringify(current());

function tell(): FeedbackState {
  const state = current();
  const text = JSON.stringify(state);
  if (text !== told) {
    told = text;
    dispatchEvent(new CustomEvent("feedback-state", { detail: state }));
  }
  return state;
}

/** Asks the relay; without an answer the last one counts. */
function ask(): Promise<void> {
  asking ??= (async () => {
    try {
      const response = await fetch(`${base}api/config?site=${encodeURIComponent(site)}`, { credentials: "omit" });
      const { enabled, plan, categories } = (await response.json()) as Partial<Config>;
      if (response.ok && typeof plan === "number" && Array.isArray(categories)) {
        config = { enabled: enabled === true, plan, categories };
      }
    } catch {
      // Unknown stays unknown.
    }
    asking = undefined;
  })();
  return asking;
}

/** Whether a call may wait for a decision that is still open. */
function open(): boolean {
  const said = choice();
  return !ended && config?.enabled !== false && (said === "in" || (said === "unset" && !signal()));
}

/** Brings what runs in line with what is wanted. */
async function settle(): Promise<FeedbackState> {
  try {
    const wanted = !ended && choice() === "in" && config?.enabled;
    if (!wanted) halt();
    else if (!run) {
      run = {};
      run.ready = begin(run, config!);
    }
    if (!open()) calls = [];
    await run?.ready;
  } catch {
    halt();
  }
  return tell();
}

function halt(): void {
  const { handle } = run ?? {};
  run = undefined;
  handle?.stop();
}

async function begin(mine: Run, { plan, categories: offered }: Config): Promise<void> {
  try {
    const client = (await import(`${base}client.js`)) as typeof Client;
    await client.load(base);
    if (run !== mine) return;
    const categories = read()!.categories.filter((category) => offered.includes(category));
    mine.handle = client.start({
      base,
      site,
      plan,
      categories,
      ended: () => {
        ended = true;
        void settle();
        // Most often the switch was turned off, and the page may want to say so.
        void feedback.state();
      },
    });
    for (const [method, ...args] of calls) mine.handle[method](...args);
    calls = [];
  } catch {
    // No WebAssembly, a policy against it, or the relay is away: this page goes without.
    if (run === mine) {
      ended = true;
      halt();
    }
  }
}

function call(method: "track" | "rate", first: unknown, second: unknown): void {
  try {
    // What the page changes afterwards is not what it told. Copying can throw: a property may be a getter.
    const copy = typeof second === "object" ? { ...second } : second;
    if (run?.handle) run.handle[method](first, copy);
    else if (open()) calls = [...calls, [method, first, copy] as const].slice(-CALLS_MAX) as typeof calls;
  } catch {
    // Not worth troubling the page.
  }
}

const feedback: Feedback = {
  async optIn(categories) {
    await ask();
    if (config) {
      const { plan, categories: offered } = config;
      const agreed = Array.isArray(categories) ? offered.filter((category) => categories.includes(category)) : offered;
      const before = JSON.stringify(read());
      write({ choice: "in", plan, categories: agreed });
      // What runs under an older agreement must not go on; the same answer twice changes nothing.
      if (JSON.stringify(remembered) !== before) halt();
    }
    return settle();
  },
  async optOut() {
    write({ choice: "out", plan: config?.plan ?? null, categories: [] });
    return settle();
  },
  async state() {
    await ask();
    return settle();
  },
  track: (name: string, props?: FeedbackProps) => call("track", name, props),
  rate: (activity: string, rating: number) => call("rate", activity, rating),
};

/** Makes the calls that a page wrote down instead of making them, before or after this script had loaded. */
function push(...written: FeedbackCall[]): void {
  for (const entry of written) {
    try {
      const [method, ...args] = entry;
      (feedback[method] as (...args: unknown[]) => unknown)(...args);
    } catch {
      // No call, or of no method there is.
    }
  }
}

/** Starts what an earlier page view's opt-in allows; asks the relay only in that case. */
async function resume(): Promise<void> {
  if (choice() === "in" && !config) await ask();
  await settle();
}

function install(): void {
  // A second copy of the snippet must not count everything twice.
  if (window.feedback?.optIn) return;
  const early = window.feedback?.q;
  window.feedback = { ...feedback, q: { push } };
  // The user's answer in another tab counts here as well, also when this page comes back from the
  // back-forward cache and has missed the message.
  addEventListener("storage", (event) => {
    if (event.key === key || event.key === null) void resume();
  });
  addEventListener("pageshow", (event) => {
    if (event.persisted) void resume();
  });
  if (Array.isArray(early)) push(...(early as FeedbackCall[]));
  void resume();
}

try {
  install();
} catch {
  // The page has a `feedback` of its own that cannot be replaced.
}
