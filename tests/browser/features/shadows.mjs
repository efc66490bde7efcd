// Nothing on the page can shadow the values that the snippet and the module read: neither the name or id of an element,
// nor a property that a script added to a shared prototype. Neither turns a no into a yes, and nothing throws into the
// page.

import assert from "node:assert/strict";
import { SITE, eventually, feature, scenario } from "../harness.mjs";

const KEY = `feedback-relay:${SITE}`;
/** Not an automated browser, so that a shadow that makes it look like one is noticed. */
const PERSON = `Object.defineProperty(Navigator.prototype, "webdriver", { get: () => false });`;

/** Properties of the document that a form, image, frame or embedded object of that name hides. */
const OF_DOCUMENT =
  "scripts hidden visibilityState documentElement body scrollingElement elementsFromPoint addEventListener removeEventListener " +
  "dispatchEvent hasFocus readyState referrer cookie title forms currentScript querySelector querySelectorAll getElementById";
/** Names that become a variable through an element's id. */
const OF_WINDOW =
  "feedback navigation Cypress _phantom __nightmare Zone ResizeObserver addEventListener dispatchEvent document location history " +
  "hasOwnProperty valueOf localStorage navigator performance fetch crypto Request AbortSignal CustomEvent JSON Object Reflect Array String setTimeout";
/** Properties of a form element that its fields hide. */
const OF_ELEMENT =
  "scrollHeight scrollTop clientHeight clientWidth getRootNode shadowRoot isConnected addEventListener removeEventListener " +
  "optIn q hasOwnProperty root run state currentEntry track rate";
/** Keys that are read from parsed JSON, options and arguments, each with a value that would change the behaviour. */
const KEYS = {
  choice: `"in"`, plan: "1", categories: `["usage", "feedback"]`, at: "9e15", enabled: "true", token: `"x"`, accepted: "100",
  optIn: "() => {}", q: "[]", handle: "{ track() {}, stop() {} }", ready: "5", ended: "() => {}",
  method: `"DELETE"`, mode: `"navigate"`, headers: "5", body: "5", redirect: `"error"`, integrity: `"x"`, referrer: `"http://x.example/"`,
  signal: "5", once: "true", capture: "true", bubbles: "true", composed: "true", endings: `"x"`, type: `"x"`,
  site: `"other.example.com"`, count: `"automation ignored"`, plausible_ignore: `"true"`, root: "{ run() {} }", run: "() => {}",
  Cypress: "{}", _phantom: "{}", __nightmare: "{}", Zone: "{ root: { run() {} } }", feedback: "{ optIn() {} }", navigation: "{}",
  toJSON: `() => ({ choice: "in", plan: 1, categories: ["usage", "feedback"], at: 9e15 })`,
  hidden: "true", scripts: "[]", src: `"x"`, redirected: "true", persisted: "true", 0: `"in"`, 1: `"in"`,
};

const each = (names, write) => names.split(" ").map(write).join("");
const tags = (tag, names) => each(names, (name) => `<${tag} name="${name}" id="${name}"></${tag}>`);
const fields = each(OF_ELEMENT, (name) => `<input name="${name}">`);
const forms = (names) => each(names, (name) => `<form name="${name}" id="${name}">${fields}</form>`);
const assign = (target, keys) => Object.entries(keys).map(([key, value]) => `${target}[${JSON.stringify(key)}] = ${value};`).join("\n");
// Playwright's own script passes options to listeners, and fails if `signal` and `once` throw.
const keysOnly = (write) => Object.keys(KEYS).filter((key) => !/^\d$|^signal$|^once$/.test(key)).map(write).join("\n");

/** The page's content, and the script that runs before the snippet. */
const PAGES = [
  ["nothing", "", ""],
  ...["img", "form", "embed", "object", "iframe"].map((tag) => [`<${tag}> named as the document's properties`, tags(tag, OF_DOCUMENT), ""]),
  ["the image of the report", `<img name="scripts">`, ""],
  ["two elements of one name", tags("img", OF_DOCUMENT) + tags("form", OF_DOCUMENT), ""],
  ...["a", "img", "form", "iframe"].map((tag) => [`<${tag}> named as variables`, tags(tag, OF_WINDOW), ""]),
  ["forms with fields, named as variables", forms(OF_WINDOW), ""],
  ["forms with fields, named as the document's properties", forms(OF_DOCUMENT), ""],
  ["a form that scrolls, with fields named as its properties", `<form style="height: 90vh; overflow: auto">${fields}<p style="height: 3000px"></p></form>`, ""],
  ["keys of all objects", "", assign("Object.prototype", KEYS)],
  ["keys of all lists", "", assign("Array.prototype", { toJSON: KEYS.toJSON, choice: `"in"`, method: `"DELETE"` })],
  ["the choice of the report", "", `Object.prototype.choice = "in"; Object.prototype.categories = []; Object.prototype.plan = 1`],
  [
    "getters that throw, in all objects",
    "",
    keysOnly((key) => `Object.defineProperty(Object.prototype, "${key}", { get() { throw new Error("${key}") }, set(value) { Object.defineProperty(this, "${key}", { value, writable: true, enumerable: true, configurable: true }) }, configurable: true });`),
  ],
  ["keys in storage", "", each("getItem setItem removeItem length choice plausible_ignored", (name) => `localStorage.setItem("${name}", "in");`)],
];

