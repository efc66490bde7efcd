// Chromium, and its users.

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
  // Playwright's list, which a second flag replaces, and one more: Chromium starts a spare renderer for each page, which costs
  // a seventh of the tests' processor time.
  `--disable-features=${[
    "AvoidUnnecessaryBeforeUnloadCheckSync",
    "DestroyProfileOnBrowserClose",
    "HttpsUpgrades",
    "HttpsFirstBalancedModeAutoEnable",
    "MediaRouter",
    "PaintHolding",
    "ThirdPartyStoragePartitioning",
    "AvoidCorsURLLoaderRestartOnRedirect",
    "OptimizationHints",
    "NetworkTimeServiceQuerying",
    "SpareRendererForSitePerProcess",
  ]}`,
];

/** The part of a User-Agent that must not get out: the build. */
export const BUILD = "4711.42";
const agent = (system) =>
  `Mozilla/5.0 (${system}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.${BUILD} Safari/537.36`;
export const ON_LINUX = agent("X11; Linux x86_64");
export const ON_WINDOWS = agent("Windows NT 10.0; Win64; x64");

let launched;

/**
 * One browser per process. By default a headless Chromium identifies itself, and the relay rightly treats it as a bot.
 * Playwright's `userAgent` does not apply to the beacons of a page that is being closed.
 */
function browser() {
  launched ??= chromium.launch({
    executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
    args: [...ARGS, `--user-agent=${ON_LINUX}`],
  });
  return launched;
}

after(async () => (await launched)?.close());

/** One user's browser profile: tabs, storage, and a record of all network traffic. */
export class Visitor {
  /** Requests of all tabs, as reported by Playwright; the beacons of a page that is being closed are not among them. */
  requests = [];
  /** Exceptions, rejections, errors and warnings of all tabs. */
  problems = [];
  /** Patterns of problems that belong to the test. */
  expected = [];
  #context;

  /**
   * `init` runs in every page before its own scripts, and `expected` are patterns of problems that belong to the test.
   * All other options go to Playwright's `newContext`.
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

  /** The problems that do not belong to the test. */
  complaints() {
    return this.problems.filter((problem) => !this.expected.some((pattern) => pattern.test(problem)));
  }

  /** Opens a URL in a new tab. */
  async open(url) {
    const page = await this.#context.newPage();
    await page.goto(url);
    return page;
  }

  /** The requested paths. */
  paths() {
    return this.requests.map((request) => new URL(request.url()).pathname);
  }

  /** Whether any part of the module was fetched. */
  fetchedModule() {
    return this.paths().some((path) => /\/client(\.js|_bg\.wasm)$/.test(path));
  }

  /** Requests that deliver events. */
  deliveries() {
    return this.requests.filter((request) => request.method() === "POST" && /\/api\/(event|notes)$/.test(new URL(request.url()).pathname));
  }

  /** The visible text of every open tab, its fields included, for a test that failed. */
  shown() {
    const text = async (page) => {
      const seen = await page.locator("body").ariaSnapshot({ timeout: 2000 }).catch((error) => error.message);
      return `${page.url()}\n${seen}`;
    };
    return Promise.all(this.#context.pages().map(text));
  }

  async leave() {
    await this.#context.close();
  }
}
