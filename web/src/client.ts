// The part that is fetched after an opt-in: the WebAssembly module and its glue, in two steps, so that
// a user who says no while it loads is still in time.

import init, * as module from "feedback-client";

/** What the loader may do with a running module. None of it throws. */
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
  /** The module has switched itself off. */
  ended(reason: "refused" | "failed"): void;
}

export async function load(base: string): Promise<void> {
  // Its bytes, not the response: the glue complains in the page's console about a server that calls them
  // something else, and there is nothing to gain from streaming at this size.
  const response = await fetch(`${base}client_bg.wasm`, { credentials: "omit" });
  await init({ module_or_path: await response.arrayBuffer() });
}

export function start(options: Options): Handle {
  const { base, site, plan, categories, ended } = options;
  return module.start(module, `${base}api/notes`, site, plan, categories.join(), ended);
}
