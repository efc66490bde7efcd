// The admin page: an administrator logs in, turns the switch, and sees how each event ended.

import assert from "node:assert/strict";
import { optIn, search } from "../harness/demo.mjs";
import { ADMIN, SITE, eventually, feature, scenario } from "../harness.mjs";

const LOCKED = "staging.panel.example.com";
/**
 * Without a session, or after it has ended, the relay answers with an error status, which the browser writes to its
 * console.
 */
const LOGIN = /^error: Failed to load resource: the server responded with a status of 401/;
const AWAY = /^error: Failed to load resource: net::ERR_/;
const UNAVAILABLE = /^error: Failed to load resource: the server responded with a status of 503/;
const REFUSED = /^error: Failed to load resource: the server responded with a status of 403/;

async function logIn(page, password = ADMIN.password) {
  await page.getByLabel("User name").fill(ADMIN.name);
  await page.getByLabel("Password").fill(password);
  await page.keyboard.press("Enter");
}

const switchOf = (page, site) => page.getByRole("switch", { name: site, exact: true });
const isOn = async (page, site) => (await switchOf(page, site).getAttribute("aria-checked")) === "true";
const tile = (page, title, count) =>
  page.locator(".tile", { has: page.getByText(title, { exact: true }) }).getByText(String(count), { exact: true });

/** Advances the page's clock, from one refresh to the next, until the page shows something. */
async function toShow(page, locator) {
  await eventually(`the page shows ${locator}`, async () => {
    if (await locator.isVisible()) return true;
    await page.clock.fastForward(2000);
    return false;
  });
}

