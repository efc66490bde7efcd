// The complete path of an event: from a click in the panel to the dashboard's server.

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
    // The start page, the page that was revisited, and the new project's page.
    assert.deepEqual(stats.pages, [
      { page: TENANTS, visitors: 1, pageviews: 3 },
      { page: "/w/:workspace/access-management/api-keys", visitors: 1, pageviews: 1 },
    ]);
    assert.deepEqual(stats.ratings, [{ activity: "project-created", count: 1, average: 5, distribution: [0, 0, 0, 0, 1] }]);
    assert.deepEqual(stats.goals, [{ name: "Activity Rated", count: 1 }, { name: "Feature Used", count: 1 }]);

    // The browser contacted only the panel's own server, and keeps only the choice and a random value of the day.
    assert.deepEqual([...new Set(user.requests.map((request) => new URL(request.url()).origin))], [world.panel]);
    assert.deepEqual(await user.context.cookies(), []);
    const keys = [`feedback-relay:${SITE}`, `feedback-relay:${SITE}:today`];
    assert.deepEqual(await page.evaluate(() => Object.keys(localStorage).sort()), keys);

    // The outgoing requests are built from scratch, with known headers and members.
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
    // The client address is set by the web server in front, which is the demo panel here.
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
    // A new profile is another browser, even if it equals the first one otherwise.
    await visit(from("198.51.100.1", ON_LINUX));
    assert.equal((await views(4)).visitors, 4);
  });

  scenario("Browsers of one make behind one address are as many visitors, and a browser's tabs are one", {}, async (world) => {
    const office = [];
    for (let n = 0; n < 3; n++) office.push(await world.visitor());
    const value = (page) => page.evaluate((site) => localStorage.getItem(`feedback-relay:${site}:today`), SITE);
    const values = new Set();
    for (const user of office) {
      const tab = await optIn(user, world);
      const other = await user.open(world.panel);
      await eventually("both tabs have sent", () => user.deliveries().length >= 2);
      const [day, today, more] = (await value(tab)).split(" ");
      assert.match(today, /^[0-9a-f]{32}$/);
      assert.equal(Number(day), Math.floor(Date.now() / 86_400_000));
      // In the first hour of a day the previous day's value could be sent too, but not from a new profile.
      assert.equal(more, undefined);
      for (const request of user.deliveries()) assert.equal(JSON.parse(request.postData()).visitor, today);
      values.add(today);
      world.keepSecret(today);
      await other.close();
    }
    assert.equal(values.size, 3);
    const stats = await eventually("all pages have arrived", async () => {
      const stats = await world.stats();
      return stats.pageviews === 6 && stats;
    });
    assert.equal(stats.visitors, 3);

    // A no removes it, here and in the other tab, and nothing sent later restores it.
    const [user] = office;
    const [tab, other] = [await user.open(world.panel), await user.open(world.panel)];
    await tab.evaluate(() => feedback.optOut());
    await eventually("it is gone", async () => (await value(other)) === null && (await value(tab)) === null);
    await search(other);
    assert.equal(await value(tab), null);
  });

  scenario("A visit over midnight is one visitor, and the value of a day outlives it by an hour at most", {}, async (world) => {
    const user = await world.visitor();
    await user.context.clock.install({ time: new Date("2026-11-29T23:55:00Z") });
    const page = await optIn(user, world);
    let count = 0;
    const sent = async () => {
      const request = await eventually("a batch is sent", async () => {
        await user.context.clock.runFor(1100);
        return user.deliveries()[count];
      });
      count = user.deliveries().length;
      return JSON.parse(request.postData());
    };
    const evening = await sent();
    assert.match(evening.visitor, /^[0-9a-f]{32}$/);
    assert.equal(evening.visitor_before, undefined);
    await user.context.clock.setSystemTime(new Date("2026-11-30T00:05:00Z"));
    await search(page);
    const night = await sent();
    assert.notEqual(night.visitor, evening.visitor);
    assert.equal(night.visitor_before, evening.visitor);
    await user.context.clock.setSystemTime(new Date("2026-11-30T01:00:00Z"));
    await search(page);
    const later = await sent();
    assert.deepEqual([later.visitor, later.visitor_before], [night.visitor, undefined]);
    assert.ok(!(await page.evaluate(() => JSON.stringify(localStorage))).includes(evening.visitor));
    const stats = await eventually("all arrive", async () => {
      const stats = await world.stats();
      return stats.events === 3 && stats;
    });
    // The relay's own clock passes no midnight here: it sees the first two as one visit, and the third begins another.
    assert.equal(stats.visitors, 2);
  });
});
