// Browsers that are never counted, whatever their users choose: automated ones, and those excluded through Plausible's
// own setting.

import assert from "node:assert/strict";
import { moduleRuns } from "../harness/counting.mjs";
import { eventually, feature, scenario } from "../harness.mjs";

const PERSON = `Object.defineProperty(navigator, "webdriver", { value: false });`;
const ignoring = (value) => `${PERSON} if (location.protocol === "http:") localStorage.plausible_ignore = "${value}";`;
const NO_STORAGE = `${PERSON} Object.defineProperty(window, "localStorage", { get() { throw new DOMException("no", "SecurityError"); } });`;

/** Name, a script for the browser, what the page counts on request, and the reason not to be counted. */
const BROWSERS = [
  ["a person", PERSON, "", null],
  ["WebDriver", "", "", "automation"],
  ["WebDriver, counted on request", "", "automation", null],
  ["WebDriver where something else is counted", "", "ignored", "automation"],
  ...["Cypress", "_phantom", "__nightmare"].flatMap((name) => [
    [name, `${PERSON} window.${name} = {};`, "", "automation"],
    [`${name}, counted on request`, `${PERSON} window.${name} = {};`, "automation", null],
  ]),
  ["plausible_ignore", ignoring("true"), "", "ignored"],
  ["plausible_ignore where automation is counted", ignoring("true"), "automation", "ignored"],
  ["plausible_ignore, counted on request", ignoring("true"), "automation ignored", null],
  ["plausible_ignore with another value", ignoring("false"), "", null],
  ["no storage", NO_STORAGE, "", null],
];

/** The browser's requests, without the one for the snippet itself. */
const asked = (user) => user.paths().filter((path) => path.startsWith("/feedback/") && !path.endsWith("/snippet.js"));
const runs = (page) => eventually("the snippet runs", () => page.evaluate(() => typeof window.feedback?.optIn === "function"));

export default () => feature("Who is not counted", () => {
  scenario("Automated browsers and those with plausible_ignore load nothing, unless the page asks for it", {}, async (world) => {
    const found = {};
    const visit = async ([name, init, count]) => {
      const user = await world.visitor({ init });
      const page = await user.open(world.pageWithSnippet(`/${count.replace(" ", "-")}.html`, { count }));
      await runs(page);
      const { signal } = await page.evaluate(() => {
        feedback.track("Feature Used", { feature: "help" });
        return feedback.optIn();
      });
      found[name] = signal;
      if (signal === null) await moduleRuns(page);
      const { active, choice } = await page.evaluate(() => feedback.state());
      assert.deepEqual([choice, active, user.fetchedModule()], ["in", signal === null, signal === null], name);
      if (active) return;
      // Even after a yes on an earlier page, such a browser sends nothing to the relay.
      user.requests.length = 0;
      await page.reload();
      await runs(page);
      assert.equal((await page.evaluate(() => feedback.q.push(["track", "Feature Used"]))) ?? null, null);
      assert.deepEqual(asked(user), [], name);
    };
    for (const browser of BROWSERS) await visit(browser);
    assert.deepEqual(found, Object.fromEntries(BROWSERS.map(([name, , , reason]) => [name, reason])));
    const counted = BROWSERS.filter(([, , , reason]) => reason === null).length;
    for (const event of ["pageview", "Feature Used"]) {
      await eventually(`one of each counted browser: ${event}`, async () => (await world.arrivedAs(event)).length === counted);
    }
  });
});