export default () => feature("The admin page", () => {
  scenario(
    "An admin logs in, turns the switch by mouse and keyboard, sees the events, and logs out",
    { on: false, admin: true, locked: LOCKED, expected: [LOGIN, REFUSED] },
    async (world) => {
      const admin = await world.visitor();
      await admin.context.clock.install();
      const page = await admin.open(world.admin);
      await page.getByRole("heading", { name: "Log in" }).waitFor();
      await logIn(page, "not the password");
      await page.getByText("Wrong user name or password.").waitFor();
      await logIn(page);
      await page.getByText("Logged in as alice").waitFor();
      const cookies = await admin.context.cookies();
      // The session's cookie, and the known device's.
      assert.deepEqual(cookies.map(({ name }) => name).sort(), ["feedback_admin", "feedback_device"]);
      for (const { httpOnly, sameSite, value } of cookies) {
        assert.deepEqual([httpOnly, sameSite], [true, "Strict"]);
        world.keepSecret(value);
      }
      const cookie = cookies.find(({ name }) => name === "feedback_admin");

      // The operator's lock overrides any administrator.
      assert.equal(await switchOf(page, LOCKED).isDisabled(), true);
      await page.locator("article", { hasText: LOCKED }).getByText("Locked by the operator.").waitFor();

      assert.equal(await isOn(page, SITE), false);
      await switchOf(page, SITE).click();
      await page.getByText(`Collection for ${SITE} is on. Each user is asked first.`).waitFor();
      assert.equal(await isOn(page, SITE), true);
      await page.getByText("Switched on just now by alice").waitFor();
      assert.match(await world.cli(["switch", "status"]), new RegExp(`^${SITE}: on, set .* by alice$`, "m"));

      const user = await world.visitor();
      const panel = await optIn(user, world);
      await toShow(page, tile(page, "Received", 1));
      await toShow(page, tile(page, "Delivered", 1));
      await page.getByText("Plausible is reachable").waitFor();
      await page.getByText("1 event, 1 accounted for").waitFor();

      await world.kill("receiver");
      await search(panel);
      await toShow(page, tile(page, "Waiting", 1));
      await toShow(page, page.getByText("Events waiting: Plausible is unreachable"));

      await switchOf(page, SITE).focus();
      await page.keyboard.press("Space");
      await page.getByText(`Collection for ${SITE} is off. 1 waiting event was deleted unsent.`).waitFor();
      assert.equal(await isOn(page, SITE), false);
      await page.getByRole("row", { name: "It was deleted when collection was switched off, or by the operator purged 1" }).waitFor();
      await search(panel);
      await toShow(page, page.getByRole("row", { name: "Collection was switched off denied / switched_off 1" }));
      await page.keyboard.press("Enter");
      await eventually("Enter turns it on", () => isOn(page, SITE));
      await world.startReceiver();

      await page.getByRole("button", { name: "Log out" }).click();
      await page.getByRole("heading", { name: "Log in" }).waitFor();
      assert.deepEqual((await admin.context.cookies()).map(({ name }) => name), ["feedback_device"]);
      await page.reload();
      await page.getByRole("heading", { name: "Log in" }).waitFor();
      // The cookie is no longer valid, and never was for another site's page.
      const status = await fetch(`${world.admin}/admin/api/status`, { headers: { Cookie: `${cookie.name}=${cookie.value}` } });
      assert.equal(status.status, 401);
    },
  );

  scenario("A status that was on its way when the switch was turned does not turn it back", { on: false, admin: true, expected: [LOGIN] }, async (world) => {
    const admin = await world.visitor();
    await admin.context.clock.install();
    const page = await admin.open(world.admin);
    await logIn(page);
    await page.getByText("Logged in as alice").waitFor();

    let deliverLate;
    const held = new Promise((resolve) => {
      void page.route("**/admin/api/status", async (route) => {
        const response = await route.fetch();
        deliverLate = () => route.fulfill({ response });
        resolve();
      }, { times: 1 });
    });
    await page.clock.fastForward(2000);
    await held;
    await switchOf(page, SITE).click();
    await page.getByText(`Collection for ${SITE} is on. Each user is asked first.`).waitFor();
    assert.equal(await isOn(page, SITE), true);
    const late = page.waitForEvent("requestfinished", (request) => request.url().endsWith("/status"));
    await deliverLate();
    await late;
    await page.evaluate(() => new Promise((drawn) => requestAnimationFrame(() => drawn())));
    assert.equal(await isOn(page, SITE), true);
  });

  scenario("An account that is changed loses its session, and only the user's doings keep one alive", { admin: true, expected: [LOGIN] }, async (world) => {
    const admin = await world.visitor();
    await admin.context.clock.install();
    const page = await admin.open(world.admin);
    await logIn(page);
    await page.getByText("Logged in as alice").waitFor();
    // From now on the page asks only when the test advances the clock.
    await page.clock.pauseAt(await page.evaluate(() => Date.now() + 10_000));
    /** Whether the next status request counts as use. */
    const used = async () => {
      let status;
      page.once("request", (request) => (status = request));
      await eventually("the page asks", async () => {
        if (!status) await page.clock.fastForward(2000);
        return status !== undefined;
      });
      await status.response();
      return status.headers()["x-feedback-admin"] === "1";
    };
    await used();
    assert.equal(await used(), false);
    await page.keyboard.press("Shift");
    assert.equal(await used(), true);
    assert.equal(await used(), false);

    const passwd = () => world.cli(["user", "passwd", ADMIN.name, "--password-stdin"], `${ADMIN.password}\n`);
    await passwd();
    await toShow(page, page.getByText("Your session has ended. Please log in again."));
    assert.equal(await page.locator("#sites").textContent(), "");
    await logIn(page);
    await page.getByText("Logged in as alice").waitFor();
    await passwd();
    await switchOf(page, SITE).click();
    await page.getByText(`Could not switch ${SITE} off. Your session has ended. Please log in again.`).waitFor();
    assert.match(await world.cli(["switch", "status"]), new RegExp(`^${SITE}: on`, "m"));
  });

  scenario(
    "Off that the disk refuses is off, and the page says so until it is recorded",
    { admin: true, troubled: true, expected: [LOGIN, UNAVAILABLE] },
    async (world) => {
      const admin = await world.visitor();
      await admin.context.clock.install();
      const page = await admin.open(world.admin);
      await logIn(page);
      await page.getByText("Logged in as alice").waitFor();
      const notice = page.getByText("stays off after a restart");
      await world.withoutDatabase(async () => {
        await switchOf(page, SITE).click();
        await page.getByText(`${SITE}: Collection is off, but that could not be recorded: `).waitFor();
        await toShow(page, notice);
        await page.getByText("Switched off just now by alice").waitFor();
        assert.equal(await isOn(page, SITE), false);
        assert.match(await world.cli(["switch", "status"]), /: off, set .* by alice; a file beside the database/);
      });
      await eventually("the notice goes", async () => {
        await page.clock.fastForward(2000);
        return notice.isHidden();
      });
      assert.match(await world.cli(["switch", "status"]), /: off, set .* by alice$/m);
    },
  );

  scenario(
    "A relay that goes away is told, and after its return the admin logs in again",
    { admin: true, expected: [LOGIN, AWAY] },
    async (world) => {
      const admin = await world.visitor();
      await admin.context.clock.install();
      const page = await admin.open(world.admin);
      await logIn(page);
      await page.getByText("Logged in as alice").waitFor();
      await world.stop("relay");
      await toShow(page, page.getByText("The relay does not answer. This page may be out of date. Retrying."));
      await world.startRelay();
      await toShow(page, page.getByText("Your session has ended. Please log in again."));
      await logIn(page);
      await page.getByText("Logged in as alice").waitFor();
      assert.equal(await isOn(page, SITE), true);
    },
  );
});
