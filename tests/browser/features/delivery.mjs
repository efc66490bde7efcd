// Events that a user agreed to share arrive exactly once, despite failures on the way.

import assert from "node:assert/strict";
import { moduleRuns } from "../harness/counting.mjs";
import { goTo, leave, optIn, search } from "../harness/demo.mjs";
import { eventually, feature, scenario } from "../harness.mjs";

/**
 * Browser messages about a relay or web server that is away; the snippet itself must log nothing. After a restart the
 * relay refuses the page token of its predecessor once.
 */
const AWAY = /^error: Failed to load resource: (the server responded with a status of (50[234]|403)|net::ERR_)/;

/** The events of a delivery, as sent by the browser. */
const eventsOf = (request) => JSON.parse(request.postData()).events;

export default () => feature("Delivery", () => {
  scenario("Events wait while the receiver is away, and arrive once it is back", {}, async (world) => {
    await world.kill("receiver");
    const user = await world.visitor();
    const page = await optIn(user, world);
    await search(page);
    await eventually("the events wait on disk", async () => (await world.metrics()).get("spool_events") === 2);
    const answer = await eventually("the answer", () => user.deliveries()[0]?.response());
    assert.equal(answer.status(), 202);
    await world.startReceiver();
    await eventually("they arrive", async () => (await world.stats()).events === 2);
    assert.deepEqual((await world.arrived()).map(({ body }) => body.name), ["pageview", "Feature Used"]);
  });

  scenario("A relay that is away for a moment gets the same events again, and they arrive once", { expected: [AWAY] }, async (world) => {
    const user = await world.visitor();
    const page = await optIn(user, world);
    await eventually("the page arrives", async () => (await world.stats()).pageviews === 1);

    await world.kill("relay");
    await search(page);
    /** Every attempt by the browser to deliver these events. */
    const tries = () => user.deliveries().filter((request) => eventsOf(request)[0].name === "Feature Used");
    await eventually("the browser tries in vain", async () => (await tries()[0]?.response())?.status() === 502);
    await world.startRelay();
    await eventually("the events arrive", async () => (await world.stats()).goals.length === 1);
    await eventually("the last try", async () => (await tries().at(-1).response())?.status() === 202);
    assert.ok(tries().length > 1);
    assert.equal((await world.metrics()).ended("denied/page_token"), 1, "one refusal renews the token");
    for (const again of tries()) assert.deepEqual(eventsOf(again)[0], eventsOf(tries()[0])[0]);
    assert.equal((await world.arrivedAs("Feature Used")).length, 1);
  });

  scenario("A batch whose answer was lost is counted once, even by a relay that was killed", { expected: [AWAY] }, async (world) => {
    const user = await world.visitor();
    let lost = 0;
    await user.context.route("**/api/notes", async (route) => {
      lost += 1;
      if (lost > 1) return route.continue();
      const answer = await route.fetch();
      assert.equal(answer.status(), 202);
      // If killed between Plausible's answer and recording it, a relay would rightly deliver again.
      await world.settled();
      await world.kill("relay");
      await world.startRelay();
      return route.abort("connectionreset");
    });
    await optIn(user, world);
    const metrics = await eventually("the second try is known as a repetition", async () => {
      const metrics = await world.settled();
      return metrics.ended("duplicate") === 1 && metrics;
    });
    assert.deepEqual([metrics.received, metrics.ended("denied/page_token")], [2, 1]);
    assert.equal(lost, 3, "the first, one with the token of the killed relay, and one with its own");
    assert.equal((await world.arrivedAs("pageview")).length, 1);
  });

  scenario("The last events arrive when the tab is closed right after them", {}, async (world) => {
    const user = await world.visitor();
    const page = await optIn(user, world);
    await eventually("the page arrives", async () => (await world.stats()).pageviews === 1);
    await search(page);
    await goTo(page, "Version");
    await leave(page);
    await eventually("what was done last arrives", async () => {
      const { goals, pages } = await world.stats();
      return goals.length === 1 && pages.some(({ page }) => page === "/version");
    });
  });

  scenario("The last events arrive when the user follows a link to elsewhere, and the way back is a new view", {}, async (world) => {
    const user = await world.visitor();
    const page = await optIn(user, world);
    await search(page);
    await page.goto(world.receiver);
    await eventually("what was done last arrives", async () => (await world.stats()).goals.length === 1);
    await page.goBack();
    await eventually("the page was seen twice", async () => (await world.stats()).pageviews === 2);
    assert.equal((await world.arrivedAs("Feature Used")).length, 1);
  });

  scenario("A rating outlives a relay that is busy for a quarter of an hour", { expected: [AWAY] }, async (world) => {
    const user = await world.visitor();
    await user.context.clock.install();
    const page = await optIn(user, world);
    await user.context.clock.fastForward(2000);
    await eventually("the page arrives", async () => (await world.stats()).pageviews === 1);
    let busy = 0;
    const away = (route) => {
      busy += 1;
      return route.fulfill({ status: 503, headers: { "Retry-After": "1" }, body: "" });
    };
    await page.route("**/api/notes", away);
    await page.evaluate(() => feedback.rate("project-created", 5));
    await eventually("thirty tries in vain", async () => {
      await user.context.clock.fastForward(2000);
      return busy >= 30;
    });
    // From here on no server answers.
    await page.unroute("**/api/notes", away);
    await page.route("**/api/notes", (route) => route.abort("connectionrefused"));
    for (let minute = 0; minute < 15; minute++) await user.context.clock.fastForward(60_000);
    await page.unrouteAll();
    await eventually("it arrives", async () => {
      await user.context.clock.fastForward(60_000);
      return (await world.arrivedAs("Activity Rated")).length === 1;
    });
  });

  scenario("A browser that is online again sends at once", { expected: [AWAY] }, async (world) => {
    const user = await world.visitor();
    const page = await optIn(user, world);
    await eventually("the page arrives", async () => (await world.stats()).pageviews === 1);
    await user.context.setOffline(true);
    const before = user.deliveries().length;
    await search(page);
    await eventually("several tries in vain", () => user.deliveries().length > before + 3);
    await user.context.setOffline(false);
    await eventually("it arrives", async () => (await world.stats()).goals.length === 1, 6000);
  });

  scenario("A rating before the answer outlives everything else the page does before it", {}, async (world) => {
    const user = await world.visitor();
    const page = await user.open(world.pageWithSnippet());
    await eventually("the snippet runs", () => page.evaluate(() => typeof feedback?.optIn === "function"));
    await page.evaluate(() => {
      feedback.rate("project-created", 2);
      for (let n = 0; n < 300; n++) feedback.track("Feature Used", { feature: "search" });
      feedback.rate("tenant-created", 3);
      return feedback.optIn();
    });
    await moduleRuns(page);
    await eventually("both ratings arrive", async () => (await world.arrivedAs("Activity Rated")).length === 2);
    // A hundred calls waited: two ratings and the latest of the others.
    await eventually("the rest too", async () => (await world.arrivedAs("Feature Used")).length === 98);
  });
});
