// The address changes that count as a page: a table of the calls that routers make, with Plausible's own tracker on the
// same page as the reference.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { COLLECT, OPT_IN, counted, leave, sentAll } from "../harness/counting.mjs";
import { Pages } from "../harness/pages.mjs";
import { SITE, eventually, feature, scenario } from "../harness.mjs";

/**
 * A site with both counters. Every path under /app returns the same page, like the server of a single-page application.
 */
async function siteWithBoth(world, { hash, head = "" }) {
  const tracker = new URL(import.meta.resolve("@plausible-analytics/tracker"));
  world.pages.put("/plausible.js", await readFile(tracker, "utf8"));
  const options = { domain: SITE, endpoint: COLLECT, hashBasedRouting: hash, captureOnLocalhost: true, logging: false };
  const script = `/tracked-${hash}.js`;
  world.pages.put(script, `import { init } from "/plausible.js"; init(${JSON.stringify(options)}); window.tracked = true;`);
  return world.pageWithSnippet(`/${hash ? "hash" : "history"}.html`, {
    head: `${head}<script type="module" src="${script}"></script>`,
    policy: `default-src 'none'; script-src 'self' ${world.relay} 'wasm-unsafe-eval'; connect-src 'self' ${world.relay}`,
  });
}

const views = (events) => events.filter(({ name, n }) => (name ?? n) === "pageview");
/** The part of an address that names the page. */
const shown = (events) => views(events).map(({ url }) => url.replace(/^https?:\/\/[^/]+(\/\w+\.html)?/, ""));

/** Opens the page and waits until both counters are loaded. */
async function open(user, url) {
  const page = await user.open(url);
  await bothLoaded(page);
  return page;
}

async function bothLoaded(page) {
  await eventually("both counters are there", () => page.evaluate(() => window.tracked && typeof window.feedback?.optIn === "function"));
}

/** Tabs of separate users in which the rows of a table run. A renderer that is kept costs less than one for each row. */
const TABS = 3;

/** Runs each row of a table in a tab that has forgotten the rows before, and returns the results by name. */
async function countEach(world, init, rows) {
  const found = {};
  const waiting = [...rows];
  const tab = async () => {
    const { user, sent } = await counted(world, { init });
    const page = await user.open("about:blank");
    for (let row; (row = waiting.shift()); ) {
      await page.goto(row.url);
      await bothLoaded(page);
      found[row.name] = await run(page, sent, row.steps);
      await page.evaluate(() => feedback.optOut());
      await page.evaluate(() => localStorage.clear());
      // Otherwise an address that differs in its fragment only would not be loaded.
      await page.goto("about:blank");
      sent.relay.length = sent.plausible.length = 0;
    }
    await user.leave();
  };
  await Promise.all(Array.from({ length: TABS }, tab));
  return found;
}

/** Runs a router's steps in a browser of its own, and returns the pageviews of both counters. */
async function count(world, { url, steps, init }) {
  const { user, sent } = await counted(world, { init });
  const page = await open(user, url);
  const found = await run(page, sent, steps);
  await leave(user, page);
  return found;
}

/** Runs a router's steps, one after the other, and returns the pageviews of both counters. */
async function run(page, sent, steps) {
  // All steps up to a pause run in one script, however slow the machine is.
  let script = OPT_IN;
  for (const step of [...steps, SENT]) {
    if (step !== SENT) script += `await ${step};`;
    else {
      await page.evaluate(`(async () => { ${script} })()`);
      await sentAll(page, sent);
      script = "";
    }
  }
  return { pages: shown(sent.relay), plausible: views(sent.plausible).length };
}

const SENT = "until the pageview has left";

const push = (url) => `history.pushState(null, "", ${JSON.stringify(url)})`;
const replace = (url) => `history.replaceState(null, "", ${JSON.stringify(url)})`;
const hash = (url) => `new Promise((done) => { addEventListener("hashchange", done, { once: true }); location.hash = ${JSON.stringify(url)}; })`;
const go = (by) => `new Promise((done) => { addEventListener("popstate", done, { once: true }); history.go(${by}); })`;
const long = `?SAMLResponse=${"x".repeat(3000)}`;

const restored = `dispatchEvent(new PageTransitionEvent("pageshow", { persisted: true }))`;

