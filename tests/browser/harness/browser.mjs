// Chromium, and the people in front of it.

import { after } from "node:test";
import { chromium } from "playwright-core";

const ARGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** What nobody may learn of a User-Agent: the build. */
export const BUILD = "4711.42";
const agent = (system) =>
  `Mozilla/5.0 (${system}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.${BUILD} Safari/537.36`;
export const ON_LINUX = agent("X11; Linux x86_64");
export const ON_WINDOWS = agent("Windows NT 10.0; Win64; x64");

let launched;

/**
 * One browser per process. By itself a headless Chromium says that it is one, and then the relay takes
 * it for the bot that it is. Playwright's `userAgent` does not reach the beacons of a page that goes away.
 */
function browser() {
  launched ??= chromium.launch({
    executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
    args: [...ARGS, `--user-agent=${ON_LINUX}`],
  });
  return launched;
}

after(async () => (await launched)?.close());

/** One person's browser profile: tabs, storage, and a record of all that went over the wire. */
export class Visitor {
  /** Requests of all tabs, as Playwright has them; the beacons of a page that goes away are not among them. */
  requests = [];
  /** Exceptions, rejections, errors and warnings of all tabs. */
  problems = [];
  /** Patterns of problems that belong to the test. */
  expected = [];
  #context;

  /**
   * `init` runs in every page before its own scripts, and `expected` are patterns of problems that
   * belong to the test. Everything else is for Playwright's `newContext`.
   */
  static async arrive({ init, expected = [], ...options } = {}) {
    const visitor = new Visitor();
    visitor.expected = expected;
    const context = await (await browser()).newContext({ reducedMotion: "reduce", ...options });
    visitor.#context = context;
    context.on("request", (request) => visitor.requests.push(request));
    context.on("weberror", (error) => visitor.problems.push(`uncaught: ${error.error()?.stack ?? error.error()}`));
    context.on("console", (message) => {
      if (["error", "warning", "assert"].includes(message.type())) {
        visitor.problems.push(`${message.type()}: ${message.text()} (${message.location().url})`);
      }
    });
    if (init) await context.addInitScript(init);
    return visitor;
  }

  get context() {
    return this.#context;
  }

  /** What went wrong besides what belongs to the test. */
  complaints() {
    return this.problems.filter((problem) => !this.expected.some((pattern) => pattern.test(problem)));
  }

  /** Opens an address in a new tab. */
  async open(url) {
    const page = await this.#context.newPage();
    await page.goto(url);
    return page;
  }

  /** The paths that were asked for. */
  paths() {
    return this.requests.map((request) => new URL(request.url()).pathname);
  }

  /** Whether any part of the module was fetched. */
  fetchedModule() {
    return this.paths().some((path) => /\/client(\.js|_bg\.wasm)$/.test(path));
  }

  /** Requests that bring events. */
  deliveries() {
    return this.requests.filter((request) => request.method() === "POST" && /\/api\/(event|notes)$/.test(new URL(request.url()).pathname));
  }

  async leave() {
    await this.#context.close();
  }
}
