// While the administrators have collection off, no user's yes takes effect.

import assert from "node:assert/strict";
import { moduleRuns } from "../harness/counting.mjs";
import { collecting, goTo, optIn, pretendToLeave, search } from "../harness/demo.mjs";
import { SITE, eventually, feature, scenario } from "../harness.mjs";

const REFUSED = /^error: Failed to load resource: the server responded with a status of 403/;

/** Lets the panel poll until it shows something. */
async function toSay(page, text) {
  await eventually(`the panel says: ${text}`, async () => {
    if (await page.getByText(text).isVisible()) return true;
    await page.clock.fastForward(3000);
    return false;
  });
}

const YES = JSON.stringify({ choice: "in", plan: 1, categories: ["feedback", "usage"] });

/** A profile whose user said yes on an earlier day. */
const saidYes = (world) => ({
  storageState: {
    cookies: [],
    origins: [
      {
        origin: world.panel,
        localStorage: [{ name: `feedback-relay:${SITE}`, value: YES }],
      },
    ],
  },
});

export default () => feature("The switch", () => {
  scenario(
    "While collection is off, a user's yes loads no module, and the relay connects to nobody",
    { on: false, door: true, expected: [REFUSED] },
    async (world) => {
      const user = await world.visitor(saidYes(world));
      await user.context.clock.install();
      const page = await user.open(world.panel);
      await page.getByText("Collection is off for this site.").waitFor();
      await search(page);
      await goTo(page, "API keys");
      // A page that ignores the rules cannot send either.
      const statuses = await page.evaluate(async () => {
        const events = [{ id: "0".repeat(32), name: "pageview", url: location.href }];
        const batch = { site: "panel.example.com", consent: { plan: 1, categories: ["usage"] }, events };
        const single = { n: "pageview", u: location.href, d: "panel.example.com" };
        const send = async (path, body) => (await fetch(`/feedback/api/${path}`, { method: "POST", body: JSON.stringify(body) })).status;
        return [await send("events", batch), await send("event?consent=1", single)];
      });
      assert.deepEqual(statuses, [403, 403]);
      assert.equal(user.fetchedModule(), false);
      assert.deepEqual((await world.settled()).endings(), { "denied/switched_off": 2 });
      assert.deepEqual(await world.arrived(), []);
      assert.equal(world.door.connections, 0, "connections to the receiver");

      // The same yes takes effect again once the administrators switch on; this also proves that the door counts.
      await world.turn("on");
      await toSay(page, "The module is loaded and collecting");
      await eventually("the page arrives", async () => (await world.stats()).pageviews === 1);
      assert.ok(world.door.connections > 0);
    },
  );

  scenario(
    "Switched off in the middle, the module stops, the page says so, and nothing more arrives",
    { door: true, expected: [REFUSED] },
    async (world) => {
      const user = await world.visitor();
      const page = await optIn(user, world);
      await eventually("the page arrives", async () => (await world.stats()).pageviews === 1);

      assert.match(await world.turn("off"), /collection is off/);
      // From this answer on.
      const before = (await world.arrived()).length;
      await search(page);
      await page.getByText("Collection is off for this site.").waitFor();
      await page.getByText("Nothing is loaded or sent").waitFor();
      const refused = user.deliveries().at(-1);
      assert.equal((await refused.response()).status(), 403);
      const sent = user.deliveries().length;

      await search(page);
      await goTo(page, "API keys");
      await pretendToLeave(page);
      // New users are not even asked.
      const other = await (await world.visitor()).open(world.panel);
      await other.getByText("Collection is off for this site.").waitFor();
      assert.equal(await other.getByRole("button", { name: "Yes, share" }).isVisible(), false);

      assert.equal(user.deliveries().length, sent, "the module went on");
      assert.deepEqual(Object.keys((await world.settled()).endings()).sort(), ["delivered", "denied/switched_off"]);
      assert.equal((await world.arrived()).length, before);
    },
  );

  scenario("After an interruption the page collects again by itself, within a minute", { expected: [REFUSED] }, async (world) => {
    const user = await world.visitor();
    await user.context.clock.install();
    const page = await user.open(world.pageWithSnippet());
    await eventually("the snippet runs", () => page.evaluate(() => typeof feedback?.optIn === "function"));
    await page.evaluate(() => feedback.optIn());
    await moduleRuns(page);
    await user.context.clock.fastForward(2000);
    await eventually("the page arrives", async () => (await world.stats()).pageviews === 1);
    await world.turn("off");
    await page.evaluate(() => feedback.track("Feature Used", { feature: "search" }));
    await user.context.clock.fastForward(2000);
    await eventually("the module stops", () => page.evaluate(async () => (await feedback.state()).active === false));
    // Off for longer than the longest back-off.
    for (let minute = 0; minute < 10; minute++) await user.context.clock.fastForward(60_000);
    const { length } = user.requests;
    await world.turn("on");
    await user.context.clock.fastForward(60_000);
    await eventually("the page arrives again", async () => {
      await user.context.clock.runFor(1000);
      return (await world.stats()).pageviews === 2;
    });
    assert.equal(await page.evaluate(async () => (await feedback.state()).active), true);
    assert.ok(user.requests.length - length < 12, "the page does not pester the relay");
    // The user's actions while it was off are not sent later.
    assert.equal((await world.arrivedAs("Feature Used")).length, 0);
  });

  scenario("After an interruption the page collects again at its next use, and keeps that use", { expected: [REFUSED] }, async (world) => {
    const uses = {
      track: () => feedback.track("Feature Used", { feature: "search" }),
      rate: () => feedback.rate("project-created", 4),
      "a route": () => void (location.hash = "#/version"),
      "a pushed route": () => history.pushState(null, "", "#/home"),
      looking: () => document.dispatchEvent(new Event("visibilitychange")),
      state: () => feedback.state(),
    };
    for (const [name, use] of Object.entries(uses)) {
      await world.turn("on");
      const user = await world.visitor();
      await user.context.clock.install();
      const page = await user.open(world.pageWithSnippet());
      await eventually("the snippet runs", () => page.evaluate(() => typeof feedback?.optIn === "function"));
      await page.evaluate(() => feedback.optIn());
      await moduleRuns(page);
      await world.turn("off");
      await user.context.clock.fastForward(2000);
      await eventually(`${name}: the module stops`, () => page.evaluate(async () => (await feedback.state()).active === false));
      await eventually("the page knows why", () => page.evaluate(async () => (await feedback.state()).collection === "off"));
      await world.turn("on");
      await user.context.clock.pauseAt(Date.now() + 3_600_000);
      const before = (await world.stats()).events;
      await page.evaluate(use);
      await eventually(`${name}: it collects again`, async () => {
        await user.context.clock.runFor(500);
        return (await world.stats()).events >= before + (["track", "rate"].includes(name) ? 2 : 1);
      });
      await user.leave();
    }
  });

  scenario("A hidden page asks for nothing while collection is off", { on: false }, async (world) => {
    const user = await world.visitor(saidYes(world));
    await user.context.clock.install();
    const page = await user.open(world.panel);
    await page.getByText("Collection is off for this site.").waitFor();
    const snippet = await user.open(world.pageWithSnippet());
    await snippet.evaluate((yes) => localStorage.setItem("feedback-relay:panel.example.com", yes), YES);
    await snippet.reload();
    await eventually("it asked", () => user.paths().filter((path) => path.endsWith("/config")).length > 0);
    const hide = () => Object.defineProperty(document, "hidden", { value: true, configurable: true });
    await page.close();
    await snippet.evaluate(hide);
    await snippet.evaluate(() => void document.dispatchEvent(new Event("visibilitychange")));
    await user.context.clock.fastForward("10:00");
    const { length } = user.requests;
    for (let hour = 0; hour < 5; hour++) await user.context.clock.fastForward("01:00:00");
    assert.equal(user.requests.length, length);
  });

  scenario("Events that wait when collection is switched off are deleted, not sent", {}, async (world) => {
    await world.kill("receiver");
    const user = await world.visitor();
    const page = await optIn(user, world);
    await search(page);
    await eventually("the events wait on disk", async () => (await world.metrics()).get("spool_events") === 2);
    assert.match(await world.turn("off"), /2 waiting event\(s\) were purged/);
    await world.startReceiver();
    assert.deepEqual((await world.settled()).endings(), { purged: 2 });
    assert.deepEqual(await world.arrived(), []);
  });
});