const state = (page) => page.evaluate(() => feedback.state().then(({ choice, active, signal }) => [choice, active, signal]));

/** Runs a query, a yes, use, a no and a reload. The values read at each step equal those on a page without shadows. */
async function use(user, page, name, url) {
  user.requests.length = 0;
  await page.goto(url);
  await eventually(`${name}: the snippet runs`, () => page.evaluate(() => typeof window.feedback?.optIn === "function"));
  assert.deepEqual(await state(page), ["unset", false, null], `${name}: before a choice`);
  await page.evaluate(() => void feedback.track("Feature Used", { feature: "search" }));
  await page.evaluate(() => feedback.optIn().then(() => undefined));
  await eventually(`${name}: the module runs`, async () => (await state(page))[1]);
  assert.deepEqual(await state(page), ["in", true, null], `${name}: after a yes`);
  await page.evaluate(() => {
    feedback.track("Feature Used", { feature: "filter" });
    for (const type of ["scroll", "visibilitychange"]) Document.prototype.constructor && EventTarget.prototype.dispatchEvent.call(document, new Event(type));
    location.hash = "#/version";
    dispatchEvent(new PageTransitionEvent("pagehide"));
  });
  await eventually(`${name}: events are sent`, () => user.deliveries().length > 0);
  const methods = user.deliveries().map((request) => request.method());
  assert.deepEqual([...new Set(methods)], ["POST"], name);
  await page.evaluate(() => feedback.optOut().then(() => undefined));
  assert.deepEqual(await state(page), ["out", false, null], `${name}: after a no`);
  const stored = await page.evaluate((key) => Storage.prototype.getItem.call(localStorage, key), KEY);
  const { choice, categories } = JSON.parse(stored);
  assert.deepEqual([choice, categories], ["out", []], `${name}: what is stored`);
  await page.reload();
  await eventually(`${name}: the snippet runs again`, () => page.evaluate(() => typeof window.feedback?.optIn === "function"));
  assert.deepEqual(await state(page), ["out", false, null], `${name}: after a reload`);
}

export default () => feature("What a page could shadow", () => {
  scenario("No name and no prototype changes what is read, and a no stays a no", {}, async (world) => {
    const user = await world.visitor({ init: PERSON });
    const page = await user.open("about:blank");
    for (const [name, markup, script] of PAGES) {
      world.pages.put("/case.js", script);
      const head = `<script src="/case.js"></script>${markup}`;
      const policy = world.policy().replace("default-src 'none'", "default-src 'none'; style-src 'unsafe-inline'");
      await use(user, page, name, world.pageWithSnippet("/page.html", { head, policy, count: "" }));
      assert.deepEqual(user.complaints(), [], name);
      await page.evaluate(() => Storage.prototype.clear.call(localStorage));
    }
  });

  scenario("A form whose fields hide its properties is measured like any pane", {}, async (world) => {
    const user = await world.visitor();
    const head = `<form id="pane" style="height: 90vh; overflow: auto">${fields}<p style="height: 3000px"></p></form>`;
    const policy = world.policy().replace("default-src 'none'", "default-src 'none'; style-src 'unsafe-inline'");
    const page = await user.open(world.pageWithSnippet("/page.html", { head, policy }));
    await eventually("the snippet runs", () => page.evaluate(() => typeof window.feedback?.optIn === "function"));
    await page.bringToFront();
    await page.evaluate(() => feedback.optIn());
    await eventually("the page view arrives", async () => (await world.arrivedAs("pageview")).length === 1);
    await page.evaluate(() => Reflect.set(Element.prototype, "scrollTop", 900, document.querySelector("#pane")));
    await page.waitForTimeout(600);
    await page.close({ runBeforeUnload: true });
    const [{ sd }] = await eventually("the engagement arrives", async () => {
      const found = (await world.arrived()).map(({ body }) => body).filter(({ name, n }) => (name ?? n) === "engagement");
      return found.length > 0 && found;
    });
    assert.ok(sd > 30 && sd < 80, `scroll depth ${sd}`);
  });
});
