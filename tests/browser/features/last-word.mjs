// The user's last choice counts, with slow tabs, several tabs, and answers in any order.

import assert from "node:assert/strict";
import { moduleRuns } from "../harness/counting.mjs";
import { SITE, eventually, feature, scenario } from "../harness.mjs";

const KEY = `feedback-relay:${SITE}`;
const ready = (page) => eventually("the snippet runs", () => page.evaluate(() => typeof feedback?.optIn === "function"));
const state = (page) => page.evaluate(() => feedback.state());
const stored = (page) => page.evaluate((key) => JSON.parse(localStorage.getItem(key)), KEY);

/** Holds a tab's requests back until the returned function is called. */
async function hold(page, pattern) {
  let release;
  const held = new Promise((done) => (release = done));
  await page.route(pattern, async (route) => {
    await held;
    await route.continue().catch(() => {});
  });
  return release;
}

/**
 * Makes several choices without waiting in between, as a page might: "in", "out", or "usage" and "feedback" for one
 * category.
 */
const say = (page, words) =>
  page.evaluate((words) => {
    for (const word of words) void (word === "out" ? feedback.optOut() : feedback.optIn(word === "in" ? undefined : [word]));
  }, words);

/** Deletes what was not sent yet: a tab that closes could send its end without its beginning, which waits in the spool. */
const forget = (page) => page.evaluate(() => feedback.optOut());

export default () => feature("The last word", () => {
  scenario("A slow answer of the relay overrules no later decision", {}, async (world) => {
    const all = ["usage", "feedback"];
    const cases = [
      [["in", "out"], "out", []],
      [["out", "in"], "in", all],
      [["in", "out", "in"], "in", all],
      [["in", "out", "in", "out"], "out", []],
      [["in", "in", "out"], "out", []],
      [["in", "usage"], "in", ["usage"]],
      [["usage", "in"], "in", all],
      [["usage", "out", "feedback"], "in", ["feedback"]],
    ];
    for (const [words, choice, categories] of cases) {
      const user = await world.visitor();
      const page = await user.open(world.pageWithSnippet());
      await ready(page);
      const release = await hold(page, "**/api/config?*");
      await say(page, words);
      release();
      if (choice === "in") await moduleRuns(page);
      const now = await state(page);
      assert.deepEqual([now.choice, now.active], [choice, choice === "in"], words.join());
      const kept = await stored(page);
      assert.deepEqual([kept.choice, [...kept.categories].sort()], [choice, [...categories].sort()], words.join());
      if (choice === "out") {
        await page.evaluate(() => void dispatchEvent(new PageTransitionEvent("pagehide")));
        assert.deepEqual(user.deliveries(), [], words.join());
        assert.equal(user.fetchedModule(), false, words.join());
      }
      await forget(page);
      await user.leave();
    }
  });

  scenario("A slow answer in one tab overrules no later decision in another", {}, async (world) => {
    // The slow tab's choice, the other tab's later choice, and the one that counts in both.
    const cases = [
      [["in"], ["out"], "out", []],
      [["out", "in"], ["out"], "out", []],
      [["in"], ["out", "feedback"], "in", ["feedback"]],
      [["in"], ["usage"], "in", ["usage"]],
      [["out"], ["in"], "in", ["usage", "feedback"]],
    ];
    for (const [slowly, then, choice, categories] of cases) {
      const name = `${slowly} | ${then}`;
      const user = await world.visitor();
      const [slow, other] = [await user.open(world.pageWithSnippet()), await user.open(world.pageWithSnippet())];
      for (const tab of [slow, other]) await ready(tab);
      const release = await hold(slow, "**/api/config?*");
      await say(slow, slowly);
      await say(other, then);
      await eventually(`${name}: the other tab is done`, async () => (await stored(other))?.choice === choice);
      release();
      for (const tab of [slow, other]) {
        await eventually(`${name}: ${choice} in both tabs`, async () => {
          const now = await state(tab);
          return now.choice === choice && now.active === (choice === "in");
        });
        assert.deepEqual([...(await stored(tab)).categories].sort(), [...categories].sort(), name);
      }
      await forget(other);
      await user.leave();
    }
  });

  scenario("A no while the module loads is in time, from this tab and from another", {}, async (world) => {
    for (const where of ["here", "there"]) {
      for (const part of ["**/client.js*", "**/client_bg.wasm"]) {
        const user = await world.visitor();
        const [page, other] = [await user.open(world.pageWithSnippet()), await user.open(world.pageWithSnippet())];
        for (const tab of [page, other]) await ready(tab);
        const release = await hold(page, part);
        await say(page, ["in"]);
        await eventually("it loads", async () => (await stored(page))?.choice === "in");
        await say(where === "here" ? page : other, ["out"]);
        release();
        await eventually("nothing runs", async () => {
          const now = await state(page);
          return now.choice === "out" && !now.active;
        });
        assert.equal((await stored(page)).choice, "out");
        await user.leave();
      }
    }
    assert.equal((await world.settled()).received, 0);
  });

  scenario("An older record that is written later does not undo a no", {}, async (world) => {
    const user = await world.visitor();
    const [page, other] = [await user.open(world.pageWithSnippet()), await user.open(world.pageWithSnippet())];
    for (const tab of [page, other]) await ready(tab);
    await page.evaluate(() => feedback.optIn());
    const yes = await stored(page);
    await page.evaluate(() => feedback.optOut());
    await other.evaluate(([key, yes]) => localStorage.setItem(key, JSON.stringify(yes)), [KEY, yes]);
    await eventually("the no is back", async () => (await stored(page)).choice === "out");
    assert.equal((await state(page)).active, false);
    await eventually("the other tab follows", async () => !(await state(other)).active);
    // If the user clears the storage, the choice is cleared.
    await other.evaluate(() => localStorage.clear());
    await eventually("forgotten", async () => (await state(page)).choice === "unset");
    assert.equal(await stored(page), null);
  });

  scenario("A clock that goes back changes no order", {}, async (world) => {
    const user = await world.visitor();
    await user.context.clock.install({ time: new Date("2026-11-29T12:00:00Z") });
    const page = await user.open(world.pageWithSnippet());
    await ready(page);
    await page.evaluate(() => feedback.optIn());
    await user.context.clock.setSystemTime(new Date("2026-11-28T12:00:00Z"));
    assert.equal((await page.evaluate(() => feedback.optOut())).choice, "out");
    assert.equal((await page.evaluate(() => feedback.optIn())).choice, "in");
    assert.equal((await page.evaluate(() => feedback.optOut())).choice, "out");
  });

  scenario("No wait is longer than its limit, and what was late starts later", {}, async (world) => {
    const user = await world.visitor();
    await user.context.clock.install();
    const page = await user.open(world.pageWithSnippet());
    await ready(page);
    for (const [pattern, choice] of [["**/api/config?*", "unset"], ["**/client.js*", "in"], ["**/client_bg.wasm", "in"]]) {
      const release = await hold(page, pattern);
      await page.evaluate(() => {
        window.answer = undefined;
        void feedback.optIn().then((state) => (window.answer = state));
      });
      const now = await eventually(`${pattern}: it gives up waiting`, async () => {
        await user.context.clock.fastForward(1000);
        return page.evaluate(() => window.answer);
      });
      assert.deepEqual([now.choice, now.active], [choice, false], pattern);
      release();
      await page.unrouteAll();
    }
    await eventually("it starts", async () => {
      await user.context.clock.fastForward(5000);
      return (await state(page)).active;
    });
  });
});
