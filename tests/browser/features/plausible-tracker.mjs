// Plausible's own tracker from npm, unchanged, with the relay as its endpoint.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { Pages } from "../harness/pages.mjs";
import { ON_LINUX, SITE, eventually, feature, scenario } from "../harness.mjs";

const HEADLESS = ON_LINUX.replace("Chrome/", "HeadlessChrome/");
const REFUSED = /^error: Failed to load resource: the server responded with a status of 403/;
const FOREIGN = /^error: (Access to fetch at .* has been blocked by CORS policy|Failed to load resource: net::ERR_FAILED)/;

/** A page with the tracker, configured as Plausible documents it. */
async function pageWithTracker(world, { consent = "?consent=1", pages = world.pages } = {}) {
  const options = {
    domain: SITE,
    endpoint: `${world.relay}/api/event${consent}`,
    hashBasedRouting: true,
    outboundLinks: true,
    fileDownloads: true,
    captureOnLocalhost: true,
  };
  const tracker = new URL(import.meta.resolve("@plausible-analytics/tracker"));
  pages.put("/plausible.js", await readFile(tracker, "utf8"));
  pages.put(
    "/tracked.js",
    `import { init, track } from "./plausible.js";
     init(${JSON.stringify(options)});
     window.tracked = (name, props) => new Promise((callback) => track(name, { props, callback }));
     addEventListener("click", (event) => event.preventDefault());`,
  );
  return pages.put(
    "/tracked.html",
    `<!doctype html><html lang="en"><title>A page</title><script type="module" src="/tracked.js"></script>
     <a href="https://docs.example.org/acme-prod?token=b7e2c94f1a6d3508">Documentation</a> <a href="/exports/billing-7.csv">Export</a></html>`,
    { "Content-Security-Policy": `default-src 'none'; script-src 'self'; connect-src ${world.relay}` },
  );
}

/** Passes an event to the tracker, as the page would. */
const track = async (page, ...args) => {
  await eventually("the tracker runs", () => page.evaluate(() => typeof window.tracked === "function"));
  return page.evaluate((args) => window.tracked(...args), args);
};

export default () => feature("Plausible's own tracker", () => {
  scenario("It works unmodified, and what it sends is scrubbed", {}, async (world) => {
    const user = await world.visitor();
    const page = await user.open(`${await pageWithTracker(world)}?invite=jane@example.com#/w/acme-prod/p/billing-7/tenants`);
    world.keepSecret("jane@example.com", "b7e2c94f1a6d3508");
    assert.deepEqual(await track(page, "Feature Used", { feature: "export", project: "billing-7" }), { status: 202 });
    await page.getByRole("link", { name: "Documentation" }).click();
    await page.getByRole("link", { name: "Export" }).click();
    await page.evaluate(() => (location.hash = "#/version"));

    const arrived = await eventually("all have arrived", async () => {
      const bodies = (await world.arrived()).map(({ body }) => body);
      return bodies.filter((body) => body.name === "pageview").length === 2 && bodies.length >= 6 && bodies;
    });
    const of = (name) => arrived.filter((body) => body.name === name).map(({ url, props }) => [url.replace(`https://${SITE}`, ""), props]);
    const TENANTS = "/w/:workspace/p/:project/tenants";
    assert.deepEqual(of("pageview"), [[TENANTS, undefined], ["/version", undefined]]);
    assert.deepEqual(of("Feature Used"), [[TENANTS, { feature: "export" }]]);
    assert.deepEqual(of("Outbound Link: Click"), [[TENANTS, { url: "https://docs.example.org/" }]]);
    assert.deepEqual(of("File Download"), [[TENANTS, { url: "csv" }]]);
    assert.deepEqual(of("engagement"), [[TENANTS, undefined]]);
    assert.equal((await world.stats()).visitors, 1);
  });

  scenario("A bot is refused, and so is who did not consent", { expected: [REFUSED] }, async (world) => {
    const attempt = async (visitor, options) => {
      const user = await world.visitor(visitor);
      return track(await user.open(await pageWithTracker(world, options)), "Feature Used", { feature: "export" });
    };
    assert.deepEqual(await attempt({ userAgent: HEADLESS }), { status: 403 });
    assert.deepEqual(await attempt({}, { consent: "" }), { status: 403 });
    assert.deepEqual(await attempt({}, { consent: "?consent=2" }), { status: 403 });
    // A page's statement is not the user's own choice, so it does not override the browser's signal.
    assert.deepEqual(await attempt({ extraHTTPHeaders: { "Sec-GPC": "1" } }), { status: 403 });
    const elsewhere = world.stopLater(await Pages.start());
    assert.equal((await attempt({ expected: [FOREIGN] }, { pages: elsewhere })).status, undefined);
    // Each also sent its pageview.
    await world.endings({
      "denied/bot": 2,
      "denied/no_consent": 2,
      "denied/consent_outdated": 2,
      "denied/privacy_signal": 2,
      "denied/origin": 2,
    });
    assert.deepEqual(await world.arrived(), []);
  });
});
