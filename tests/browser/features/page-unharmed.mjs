// Whatever is broken, missing or hostile around the snippet, the page keeps working and sees no error from it.

import assert from "node:assert/strict";
import { pretendToLeave } from "../harness/demo.mjs";
import { SITE, eventually, feature, scenario } from "../harness.mjs";

/** Messages that the browser itself logs about a status or a policy, which no script can prevent. */
const STATUS = /^error: Failed to load resource: (the server responded with a status of|net::ERR_)/;
const CORS = /^error: Access to fetch at '.*' from origin '.*' has been blocked by CORS policy/;
const WASM_POLICY = /^error: (Compiling or instantiating|Refused to compile or instantiate) WebAssembly/;

/**
 * Calls the whole interface, correctly and incorrectly. An exception or a changed value fails the test.
 * Returns the states after a query, a yes, and some navigation. `collects` is whether the module runs after the yes.
 */
async function useEverything(page, collects) {
  await eventually("the snippet runs", () => page.evaluate(() => typeof window.feedback?.optIn === "function"));
  const states = await page.evaluate(async (collects) => {
    const wrongly = () => {
      const throwing = { get feature() { throw new Error("from the page's own getter"); } };
      const revoked = Proxy.revocable({}, {});
      revoked.revoke();
      for (const value of [undefined, null, 5, {}, [], Symbol("s"), () => {}, "x\0y", "\ud800", throwing, revoked.proxy]) {
        feedback.track(value, value);
        feedback.track("Feature Used", value);
        feedback.rate(value, value);
        feedback.rate("project-created", value);
        feedback.q.push(value, ["track", value], [value]);
      }
      feedback.track("Feature Used", { feature: "search" });
    };
    wrongly();
    const states = [await feedback.state()];
    const { active } = await feedback.optIn();
    // A yes is answered after ten seconds, even if the module is still loading on a slow machine.
    if (collects && !active) {
      await new Promise((done) => {
        addEventListener("feedback-state", ({ detail }) => detail.active && done());
        setTimeout(done, 30_000);
      });
    }
    states.push(await feedback.state());
    wrongly();
    history.pushState({ mine: 1 }, "", "?moved");
    if (history.state.mine !== 1) throw new Error("pushState did something else");
    history.replaceState(null, "", "#/home");
    location.hash = "#/version";
    states.push(await feedback.state());
    dispatchEvent(new Event("blur"));
    dispatchEvent(new Event("focus"));
    return states;
  }, collects);
  await pretendToLeave(page);
  const last = await page.evaluate(() => feedback.optOut());
  assert.equal(last.active, false);
  // The page's own features still work.
  assert.equal(await page.evaluate(() => new Promise((done) => setTimeout(() => done(document.title), 0))), "A page");
  return states;
}

/**
 * Runs the cases, one page after the other in one tab. A case states the differences: `script` runs before the snippet,
 * `policy` is the page's, `routes` are answered instead of the relay, and `expected` is what the browser itself logs.
 * The last value is whether events are collected nevertheless.
 */
async function goThrough(world, cases) {
  const user = await world.visitor();
  const page = await user.open("about:blank");
  for (const [name, { script = "", policy, head = "", routes = {}, expected = [] }, collects] of cases) {
    const url = pageOf(world, { script, policy, head });
    for (const [pattern, answer] of Object.entries(routes)) await page.route(pattern, answer);
    user.expected = expected;
    user.requests.length = 0;
    await page.goto(url);
    const [, after] = await useEverything(page, collects).catch((error) => {
      throw new Error(`${name}: ${error.message}`, { cause: error });
    });
    assert.equal(after.active, collects, `${name}: collects`);
    assert.deepEqual(user.complaints(), [], name);
    if (!collects) assert.deepEqual(user.deliveries().map((request) => request.postData()), [], `${name}: sends nothing`);
    // The next case is a different user.
    user.problems.length = 0;
    await page.evaluate(() => origin === "null" || localStorage?.clear()).catch(() => {});
    await page.unrouteAll();
  }
}

function pageOf(world, { script, policy, head }) {
  world.pages.put("/case.js", script);
  return world.pageWithSnippet("/page.html", { policy, head: `<script src="/case.js"></script>${head}` });
}

const answering = (status, body = "", contentType = "text/plain") => (route) =>
  route.fulfill({ status, body, contentType, headers: { "Access-Control-Allow-Origin": "*" } });
const unreachable = (route) => route.abort("connectionrefused");

