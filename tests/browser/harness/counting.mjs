// A browser whose events are answered and kept by the test instead of the relay.

import { eventually } from "./eventually.mjs";

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