/** Name, router, address, steps, and the expected pages; Plausible's tracker must count equally many. */
const ROUTERS = [
  ["a hash router writes its first address anew", "hash", "", [replace("#/"), replace("#/home")], ["#/home"]],
  ["a hash router, and its links", "hash", "#/a", [hash("#/b"), hash("#/c?tab=1"), hash("#/b")], ["#/a", "#/b", "#/c", "#/b"]],
  ["back and forward among hashes", "hash", "#/a", [hash("#/b"), go(-1), go(1)], ["#/a", "#/b", "#/a", "#/b"]],
  ["a hash router's query", "hash", "#/a", [replace("#/a?tab=1"), replace("#/a?tab=2")], ["#/a"]],
  ["a long query before the hash", "hash", `${long}#/a`, [hash("#/b")], ["#/a", "#/b"]],
  ["a login's answer in the hash", "hash", "#id_token=ey&state=s", [replace("#/home")], ["#/home"]],
  ["a campaign stays when the router takes the query away", "hash", "?utm_source=news&code=c", [replace("#/home")], ["?utm_source=news#/home"]],
  ["back from the back-forward cache", "hash", "#/a", [SENT, restored], ["#/a", "#/a"]],
  ["a history router", "history", "", [push("/a"), push("/b?x=1"), push("/a")], ["", "/a", "/b", "/a"]],
  ["a history router writes its first address anew", "history", "?code=c&state=s", [replace("/a"), replace("/b")], ["/b"]],
  ["a guard that leads elsewhere", "history", "", [SENT, push("/admin"), replace("/login")], ["", "/login"]],
  ["a query alone", "history", "", [push("?tab=1"), push("?tab=2"), replace("?tab=3")], [""]],
  ["anchors", "history", "", [hash("#costs"), hash("#prices"), hash("#costs")], [""]],
  ["back and forward", "history", "", [push("/a"), push("/b"), go(-1), go(-1), go(1)], ["", "/a", "/b", "/a", "", "/a"]],
  ["the same page again", "history", "", [push("/a"), push("/a"), replace("/a")], ["", "/a"]],
  ["an anchor of another page", "history", "", [push("/a#costs"), hash("#prices")], ["", "/a"]],
];

const navigate = (url, options = {}) => `navigation.navigate(${JSON.stringify(url)}, ${JSON.stringify(options)}).finished.then(() => {})`;
const traverse = (way) => `navigation.${way}().finished.then(() => {})`;

/** A router on the Navigation API, which Plausible's tracker does not observe. */
const INTERCEPTING = () =>
  navigation.addEventListener("navigate", (event) => {
    if (event.canIntercept) event.intercept({ handler: async () => void (document.title = new URL(event.destination.url).pathname) });
  });

/** Name, address, steps, and the pages. */
const INTERCEPTED = [
  ["pages and the way back", "", [navigate("/a"), navigate("/b?x=1"), traverse("back"), traverse("forward")], ["", "/a", "/b", "/a", "/b"]],
  ["its first address written anew", "", [navigate("/a", { history: "replace" })], ["/a"]],
  ["a query, an anchor and a state", "", [navigate("?tab=1"), navigate("#costs"), `navigation.updateCurrentEntry({ state: 1 })`], [""]],
  ["hash routes", "#/a", [navigate("#/b"), navigate("#/b?tab=1"), traverse("back"), traverse("back")], ["#/a", "#/b", "#/a"]],
  ["the same page again", "", [navigate("/a"), `navigation.reload().finished.then(() => {})`], ["", "/a"]],
  ["calls of the history among them", "", [push("/a"), navigate("/b"), push("/c"), go(-1)], ["", "/a", "/b", "/c", "/b"]],
];

/** Variables of the page that shadow the API's name. */
const TAKEN = [
  () => (window.navigation = { currentEntry: {} }),
  () => Object.defineProperty(window, "navigation", { get() { throw new Error("from the page's own getter"); } }),
];

/** Browsers without the Navigation API: only the page's calls and events are observable. */
const WITHOUT_NAVIGATION = () => Object.defineProperty(window, "navigation", { value: undefined });

