// Third-party trackers from npm, unchanged: they post to a fixed `${apiHost}/api/event` and cannot add a query, so the
// plan version is in the path. No bundler processes them: the browser finds them through an import map.

import assert from "node:assert/strict";
import { readFile, readdir } from "node:fs/promises";
import { SITE, eventually, feature, scenario } from "../harness.mjs";

const JS = { "Content-Type": "text/javascript; charset=utf-8" };
const REFUSED = /^error: Failed to load resource: the server responded with a status of 403/;
const START = "/w/acme-prod/p/billing-7/tenants";
const TENANTS = "/w/:workspace/p/:project/tenants";

/**
 * Each tracker: its import, and how a page starts it. `options` and `apiHost` are the page's. `plausible-tracker`
 * observes a change of the fragment twice, as `popstate` and as `hashchange`, and sends a pageview for each, to any
 * server.
 */
const TRACKERS = [
  {
    name: "plausible-tracker",
    hearsTwice: true,
    packages: { "plausible-tracker": "build/module/index.js" },
    start: `import Plausible from "plausible-tracker";
      const plausible = Plausible(options);
      plausible.enableAutoPageviews();`,
  },
  {
    name: "vue-plausible, as Vue installs it",
    hearsTwice: true,
    packages: { "plausible-tracker": "build/module/index.js", "vue-plausible": "lib/esm/vue-plugin.js" },
    start: `import plugin from "vue-plausible";
      const Vue = function () {};
      plugin(Vue, { ...options, enableAutoPageviews: true });
      const plausible = new Vue().$plausible;`,
  },
  {
    name: "vue-plausible, as Nuxt installs it",
    hearsTwice: true,
    packages: { "plausible-tracker": "build/module/index.js", "vue-plausible": "lib/esm/nuxt-plugin.js" },
    template: true,
    start: `import plugin from "vue-plausible";
      let plausible;
      plugin({ provide: (_, it) => (plausible = it) });`,
  },
  {
    name: "@barbapapazes/plausible-tracker",
    packages: { "@barbapapazes/plausible-tracker": "dist/index.mjs" },
    saysStatus: true,
    start: `import { createPlausibleTracker } from "@barbapapazes/plausible-tracker";
      const plausible = createPlausibleTracker({ ...options, ignoredHostnames: [] });
      addEventListener("hashchange", () => plausible.trackPageview());
      plausible.trackPageview();`,
  },
  {
    name: "@plausible-analytics/tracker",
    packages: { "@plausible-analytics/tracker": "plausible.js" },
    saysStatus: true,
    start: `import { init, track } from "@plausible-analytics/tracker";
      init({ domain: options.domain, endpoint: apiHost + "/api/event", hashBasedRouting: true, captureOnLocalhost: true });
      const plausible = { trackEvent: track };`,
  },
];

/** Serves a package as it came from npm, and returns the URL of its entry. */
async function putUp(pages, name, entry, render) {
  const [before] = import.meta.resolve(name).split(`node_modules/${name}/`);
  const folder = new URL(`node_modules/${name}/`, before);
  for (const path of await readdir(folder, { recursive: true })) {
    if (!/\.m?js$/.test(path) || path.includes("node_modules")) continue;
    const text = render(await readFile(new URL(path, folder), "utf8"));
    pages.put(`/npm/${name}/${path}`, text, JS);
    // Some import their own files without an extension, as bundlers allow.
    pages.put(`/npm/${name}/${path.replace(/\.m?js$/, "")}`, text, JS);
  }
  return `/npm/${name}/${entry}`;
}

/** A page with a tracker whose users agreed to this version of the plan. */
async function pageWith(world, tracker, version) {
  const { pages } = world;
  const apiHost = `${world.relay}/feedback/plan/${version}`;
  const options = { domain: SITE, apiHost, hashMode: true, trackLocalhost: true };
  // A Nuxt plugin is a template, which Nuxt fills with the module's options.
  const filled = { ...options, enableAutoPageviews: true };
  const fill = (text) => text.replace(/<%= options\.(\w+) %>/g, (_, key) => filled[key] ?? "");
  const render = tracker.template ? fill : (text) => text;
  const imports = {};
  for (const [name, entry] of Object.entries(tracker.packages)) imports[name] = await putUp(pages, name, entry, render);
  pages.put(
    "/tracked.js",
    `const { options } = window;
     const { apiHost } = options;
     ${tracker.start}
     window.tracked = (name, props) => new Promise((done) => plausible.trackEvent(name, { props, callback: (answer) => done(answer ?? null) }));`,
  );
  return pages.put(
    "/tracked.html",
    `<!doctype html><html lang="en"><title>A page</title><script>window.options = ${JSON.stringify(options)};</script>
     <script type="importmap">${JSON.stringify({ imports })}</script><script type="module" src="/tracked.js"></script></html>`,
    { "Content-Security-Policy": `default-src 'none'; script-src 'self' 'unsafe-inline'; connect-src ${world.relay}` },
  );
}

async function track(page, ...args) {
  await eventually("the tracker runs", () => page.evaluate(() => typeof window.tracked === "function"));
  return page.evaluate((args) => window.tracked(...args), args);
}

export default () => feature("Trackers that cannot add a query", () => {
  for (const tracker of TRACKERS) {
    scenario(`${tracker.name} works with the plan version in its path`, {}, async (world) => {
      const user = await world.visitor();
      const page = await user.open(`${await pageWith(world, tracker, 1)}#${START}`);
      const answer = await track(page, "Feature Used", { feature: "export", project: "billing-7" });
      assert.deepEqual(answer, tracker.saysStatus ? { status: 202 } : null);
      await page.evaluate(() => (location.hash = "#/version"));
      const routes = [TENANTS, "/version", ...(tracker.hearsTwice ? ["/version"] : [])];
      const counted = (bodies, name) => bodies.filter((body) => body.name === name);
      const arrived = await eventually("all have arrived", async () => {
        const bodies = (await world.arrived()).map(({ body }) => body);
        return counted(bodies, "pageview").length === routes.length && counted(bodies, "Feature Used").length === 1 && bodies;
      });
      const route = ({ url }) => url.replace(`https://${SITE}`, "");
      assert.deepEqual(counted(arrived, "pageview").map(route), routes);
      assert.deepEqual(counted(arrived, "Feature Used").map(({ props }) => props), [{ feature: "export" }]);
      assert.equal((await world.stats()).visitors, 1);
    });
  }

  scenario("A page sees that its users agreed to an older plan", { expected: [REFUSED] }, async (world) => {
    for (const tracker of TRACKERS.filter(({ saysStatus }) => saysStatus)) {
      const user = await world.visitor();
      const page = await user.open(`${await pageWith(world, tracker, 2)}#${START}`);
      assert.deepEqual(await track(page, "Feature Used", { feature: "export" }), { status: 403 });
      // The part of the same answer that a page of its own origin can read.
      const seen = await page.evaluate(async (site) => {
        const body = JSON.stringify({ n: "Feature Used", u: location.href, d: site, p: { feature: "export" } });
        const answer = await fetch(`${window.options.apiHost}/api/event`, { method: "POST", body });
        const { type, plan } = await answer.json();
        return [answer.status, answer.headers.get("content-type"), type, plan];
      }, SITE);
      assert.deepEqual(seen, [403, "application/problem+json", "urn:feedback-relay:problem:consent_outdated", 1]);
    }
    // Each page sends its own pageview as well.
    await world.endings({ "denied/consent_outdated": 6 });
    assert.deepEqual(await world.arrived(), []);
  });
});