export default () => feature("The page is not harmed", () => {
  scenario("when the browser's storage is away, full or broken", {}, async (world) => {
    const storage = (text) => `Object.defineProperty(window, "localStorage", { get() { ${text} } })`;
    const stored = (text) => `localStorage.setItem("feedback-relay:${SITE}", ${JSON.stringify(text)})`;
    await goThrough(world, [
      ["all is well", {}, true],
      ["storage that throws", { script: storage(`throw new DOMException("no", "SecurityError")`) }, true],
      ["no storage", { script: storage("return null") }, true],
      ["full storage", { script: `Storage.prototype.setItem = () => { throw new DOMException("full", "QuotaExceededError") }` }, true],
      ["storage with garbage", { script: stored("{]") }, true],
      ["storage with something else", { script: stored(`{"choice":"in","categories":7}`) }, true],
      // A real document without storage: it has an opaque origin, which the relay does not answer either.
      ["a sandbox", { policy: `sandbox allow-scripts; ${world.policy()}`, expected: [CORS, STATUS] }, false],
    ]);
  });

  scenario("when WebAssembly is away or forbidden, or the module is broken", {}, async (world) => {
    const wasm = "**/client_bg.wasm";
    const empty = Buffer.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]);
    const type = "application/wasm";
    await goThrough(world, [
      ["no WebAssembly", { script: "delete globalThis.WebAssembly" }, false],
      ["a policy against it", { policy: world.policy(""), expected: [WASM_POLICY] }, false],
      ["a failing server", { routes: { [wasm]: answering(500, "{}", type) }, expected: [STATUS] }, false],
      ["no connection", { routes: { [wasm]: unreachable }, expected: [STATUS] }, false],
      ["a login page", { routes: { [wasm]: answering(200, "<!doctype html>Log in", "text/html") } }, false],
      ["garbage", { routes: { [wasm]: answering(200, "garbage", type) } }, false],
      ["a module without our functions", { routes: { [wasm]: answering(200, empty, type) } }, false],
      ["no glue", { routes: { "**/client.js": answering(404) }, expected: [STATUS] }, false],
      ["broken glue", { routes: { "**/client.js": answering(200, "export const = ;", "text/javascript") } }, false],
      ["other glue", { routes: { "**/client.js": answering(200, "export const other = 1;", "text/javascript") } }, false],
    ]);
    assert.deepEqual(await world.arrived(), []);
  });

  scenario("when the relay fails or talks nonsense", {}, async (world) => {
    const config = "**/api/config?*";
    const events = "**/api/notes";
    const expected = [STATUS];
    await goThrough(world, [
      ["no relay", { routes: { "**/api/**": unreachable }, expected }, false],
      ["a failing relay", { routes: { [config]: answering(500, "oops") }, expected }, false],
      ["a login page", { routes: { [config]: answering(200, "<!doctype html>Log in", "text/html") } }, false],
      ["nothing", { routes: { [config]: answering(200, "null", "application/json") } }, false],
      ["another answer", { routes: { [config]: answering(200, `{"enabled":true,"plan":"1","categories":{}}`, "application/json") } }, false],
      ["events refused", { routes: { [events]: answering(400, "oops") }, expected }, true],
      ["events failing", { routes: { [events]: answering(500, "oops") }, expected }, true],
      ["events unreachable", { routes: { [events]: unreachable }, expected }, true],
    ]);
  });

  scenario("when its other scripts are unusual", {}, async (world) => {
    const twice = `<script type="module" src="${world.relay}/feedback/snippet.js?again" data-site="panel.example.com" data-count="automation"></script>`;
    await goThrough(world, [
      ["the snippet twice", { head: twice }, true],
      ["something else called feedback", { script: "window.feedback = 5" }, true],
      ["a frozen history", { script: "Object.freeze(history)" }, true],
      ["no random numbers", { script: `crypto.getRandomValues = () => { throw new Error("no") }` }, false],
      ["no beacons", { script: `navigator.sendBeacon = () => { throw new Error("no") }` }, true],
      ["beacons refused", { script: "navigator.sendBeacon = () => false" }, true],
      ["broken observers", { script: `globalThis.ResizeObserver = class { constructor() { throw new Error("no") } }` }, false],
      ["no observers", { script: "delete globalThis.ResizeObserver" }, true],
      ["a zone like Angular's", { script: "globalThis.Zone = { root: { run: (work) => work() } }" }, true],
      ["a broken zone", { script: `globalThis.Zone = { root: { run: () => { throw new Error("no") } } }` }, false],
    ]);

    // Here the snippet has nothing to do, and logs nothing.
    const user = await world.visitor();
    const script = `Object.defineProperty(window, "feedback", { value: 5 })`;
    const page = await user.open(pageOf(world, { script, head: "" }));
    assert.deepEqual(await page.evaluate(() => [feedback, document.title]), [5, "A page"]);
    assert.deepEqual(user.paths().filter((path) => path.startsWith("/feedback/")), ["/feedback/snippet.js"]);
  });
});
