// A browser whose events are answered and kept by the test, in the relay's place.

import { eventually } from "./eventually.mjs";

/** Where Plausible's own tracker posts to, on the page's origin. */
export const COLLECT = "/collect";

/** A visitor whose requests of both counters never leave the browser, and what they sent. */
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

/** Waits until all that has happened is sent. */
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
