// The layout of the pages: wide and narrow, light and dark, without console messages. If SCREENSHOTS is set in the
// environment, it also takes screenshots and prints their folder.

import assert from "node:assert/strict";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { collecting, goTo, optIn, search } from "../harness/demo.mjs";
import { ADMIN, ON_WINDOWS, SITE, eventually, feature, scenario } from "../harness.mjs";

const WIDTHS = [1280, 400];
const SCHEMES = ["light", "dark"];
const LOGIN = /^error: Failed to load resource: the server responded with a status of 401/;

let pictures;
if (process.env.SCREENSHOTS) {
  pictures = await mkdtemp(join(tmpdir(), "feedback-screenshots-"));
  console.log(`Screenshots are in ${pictures}`);
}

/** Elements that overflow horizontally: the window, or their card. Scrollable elements are exempt. */
const stickingOut = () => {
  const room = (element) => element.closest(".card")?.getBoundingClientRect() ?? { left: 0, right: innerWidth };
  return [...document.body.querySelectorAll("*")]
    .filter((element) => element.checkVisibility() && !element.closest(".scroll *, svg *"))
    .filter((element) => {
      const { left, right, width } = element.getBoundingClientRect();
      return width > 0 && (left < room(element).left - 1 || right > room(element).right + 1);
    })
    .map((element) => `${element.tagName} ${element.textContent.slice(0, 40)}`);
};

/** Checks a page in every width and color scheme: nothing overflows horizontally. */
async function look(page, name) {
  for (const width of WIDTHS) {
    await page.setViewportSize({ width, height: 800 });
    const found = await page.evaluate(stickingOut);
    assert.deepEqual(found, [], `${name} in a window ${width} pixels wide`);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(wide <= width, `${name} is ${wide} pixels wide in a window of ${width}`);
    if (!pictures) continue;
    for (const colorScheme of SCHEMES) {
      await page.emulateMedia({ colorScheme });
      await page.screenshot({ path: join(pictures, `${name}-${width}-${colorScheme}.png`), fullPage: true });
    }
  }
}

/** Our pages allow nothing inline, nothing from other origins, and no text as markup or code. */
async function openStrict(visitor, url) {
  const page = await visitor.context.newPage();
  const response = await page.goto(url);
  const policy = response.headers()["content-security-policy"];
  for (const rule of ["default-src 'self'", "script-src 'self' 'wasm-unsafe-eval'", "require-trusted-types-for 'script'"]) {
    assert.ok(policy.includes(rule), `${url}: ${rule}`);
  }
  return page;
}

export default () => feature("The pages", () => {
  scenario("The demo panel looks right, before and after the answer, and when collection is off", {}, async (world) => {
    const user = await world.visitor();
    const page = await openStrict(user, world.panel);
    await page.getByRole("button", { name: "Yes, share" }).waitFor();
    await look(page, "demo-asking");
    await page.getByRole("button", { name: "Yes, share" }).click();
    await collecting(page);
    await page.getByRole("button", { name: "Create project" }).click();
    await look(page, "demo-dialog");
    await page.getByRole("button", { name: "Create", exact: true }).click();
    await page.getByRole("button", { name: "5 very satisfied" }).waitFor();
    await look(page, "demo-rating");
    await page.getByRole("button", { name: "Skip" }).click();
    await goTo(page, "Version");
    await look(page, "demo-collecting");
    await eventually("the pages arrive", async () => (await world.stats()).pageviews === 3);

    await world.turn("off");
    const other = await openStrict(await world.visitor(), world.panel);
    await other.getByText("Collection is off for this site.").waitFor();
    await look(other, "demo-off");
  });

  scenario("The receiver's page shows what arrives while one looks", {}, async (world) => {
    const analyst = await world.visitor();
    const page = await openStrict(analyst, world.receiver);
    await page.getByText("Nothing has arrived yet").waitFor();
    await look(page, "receiver-empty");

    await Promise.all(
      [{}, { userAgent: ON_WINDOWS }].map(async (options, nth) => {
        const panel = await optIn(await world.visitor(options), world);
        await search(panel);
        await goTo(panel, nth ? "API keys" : "Role mapping");
        await panel.evaluate((rating) => feedback.rate("project-created", rating), 5 - 2 * nth);
      }),
    );
    await page.getByRole("row", { name: "Activity Rated" }).nth(1).waitFor();
    const total = (name) => page.locator(`#${name}`).textContent();
    await eventually("the totals", async () => (await total("visitors")) === "2" && (await total("pageviews")) === "4");
    await page.getByText("4.0 of 5, 2 ratings").waitFor();
    await page.getByText("/w/:workspace/access-management/api-keys").first().waitFor();
    await look(page, "receiver");
    assert.equal(await page.getByText("acme").count(), 0);
  });

  scenario(
    "The admin page looks right, before and after the login",
    { admin: true, locked: "staging.panel.example.com", expected: [LOGIN] },
    async (world) => {
      const admin = await world.visitor();
      const page = await openStrict(admin, world.admin);
      await page.getByRole("heading", { name: "Log in" }).waitFor();
      await look(page, "admin-login");
      await page.getByLabel("User name").fill(ADMIN.name);
      await page.getByLabel("Password").fill(ADMIN.password);
      await page.getByRole("button", { name: "Log in" }).click();
      await page.getByText("Logged in as alice").waitFor();
      const events = [{ id: "0123456789abcdef0123456789abcdef", name: "Unheard Of", url: "https://panel.example.com/" }];
      const headers = { "Content-Type": "text/plain", Origin: world.panel };
      const { token } = await (await fetch(`${world.relay}/api/config?site=${SITE}`, { headers })).json();
      const body = JSON.stringify({ site: SITE, token, consent: { plan: 1, categories: ["usage"] }, events });
      await fetch(`${world.relay}/api/events`, { method: "POST", body, headers });
      await page.getByText("The tracking plan does not list it").waitFor();
      await look(page, "admin");
    },
  );

  scenario(
    "The admin page names a site that Plausible does not know and what to do, until Plausible accepts its events",
    { admin: true, plausibleKnows: "other.example.com", expected: [LOGIN] },
    async (world) => {
      const page = await (await world.visitor()).open(world.admin);
      await page.getByLabel("User name").fill(ADMIN.name);
      await page.getByLabel("Password").fill(ADMIN.password);
      await page.getByRole("button", { name: "Log in" }).click();
      await page.getByText("Not checked: no event of this site has been sent to Plausible yet").waitFor();
      await search(await optIn(await world.visitor(), world));
      await page.getByText("Plausible has never accepted an event of this site").waitFor();
      await page.getByText(`add the site ${SITE} in Plausible under exactly this domain`, { exact: false }).waitFor();
      await page.getByText("Events held: Plausible drops them").waitFor();
      await look(page, "admin-refused");
      await world.kill("receiver");
      await world.startReceiver();
      await eventually("it is accepted", () => page.getByText("Plausible last accepted an event").isVisible());
      await eventually("all is delivered", () => page.getByText("nothing on disk").isVisible());
      await page.getByText("Plausible is reachable").waitFor();
      await look(page, "admin-accepted");
    },
  );
});
