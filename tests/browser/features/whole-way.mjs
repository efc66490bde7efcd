// The whole way of an event: from a click in the panel to the server of the dashboard.

import assert from "node:assert/strict";
import { goTo, optIn, search } from "../harness/demo.mjs";
import { ON_LINUX, ON_WINDOWS, SITE, eventually, feature, scenario } from "../harness.mjs";

const TENANTS = "/w/:workspace/p/:project/tenants";

export default () => feature("The whole way", () => {
  scenario("An opted-in user's pages and rating arrive, and the customer's names for things do not", {}, async (world) => {
    world.keepSecret("merger");
    const user = await world.visitor();
    const page = await optIn(user, world);
    await goTo(page, "API keys");
    await goTo(page, "Tenants");
    assert.equal(new URL(page.url()).hash, "#/w/acme-prod/p/billing-7/tenants");
    await page.getByRole("button", { name: "Create project" }).click();
    await page.getByLabel("Project name").fill("secret-merger");
    await page.getByRole("button", { name: "Create", exact: true }).click();
    await page.getByRole("button", { name: "5 very satisfied" }).click();
    await search(page);

    const stats = await eventually("everything has arrived", async () => {
      const stats = await world.stats();
      return stats.goals.length === 2 && stats;
    });
    assert.equal(stats.visitors, 1);
    assert.equal(stats.dropped, 0);
    // The page at the start, the one come back to, and the new project's.
    assert.deepEqual(stats.pages, [
      { page: TENANTS, visitors: 1, pageviews: 3 },
      { page: "/w/:workspace/access-management/api-keys", visitors: 1, pageviews: 1 },
    ]);
    assert.deepEqual(stats.ratings, [{ activity: "project-created", count: 1, average: 5, distribution: [0, 0, 0, 0, 1] }]);
    assert.deepEqual(stats.goals, [{ name: "Activity Rated", count: 1 }, { name: "Feature Used", count: 1 }]);

    // The browser spoke with nobody but the panel's own server, and keeps nothing but the answer.
    assert.deepEqual([...new Set(user.requests.map((request) => new URL(request.url()).origin))], [world.panel]);
    assert.deepEqual(await user.context.cookies(), []);
    assert.deepEqual(await page.evaluate(() => Object.keys(localStorage)), [`feedback-relay:${SITE}`]);

    // What left is made anew, from known headers and members.
    for (const { headers, body } of await world.arrived()) {
      const known = ["content-length", "content-type", "host", "user-agent", "x-plausible-ip"];
      assert.deepEqual(Object.keys(headers).sort(), known);
      assert.match(headers["x-plausible-ip"], /^2001:db8:/);
      assert.match(headers["user-agent"], /Linux x86_64\).* Chrome\/156\.0\.0\.0 Safari/);
      assert.equal(body.domain, SITE);
      assert.ok(body.url.startsWith(`https://${SITE}/`));
      for (const member of Object.keys(body)) assert.ok(["name", "url", "domain", "props", "e", "sd"].includes(member), member);
    }
  });

  scenario("Two people are two visitors, told apart by address or browser, and one person is one", {}, async (world) => {
    // The address is what the web server in front says, which is the demo panel here.
    world.keepSecret("198.51.100.");
    const from = (address, userAgent) => ({ userAgent, extraHTTPHeaders: { "X-Forwarded-For": address } });
    const visit = async (options) => optIn(await world.visitor(options), world);
    const views = (count) =>
      eventually(`${count} pageviews have arrived`, async () => {
        const stats = await world.stats();
        return stats.pageviews === count && stats;
      });

    await Promise.all([
      visit(from("198.51.100.1", ON_LINUX)),
      visit(from("198.51.100.1", ON_WINDOWS)),
      visit(from("198.51.100.2", ON_WINDOWS)),
    ]);
    assert.equal((await views(3)).visitors, 3);
    // The first one again, in a new browser profile.
    await visit(from("198.51.100.1", ON_LINUX));
    assert.equal((await views(4)).visitors, 3);
  });
});
