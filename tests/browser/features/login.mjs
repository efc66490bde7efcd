// Behind a login for the whole origin: the module uses the user's session, and does not mistake a login page for an
// answer.

import assert from "node:assert/strict";
import { collecting, search } from "../harness/demo.mjs";
import { Login, SESSION } from "../harness/login.mjs";
import { eventually, feature, scenario } from "../harness.mjs";

const REFUSED = /^error: Failed to load resource: the server responded with a status of 401/;

/** Logs a user in, who opens the panel and says yes. */
async function optInBehind(world, how, user) {
  const login = world.stopLater(await Login.start(world.panel, how));
  const [name, value] = SESSION.split("=");
  const logIn = () => user.context.addCookies([{ name, value, url: login.origin }]);
  await logIn();
  const page = await user.open(login.origin);
  await page.getByRole("button", { name: "Yes, share" }).click();
  await collecting(page);
  return { login, logIn, page };
}

export default () => feature("Behind a login", () => {
  for (const how of ["redirect", "page", "401"]) {
    scenario(`Events pass with the session, wait while it is over, and arrive after the next (${how})`, { expected: [REFUSED] }, async (world) => {
      const user = await world.visitor();
      const { login, logIn, page } = await optInBehind(world, how, user);
      await eventually("the page arrives", async () => (await world.stats()).pageviews === 1);
      assert.ok(login.passed.some(({ path }) => path.endsWith("client_bg.wasm")));
      assert.deepEqual(login.turnedAway, []);

      await user.context.clearCookies();
      await search(page);
      await eventually("the batch ends at the login", () => login.turnedAway.some((path) => path.endsWith("/notes")));
      await logIn();
      await eventually("it arrives", async () => (await world.stats()).goals.length === 1);
      assert.equal((await world.arrivedAs("Feature Used")).length, 1);
      assert.ok(!JSON.stringify(await world.arrived()).includes(SESSION.split("=")[1]), "the session went no further than the relay");
    });

    scenario(`A page that opens before the login begins after it (${how})`, { expected: [REFUSED] }, async (world) => {
      const user = await world.visitor();
      await user.context.clock.install();
      const { page } = await optInBehind(world, how, user);
      // The page itself comes from a cache; all requests of the snippet end at the login.
      await page.route("**/api/config?*", (route) => route.fulfill({ status: 200, contentType: "text/html", body: "<!doctype html>Log in" }));
      await page.reload();
      await eventually("the page knows nothing", () => page.evaluate(async () => (await feedback.state()).collection === "unknown"));
      assert.equal(await page.evaluate(async () => (await feedback.state()).active), false);
      await page.unrouteAll();
      await eventually("it begins", async () => {
        await user.context.clock.fastForward(10_000);
        return page.evaluate(async () => (await feedback.state()).active);
      });
    });
  }
});
