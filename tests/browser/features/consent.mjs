// Without a yes nothing is loaded or sent; a no takes effect at once and everywhere.

import assert from "node:assert/strict";
import { moduleRuns } from "../harness/counting.mjs";
import { answerUnderPrivacy, collecting, goTo, optIn, pretendToLeave, sayYes, search } from "../harness/demo.mjs";
import { eventually, feature, scenario } from "../harness.mjs";

/** Long after every timer of the module. */
const LATER = "10:00";

/** A browser with a clock, shared by all tabs, that the test can advance. */
async function withClock(visitor) {
  await visitor.context.clock.install();
  return visitor;
}

/** Checks that the module was not loaded, nothing was sent, and the relay received no event. */
async function assertUntouched(visitor, world) {
  assert.equal(visitor.fetchedModule(), false, "the module was fetched");
  assert.deepEqual(visitor.deliveries().map((request) => request.url()), []);
  assert.equal((await world.metrics()).received, 0);
}

export default () => feature("Consent", () => {
  scenario("Who has not answered gets no module and sends nothing", {}, async (world) => {
    const user = await withClock(await world.visitor());
    const page = await user.open(world.panel);
    await page.getByRole("button", { name: "Yes, share" }).waitFor();
    await search(page);
    await goTo(page, "API keys");
    await user.context.clock.fastForward(LATER);
    await assertUntouched(user, world);
  });

  scenario("A page that does not use the snippet asks for nothing but its own files and the snippet", {}, async (world) => {
    const user = await withClock(await world.visitor());
    const page = await user.open(world.pageWithSnippet());
    await eventually("the snippet runs", () => page.evaluate(() => typeof feedback?.track === "function"));
    await page.evaluate(() => {
      feedback.track("Feature Used", { feature: "search" });
      feedback.rate("project-created", 5);
    });
    await user.context.clock.fastForward(LATER);
    assert.deepEqual(
      user.requests.map((request) => request.url()).filter((url) => !url.endsWith("/favicon.ico")),
      [`${world.pages.origin}/page.html`, `${world.relay}/feedback/snippet.js`],
    );
    await assertUntouched(user, world);
  });

  scenario("A no is remembered over a reload and in another tab", {}, async (world) => {
    const user = await withClock(await world.visitor());
    const page = await user.open(world.panel);
    await page.getByRole("button", { name: "No thanks" }).click();
    await page.getByText("You said no").waitFor();
    await page.reload();
    const other = await user.open(world.panel);
    for (const tab of [page, other]) {
      await tab.getByText("You said no").waitFor();
      await search(tab);
      assert.equal(await tab.getByRole("button", { name: "Yes, share" }).isVisible(), false, "asked again");
    }
    await user.context.clock.fastForward(LATER);
    await assertUntouched(user, world);
  });

  scenario("A privacy signal of the browser is a no, until the user says yes in person", {}, async (world) => {
    const signals = {
      "Global Privacy Control": [{ "Sec-GPC": "1" }, () => Object.defineProperty(navigator, "globalPrivacyControl", { value: true })],
      "Do Not Track": [{ DNT: "1" }, () => Object.defineProperty(navigator, "doNotTrack", { value: "1" })],
    };
    const share = async (name, [extraHTTPHeaders, init]) => {
      const user = await world.visitor({ extraHTTPHeaders, init });
      const page = await user.open(world.panel);
      await page.getByText(`Your browser counts as a no (${name})`).waitFor();
      assert.equal(await page.getByRole("button", { name: "Yes, share" }).isVisible(), false, "asked nevertheless");
      await search(page);
      assert.equal(user.fetchedModule(), false);

      await answerUnderPrivacy(page, "Yes, share");
      await collecting(page);
      await goTo(page, "Version");
      const [first] = await eventually("it is sent", () => user.deliveries().length > 0 && user.deliveries());
      // The signal was sent along, and the relay gave precedence to the user's explicit choice.
      const [[header, value]] = Object.entries(extraHTTPHeaders);
      assert.equal((await first.allHeaders())[header.toLowerCase()], value);
    };
    await Promise.all(Object.entries(signals).map(([name, means]) => share(name, means)));
    await eventually("all arrive", async () => (await world.stats()).pageviews === 4);
    // Actions before the yes were never kept.
    assert.deepEqual((await world.stats()).goals, []);
  });

  scenario("What a page tells before the answer is sent after a yes and forgotten after a no", {}, async (world) => {
    const early = world.pages.put("/early.js", `window.feedback = { q: [["track", "Feature Used", { feature: "help" }]] };`);
    const url = world.pageWithSnippet("/early.html", { head: `<script src="${early}"></script>` });
    const answered = async (answer) => {
      const user = await world.visitor();
      const page = await user.open(url);
      await eventually("the snippet runs", () => page.evaluate(() => typeof feedback.optIn === "function"));
      await page.evaluate(() => feedback.rate("tenant-created", 2));
      const states = [];
      for (const method of answer) {
        await page.evaluate((method) => feedback[method](), method);
        if (method === "optIn") await moduleRuns(page);
        states.push(await page.evaluate(() => feedback.state()));
      }
      return states;
    };
    const [refused, changed] = await answered(["optOut", "optIn"]);
    assert.deepEqual([refused.choice, refused.active], ["out", false]);
    assert.deepEqual([changed.choice, changed.active], ["in", true]);
    await eventually("the page of the one who refused first", async () => (await world.stats()).pageviews === 1);
    assert.deepEqual((await world.stats()).goals, []);

    const [agreed] = await answered(["optIn"]);
    assert.deepEqual(agreed, { collection: "on", choice: "in", active: true, plan: 1, signal: null });
    await eventually("what was told early", async () => (await world.stats()).goals.length === 2);
    assert.deepEqual((await world.stats()).goals, [{ name: "Activity Rated", count: 1 }, { name: "Feature Used", count: 1 }]);
  });

  scenario("Who agrees to ratings only sends ratings only", {}, async (world) => {
    const user = await world.visitor();
    const page = await user.open(world.pageWithSnippet("/page.html"));
    await eventually("the snippet runs", () => page.evaluate(() => typeof feedback?.optIn === "function"));
    await page.evaluate(async () => {
      await feedback.optIn(["feedback"]);
      feedback.track("Feature Used", { feature: "search" });
      // A form field holds the number as text; a blank or non-numeric one is not a rating.
      for (const rating of ["", " ", "four", "4.5", "4"]) feedback.rate("project-created", rating);
    });
    await eventually("the rating arrives", async () => (await world.arrived()).length > 0);
    const arrived = (await world.arrived()).map(({ body }) => [body.name, body.props.rating]);
    assert.deepEqual(arrived, [["Activity Rated", 4]]);
    // Not even the company's own server receives the rest.
    assert.equal((await world.settled()).received, 1);
  });

  scenario("A no stops every tab at once and forgets what was not sent", {}, async (world) => {
    const user = await withClock(await world.visitor());
    const page = await optIn(user, world);
    const other = await user.open(world.panel);
    await collecting(other);
    await user.context.clock.fastForward(LATER);
    await eventually("both tabs have sent what they had", async () => (await world.stats()).pageviews === 2);
    // The jump of the clock ends a request that is on its way: its tab sends the batch again.
    for (const tab of [page, other]) {
      await eventually("the tab's last batch is answered", async () => {
        const last = user.deliveries().findLast((request) => request.frame().page() === tab);
        return (await last?.response())?.status() === 202;
      });
    }
    const { received } = await world.settled();
    const sent = user.deliveries().length;

    // The clock stands still, so these wait in the two modules' queues. A script makes the clicks, because Playwright's
    // own clicks wait for frames, which are not drawn meanwhile.
    await user.context.clock.pauseAt(Date.now() + 3_600_000);
    const press = (tab, ...ids) => tab.evaluate((ids) => ids.forEach((id) => document.getElementById(id).click()), ids);
    for (const tab of [page, other]) await press(tab, "search");
    await press(page, "privacy", "consent-no");
    for (const tab of [page, other]) {
      await eventually("the tab says no", () => tab.getByText("You said no").isVisible());
      assert.equal(await tab.getByText("Nothing is loaded or sent").isVisible(), true);
      await press(tab, "search");
    }
    await user.context.clock.fastForward(LATER);
    for (const tab of [page, other]) await pretendToLeave(tab);
    assert.equal(user.deliveries().length, sent, "sent after the no");
    assert.equal((await world.settled()).received, received);
  });

  scenario("Who said yes to an older plan is asked again, and nothing is loaded before", {}, async (world) => {
    const user = await world.visitor();
    const page = await optIn(user, world);
    await eventually("the page has arrived", async () => (await world.stats()).pageviews === 1);
    await page.goto("about:blank");
    await world.stop("relay");
    await world.raisePlan(2);
    await world.startRelay();

    user.requests.length = 0;
    await page.goto(world.panel);
    await page.getByRole("button", { name: "Yes, share" }).waitFor();
    await search(page);
    assert.equal(user.fetchedModule(), false);
    await sayYes(page);
    await eventually("the page has arrived once more", async () => (await world.stats()).pageviews === 2);
  });
});
