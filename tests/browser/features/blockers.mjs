// With a content blocker: no URL that the browser requests matches a list, and the last events need no beacon.

import assert from "node:assert/strict";
import { blocks } from "../harness/filters.mjs";
import { goTo, leave, optIn, pretendToLeave, search } from "../harness/demo.mjs";
import { SITE, eventually, feature, scenario } from "../harness.mjs";

const PAGE = "https://panel.example.com/";
/** Playwright's request types, translated to those of blockers. */
const TYPES = { document: "main_frame", fetch: "fetch", ping: "ping", script: "script", xhr: "xhr", other: "other" };

export default () => feature("Under a content blocker", () => {
  scenario("No address that the browser asks for is one that lists name, on the page's origin or on another", {}, async (world) => {
    // Checks that the rules block anything at all.
    for (const [path, type] of [
      ["/feedback/api/events", "ping"],
      ["/api/events", "beacon"],
      ["/feedback/api/event", "fetch"],
      ["/feedback/collect", "fetch"],
      ["/feedback/batch", "ping"],
      ["/js/analytics.js", "script"],
      ["/feedback/stats?site=x", "fetch"],
    ]) {
      assert.ok(blocks(new URL(path, PAGE).href, type, PAGE), `${path} as ${type}`);
    }

    const user = await world.visitor();
    const page = await optIn(user, world);
    await search(page);
    await goTo(page, "API keys");
    await pretendToLeave(page);
    await eventually("all arrive", async () => (await world.stats()).pageviews === 2);
    await page.evaluate(() => feedback.state());
    const privacy = `${world.panel}/feedback/privacy?site=${SITE}`;
    await (await user.open(privacy)).close();

    const asked = user.requests.map((request) => [new URL(request.url()), request.resourceType()]).filter(([url]) => url.pathname.startsWith("/feedback/"));
    const paths = new Set(asked.map(([url]) => url.pathname.replace("/feedback", "")));
    assert.deepEqual([...paths].sort(), ["/api/config", "/api/notes", "/client.js", "/client_bg.wasm", "/privacy", "/snippet.js"]);
    for (const [url, type] of asked) {
      for (const origin of ["https://panel.example.com", "https://relay.example.org"]) {
        // In old browsers a beacon replaces the request of a batch.
        for (const as of url.pathname.endsWith("/notes") ? [TYPES[type], "ping", "beacon"] : [TYPES[type]]) {
          const address = origin + url.pathname + url.search;
          assert.equal(blocks(address, as, PAGE), false, `${address} as ${as}`);
        }
      }
    }
  });

  scenario("Where every beacon vanishes without a word, all events arrive, the last ones too", {}, async (world) => {
    // Like a blocker: `sendBeacon` returns true and sends nothing.
    const user = await world.visitor({ init: () => (navigator.sendBeacon = () => true) });
    await user.context.route("**/*", (route) => {
      const request = route.request();
      const type = TYPES[request.resourceType()] ?? "other";
      return type === "ping" || blocks(request.url(), type, request.frame().url()) ? route.abort("blockedbyclient") : route.continue();
    });
    const page = await optIn(user, world);
    await eventually("the page arrives", async () => (await world.stats()).pageviews === 1);
    await user.context.unrouteAll();
    await search(page);
    await goTo(page, "Version");
    await leave(page);
    await eventually("what was done last arrives", async () => {
      const names = (await world.arrived()).map(({ body }) => body.name);
      return names.filter((name) => name === "pageview").length === 2 && names.includes("Feature Used") && names.includes("engagement");
    });
  });

  scenario("A tab that is only hidden learns how its last batch ended, and sends it again", {}, async (world) => {
    const user = await world.visitor();
    const page = await optIn(user, world);
    await eventually("the page arrives", async () => (await world.stats()).pageviews === 1);
    user.expected.push(/^error: Failed to load resource: net::ERR_/);
    let lost = 0;
    await page.route("**/api/notes", (route) => (lost++ === 0 ? route.abort("connectionreset") : route.continue()));
    await search(page);
    await pretendToLeave(page);
    await eventually("it arrives", async () => (await world.stats()).goals.length === 1);
    assert.ok(lost > 1);
  });
});
