// A browser whose events are answered and kept by the test instead of the relay.

import { eventually } from "./eventually.mjs";

/**
 * A script that says yes and waits until the module runs. On a slow machine a yes is answered earlier: after ten seconds,
 * with the module still loading.
 */
export const OPT_IN = `if (!(await feedback.optIn()).active) {
  await new Promise((done) => {
    addEventListener("feedback-state", ({ detail }) => detail.active && done());
    setTimeout(done, 30_000);
  });
}`;

/** Waits until a page whose user said yes has its module, which may still be loading. */
export const moduleRuns = (page) => eventually("the module runs", () => page.evaluate(async () => (await feedback.state()).active));

/** The path to which Plausible's own tracker posts, on the page's origin. */
export const COLLECT = "/collect";

/** A visitor whose requests from both counters never leave the browser, and their content. */
export async function counted(world, options = {}) {
  const user = await world.visitor(options);
  const sent = { relay: [], plausible: [] };
  const answer = (route) =>
    route.fulfill({
      status: 202,
      headers: { "Access-Control-Allow-Origin": route.request().headers().origin ?? "*" },
      json: { accepted: 1 },
    });
  await user.context.route(`**${COLLECT}`, (route) => {
    sent.plausible.push(JSON.parse(route.request().postData()));
    return answer(route);
  });
  await user.context.route("**/feedback/api/notes", (route) => {
    sent.relay.push(...JSON.parse(route.request().postData()).events);
    return answer(route);
  });
  return { user, sent };
}

/** Waits until everything so far has been sent. */
export async function sentAll(page, sent) {
  const marks = () => sent.relay.filter(({ name }) => name === "Feature Used").length;
  const before = marks();
  await page.evaluate(() => feedback.track("Feature Used", { feature: "help" }));
  await eventually("all is sent", () => marks() > before);
}

/** Closes a browser whose events are kept here: the relay must not get the last ones. */
export async function leave(user, page) {
  await page.evaluate(() => feedback.optOut());
  await user.leave();
}
