// Fetched after an opt-in: the WebAssembly module and its glue, in three steps, so that a user who says no while it
// loads is still in time.

import init, { answer, attend, dropped, navigate, online, open, rate, scroll, start as begin, stop, track, wake } from "feedback-client";

// The functions that the page's side calls. Not the module's namespace: esbuild would also iterate over its inherited
// keys.
const exports = { answer, attend, dropped, navigate, online, open, rate, scroll, stop, track, wake };

/** The loader's interface to a running module. None of it throws. */
export interface Handle {
  track(name: unknown, props: unknown): void;
  rate(activity: unknown, rating: unknown): void;
  stop(): void;
}

export interface Options {
  base: string;
  site: string;
  plan: number;
  categories: readonly string[];
  /** The page token that came with the configuration, if the relay wants one. */
  token: string | undefined;
  /** The module has switched itself off. */
  ended(reason: "refused" | "failed"): void;
}

/** A request for the module that takes longer counts as failed. */
const ANSWER_MS_MAX = 10_000;

let bytes: ArrayBuffer | undefined;

/** Fetches the module. It fails while the relay is away, and if a login page answers instead. */
export async function load(base: string): Promise<void> {
  if (bytes) return;
  // Its bytes, not the response: the glue logs to the page's console if the content type is wrong, and streaming gains
  // nothing at this size.
  // Without a prototype, to which a page may have added options.
  const options = { __proto__: null, signal: AbortSignal.timeout?.(ANSWER_MS_MAX) };
  const response = await fetch(`${base}client_bg.wasm`, options as RequestInit);
  const found = await response.arrayBuffer();
  // "\0asm".
  if (!response.ok || new DataView(found).getUint32(0) !== 0x61736d) throw new Error("not the module");
  bytes = found;
}

/** Compiles the fetched module. It fails permanently without WebAssembly, or under a policy against it. */
export async function ready(): Promise<void> {
  await init({ module_or_path: bytes! });
}

export function start(options: Options): Handle {
  const { base, site, plan, categories } = options;
  return begin(exports, `${base}api/notes`, site, plan, categories.join(), options);
}
