// What a tracker costs a page: time until it is ready, bytes of its files, and the time of a call to track. Prints JSON:
// for each tracker its name, and one value per round of `ready_ms`, `bytes`, `requests` and `track_us`.
//
// node measure.mjs RELAY PORT ROUNDS: the public listener of a relay whose site has the origin http://127.0.0.1:PORT.

import { createServer, request } from "node:http";
import { readFile } from "node:fs/promises";
import { brotliCompressSync } from "node:zlib";
import { chromium } from "playwright-core";

const [relay, port, rounds] = process.argv.slice(2);
const ORIGIN = `http://127.0.0.1:${port}`;
const SITE = "panel.example.com";
/** Calls whose mean is one measurement: below the module's queue and PostHog's batch. */
const CALLS = 50;
/** Longest time for a page to become ready. */
const READY_MS_MAX = 20_000;

/**
 * Each tracker: the page's markup, which calls `ready(track)` once a call to track would be taken, and the files that the
 * page needs. A visitor of the module has opted in before; the others ask nobody.
 */
const TRACKERS = [
  {
    name: "relay's module",
    agrees: true,
    files: {},
    page: `<script type="module" src="/feedback/snippet.js" data-site="${SITE}"></script>
      <script type="module">
        const { feedback } = window;
        const track = (n) => feedback.track("Feature Used", { feature: n % 2 ? "search" : "export" });
        addEventListener("feedback-state", ({ detail }) => detail.active && ready(track));
        window.agree = () => feedback.optIn();
      </script>`,
  },
  {
    name: "Plausible's tracker",
    files: { "/plausible.js": "@plausible-analytics/tracker/plausible.js" },
    page: `<script type="module">
        import { init, track } from "/plausible.js";
        init({ domain: "${SITE}", endpoint: "/api/event", hashBasedRouting: true, captureOnLocalhost: true });
        ready((n) => track("Feature Used", { props: { feature: n % 2 ? "search" : "export" } }));
      </script>`,
  },
  {
    name: "PostHog's tracker",
    files: { "/posthog.js": "posthog-js/dist/module.js" },
    page: `<script type="module">
        import posthog from "/posthog.js";
        const loaded = () => ready((n) => posthog.capture("Feature Used", { feature: n % 2 ? "search" : "export" }));
        posthog.init("phc_benchmark", { api_host: location.origin, defaults: "2025-05-24", loaded });
      </script>`,
  },
];

/** The page's server: pages, trackers' files in Brotli, the relay below /feedback as in production, and a server that takes
 * all events. */
async function serve() {
  const files = new Map();
  for (const [nth, { page, files: own }] of TRACKERS.entries()) {
    const head = `<!doctype html><html lang="en"><meta charset="utf-8"><title>A page</title><link rel="icon" href="data:,">
      <script>window.ready = (track) => { window.track ??= track; window.readyAt ??= performance.now(); };</script>`;
    files.set(`/${nth}.html`, ["text/html", brotliCompressSync(head + page)]);
    for (const [path, name] of Object.entries(own)) {
      files.set(path, ["text/javascript", brotliCompressSync(await readFile(new URL(`node_modules/${name}`, import.meta.url)))]);
    }
  }
  const server = createServer((asked, answer) => {
    const file = files.get(asked.url);
    // Both make the clock of a page count in steps of 5 µs instead of 100.
    answer.setHeader("Cross-Origin-Opener-Policy", "same-origin");
    answer.setHeader("Cross-Origin-Embedder-Policy", "require-corp");
    if (file) {
      answer.writeHead(200, { "Content-Type": file[0], "Content-Encoding": "br", "Content-Length": file[1].length });
      answer.end(file[1]);
    } else if (asked.url.startsWith("/feedback/")) {
      const { method, headers } = asked;
      const passed = request(relay + asked.url, { method, headers }, (from) => {
        answer.writeHead(from.statusCode, from.headers);
        from.pipe(answer);
      });
      passed.on("error", () => answer.destroy());
      asked.pipe(passed);
    } else {
      asked.resume();
      const status = asked.url.startsWith("/api/event") ? 202 : 200;
      answer.writeHead(status, { "Content-Type": "application/json" }).end("{}");
    }
  });
  await new Promise((done) => server.listen(port, "127.0.0.1", done));
  return server;
}

/** The stored answer of a user who opted in; none for a tracker that does not ask. */
async function consent(browser, nth) {
  if (!TRACKERS[nth].agrees) return undefined;
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(`${ORIGIN}/${nth}.html`);
  const { active } = await page.evaluate(() => window.agree());
  if (!active) throw new Error("the module does not collect");
  const state = await context.storageState();
  await context.close();
  return state;
}

/** One visit with an empty cache. */
async function visit(browser, nth, storageState) {
  const context = await browser.newContext({ storageState });
  const page = await context.newPage();
  const network = await context.newCDPSession(page);
  await network.send("Network.enable");
  const posts = new Set();
  const took = new Map();
  network.on("Network.requestWillBeSent", ({ requestId, request, type }) => {
    if (request.method !== "GET" || type === "Document" || request.url.startsWith("data:")) posts.add(requestId);
  });
  network.on("Network.loadingFinished", ({ requestId, encodedDataLength }) => took.set(requestId, encodedDataLength));
  await page.goto(`${ORIGIN}/${nth}.html`);
  await page.waitForFunction(() => window.readyAt !== undefined, undefined, { timeout: READY_MS_MAX });
  const ready_ms = await page.evaluate(() => window.readyAt);
  await page.waitForLoadState("networkidle");
  const loaded = [...took].filter(([id]) => !posts.has(id)).map(([, bytes]) => bytes);
  // The first call is not typical.
  const track_us = await page.evaluate((calls) => {
    window.track(0);
    const start = performance.now();
    for (let n = 1; n <= calls; n++) window.track(n);
    return ((performance.now() - start) * 1000) / calls;
  }, CALLS);
  await context.close();
  return { ready_ms, track_us, requests: loaded.length, bytes: loaded.reduce((sum, bytes) => sum + bytes, 0) };
}

const server = await serve();
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
  // Trackers do not count a browser under automation, nor a headless one.
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-blink-features=AutomationControlled",
    "--user-agent=Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
  ],
});
try {
  const found = TRACKERS.map(({ name }) => ({ name, ready_ms: [], bytes: [], requests: [], track_us: [] }));
  const consents = [];
  for (const nth of TRACKERS.keys()) consents.push(await consent(browser, nth));
  for (let round = 0; round <= rounds; round++) {
    for (const nth of TRACKERS.keys()) {
      const one = await visit(browser, nth, consents[nth]);
      // The first round warms the browser and both servers up.
      if (round > 0) for (const [key, value] of Object.entries(one)) found[nth][key].push(value);
    }
  }
  console.log(JSON.stringify(found));
} finally {
  await browser.close();
  server.close();
}