export default () => feature("Pages as routers have them", () => {
  for (const [browser, init] of [["with the Navigation API", undefined], ["without it", WITHOUT_NAVIGATION]]) {
    scenario(`Each counts once, as in Plausible's tracker, in a browser ${browser}`, {}, async (world) => {
      const sites = { hash: await siteWithBoth(world, { hash: true }), history: await siteWithBoth(world, { hash: false }) };
      const rows = ROUTERS.map(([name, router, at, steps]) => ({ name, url: sites[router] + at, steps }));
      const expected = ROUTERS.map(([name, , , , pages]) => [name, { pages, plausible: pages.length }]);
      assert.deepEqual(await countEach(world, init, rows), Object.fromEntries(expected));
    });
  }

  scenario("A router on the Navigation API is heard", {}, async (world) => {
    const url = await siteWithBoth(world, { hash: false });
    const rows = INTERCEPTED.map(([name, at, steps]) => ({ name, url: url + at, steps }));
    const found = Object.entries(await countEach(world, INTERCEPTING, rows)).map(([name, { pages }]) => [name, pages]);
    assert.deepEqual(Object.fromEntries(found), Object.fromEntries(INTERCEPTED.map(([name, , , pages]) => [name, pages])));
  });

  scenario("A page may use the name of the Navigation API for something else", {}, async (world) => {
    const url = await siteWithBoth(world, { hash: true });
    for (const init of TAKEN) {
      const { pages } = await count(world, { url: `${url}#/a`, steps: [hash("#/b"), push("#/c"), go(-1)], init });
      assert.deepEqual(pages, ["#/a", "#/b", "#/c", "#/b"], String(init));
    }
  });

  scenario("A page opened after an earlier yes counts once, however its router finds the first route", {}, async (world) => {
    // Once the module runs, before the user has interacted with the page. Playwright's own calls would count as
    // interaction.
    const whenActive = (steps) => `addEventListener("feedback-state", ({ detail }) => { if (detail.active) { ${steps.join(";")} } });`;
    const routers = {
      "before the page has loaded": `${replace("#/")}; ${replace("#/home")}`,
      "before the page has loaded, by its hash": `location.hash = "#/"; location.hash = "#/home"`,
      "later, in place": whenActive([replace("#/"), replace("#/home")]),
      "later, by its hash": whenActive([`location.hash = "#/"`, `location.hash = "#/home"`]),
    };
    for (const [name, router] of Object.entries(routers)) {
      const { user, sent } = await counted(world);
      const page = await open(user, await siteWithBoth(world, { hash: true }));
      const yes = JSON.stringify({ choice: "in", plan: 1, categories: ["usage"] });
      await page.evaluate(([key, yes]) => localStorage.setItem(key, yes), [`feedback-relay:${SITE}`, yes]);
      world.pages.put("/router.js", router);
      const url = await siteWithBoth(world, { hash: true, head: `<script src="/router.js"></script>` });
      await page.goto("about:blank");
      await page.goto(url);
      await eventually("the pageview is sent", () => views(sent.relay).length > 0);
      await sentAll(page, sent);
      assert.deepEqual(shown(sent.relay), ["#/home"], name);
      assert.equal(views(sent.relay)[0].referrer, undefined, "a page of its own is no referrer");
      await leave(user, page);
    }
  });

  scenario("A page of the same site is no referrer, another site is", {}, async (world) => {
    const target = world.pageWithSnippet("/target.html");
    const { user, sent } = await counted(world);
    const from = async (origin) => {
      sent.relay.length = 0;
      const page = await user.open(`${origin}/link.html`);
      await page.getByRole("link").click();
      await eventually("the snippet runs", () => page.evaluate(() => typeof window.feedback?.optIn === "function"));
      await page.evaluate(() => feedback.optIn());
      await sentAll(page, sent);
      await page.evaluate(() => feedback.optOut());
      await page.close();
      return views(sent.relay)[0].referrer;
    };
    const link = `<!doctype html><html lang="en"><title>A link</title><a href="${target}">Go</a></html>`;
    world.pages.put("/link.html", link);
    const elsewhere = world.stopLater(await Pages.start("localhost"));
    elsewhere.put("/link.html", link);
    assert.equal(await from(world.pages.origin), undefined);
    assert.equal(await from(elsewhere.origin), `${elsewhere.origin}/`);
  });
});
