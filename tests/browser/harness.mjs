// One world per test, with its own relay, receiver, demo panel and data folder, and a user with a browser. At the end
// of every test the same checks run: the relay's events are conserved, and no secret got out.

import assert from "node:assert/strict";
import { mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { BUILD, Visitor } from "./harness/browser.mjs";
import { Door } from "./harness/door.mjs";
import { eventually } from "./harness/eventually.mjs";
import { Metrics, assertNoCanary, filesOf } from "./harness/evidence.mjs";
import { Pages } from "./harness/pages.mjs";
import { dataWithCompiledPolicy } from "./harness/policy.mjs";
import { Service, freePort, run } from "./harness/processes.mjs";

export { ON_LINUX, ON_WINDOWS } from "./harness/browser.mjs";
export { eventually };

export const SITE = "panel.example.com";
export const ADMIN = { name: "alice", password: "correct horse battery" };
const METRICS_PASSWORD = "metrics-password-of-the-tests";

/** The customer's names in the demo panel, details that identify a browser, and secrets. */
const CANARIES = ["acme-prod", "billing-7", "billing-8", "azure-prod", BUILD, ADMIN.password, METRICS_PASSWORD];

/** Tests that run in parallel: a part of their time is waiting for timers. */
export const feature = (name, body) => describe(name, { concurrency: 2 }, body);

/** Features that share a browser, two at a time, so that none waits for the last test of another. */
export const together = (name, features) =>
  describe(name, { concurrency: 2 }, () => {
    for (const register of features) register();
  });

/**
 * A test in its own world.
 *
 * Options: `on`, whether collection is switched on at the start (default true); `door`, whether a counting proxy is in
 * front of the receiver; `admin`, whether there is an administrator's account; `locked`, a second site that the
 * operator has locked; `expected`, patterns of browser messages that belong to the test; `troubled`, whether the relay
 * has reason to log errors; `plausibleKnows`, the only site that the receiver knows, if it is not the relay's.
 */
export function scenario(name, options, body) {
  test(name, async () => {
    const world = new World(options);
    try {
      await world.start();
      await body(world);
      await world.conclude();
    } catch (error) {
      console.error(await world.account());
      throw error;
    } finally {
      await world.end();
    }
  });
}

class World {
  /** URLs. */
  relay;
  admin;
  panel;
  receiver;
  pages;
  door;
  #options;
  #folder;
  #config;
  #services = new Map();
  #ports = {};
  #log = [];
  #otherLogs = [];
  #visitors = [];
  #servers = [];
  #canaries = [...CANARIES];

  constructor(options) {
    this.#options = { on: true, door: false, admin: false, locked: undefined, expected: [], troubled: false, ...options };
  }

  async start() {
    this.#folder = await mkdtemp(join(tmpdir(), "feedback-browser-"));
    this.#config = join(this.#folder, "relay.toml");
    for (const name of ["relay", "admin", "panel", "receiver"]) this.#ports[name] = await freePort();
    const at = (name) => `http://127.0.0.1:${this.#ports[name]}`;
    Object.assign(this, { relay: at("relay"), admin: at("admin"), panel: at("panel"), receiver: at("receiver") });
    this.pages = await Pages.start();
    if (this.#options.door) this.door = await Door.start(this.#ports.receiver);
    await Promise.all([this.startReceiver(this.#options.plausibleKnows), this.#startPanel(), this.#prepare()]);
    await this.startRelay();
  }

  async #prepare() {
    const { on, admin } = this.#options;
    await dataWithCompiledPolicy(join(this.#folder, "data"));
    await this.configure();
    if (on) await this.turn("on");
    if (admin) await this.cli(["user", "add", ADMIN.name, "--password-stdin"], `${ADMIN.password}\n`);
  }

  /** Writes the relay's configuration; `extra` goes to the top of the file. */
  async configure(extra = "") {
    const text = JSON.stringify; // A JSON string is a TOML string.
    const { locked } = this.#options;
    await writeFile(
      this.#config,
      `data_dir = "data"
${extra}

[public]
listen = "127.0.0.1:${this.#ports.relay}"
trusted_proxies = ["127.0.0.1"]

[admin]
listen = "127.0.0.1:${this.#ports.admin}"

[metrics]
password = ${text(METRICS_PASSWORD)}

[[site]]
domain = ${text(SITE)}
origins = [${text(this.panel)}, ${text(this.pages.origin)}]
${locked ? `\n[[site]]\ndomain = ${text(locked)}\noperator_lock = true\n` : ""}
[upstream]
url = ${text(this.door?.address ?? this.receiver)}
`,
    );
  }

  async startRelay() {
    await this.#startService("relay", ["serve", "--config", this.#config], ["relay public", "relay admin"], this.#log);
  }

  async startReceiver(site = SITE) {
    const args = ["receiver", "--listen", `127.0.0.1:${this.#ports.receiver}`, "--site", site];
    await this.#startService("receiver", args, ["receiver"], this.#otherLogs);
  }

  async #startPanel() {
    const listen = ["--listen", `127.0.0.1:${this.#ports.panel}`];
    const others = ["--relay", this.relay, "--admin", this.admin, "--receiver", this.receiver];
    await this.#startService("panel", ["demo-panel", ...listen, ...others], ["demo-panel"], this.#otherLogs);
  }

  async #startService(name, args, listeners, log) {
    this.#services.set(name, await Service.start(args, listeners, log));
  }

  /** Kills a service, like a crash. */
  async kill(name) {
    const service = this.#services.get(name);
    this.#services.delete(name);
    await service.kill();
  }

  /** Stops a service, like its operator. */
  async stop(name) {
    const service = this.#services.get(name);
    this.#services.delete(name);
    assert.equal(await service.stop(), 0, `the exit code of the ${name}`);
  }

  /** Runs a relay command with the relay's configuration. */
  async cli(args, input) {
    return run([...args, "--config", this.#config], input);
  }

  async turn(state) {
    return this.cli(["switch", state, "--site", SITE]);
  }

  /** Removes the relay's database while `body` runs, and restores it afterwards. */
  async withoutDatabase(body) {
    const [database, aside] = [join(this.#folder, "data", "relay.db"), join(this.#folder, "aside.db")];
    await rename(database, aside);
    await body();
    await rename(aside, database);
  }

  /** The built-in plan, under another version number. */
  async raisePlan(version) {
    const plan = await readFile(new URL("../../relay/plan.toml", import.meta.url), "utf8");
    await writeFile(join(this.#folder, "plan.toml"), plan.replace(/^version = \d+$/m, `version = ${version}`));
    await this.configure('plan = "plan.toml"');
  }

  /** A user with a separate browser profile. */
  async visitor(options) {
    const visitor = await Visitor.arrive({ expected: this.#options.expected, ...options });
    this.#visitors.push(visitor);
    return visitor;
  }

  /** Adds texts that must not be found anywhere from here on. */
  keepSecret(...canaries) {
    this.#canaries.push(...canaries);
  }

  /** A page of the site with the snippet, on a separate origin, and its URL. The tests' browsers are automated. */
  pageWithSnippet(path = "/page.html", { head = "", policy = this.policy(), count = "automation" } = {}) {
    return this.pages.put(
      path,
      `<!doctype html><html lang="en"><title>A page</title>${head}` +
        `<script type="module" src="${this.relay}/feedback/snippet.js" data-site="${SITE}" data-count="${count}"></script><h1>A page</h1></html>`,
      { "Content-Security-Policy": policy },
    );
  }

  /** The minimal policy that a page needs for the snippet from another origin. */
  policy(script = "'wasm-unsafe-eval'") {
    return (
      `default-src 'none'; script-src 'self' ${this.relay} ${script}; connect-src ${this.relay}; ` +
      `object-src 'none'; base-uri 'none'; require-trusted-types-for 'script'`
    );
  }

  /** The receiver's statistics. */
  async stats() {
    return (await fetch(`${this.receiver}/stats`)).json();
  }

  /** The requests that the receiver got: headers and body. */
  async arrived() {
    return (await fetch(`${this.receiver}/received`)).json();
  }

  /** The arrived events of a name. */
  async arrivedAs(name) {
    return (await this.arrived()).map(({ body }) => body).filter((body) => body.name === name);
  }

  async metrics() {
    const authorization = `Basic ${Buffer.from(`prometheus:${METRICS_PASSWORD}`).toString("base64")}`;
    const response = await fetch(`${this.admin}/metrics`, { headers: { authorization } });
    assert.equal(response.status, 200);
    return new Metrics(await response.text());
  }

  /** Waits until every event has ended, and returns the metrics. */
  async settled() {
    return eventually("every event has ended", async () => {
      const metrics = await this.metrics();
      return metrics.get("events_in_progress") + metrics.get("spool_events") === 0 && metrics;
    });
  }

  /** Waits until all events of the test have ended, with these counts, also those that pages have yet to send. */
  async endings(expected) {
    await eventually("all events end as expected", async () => {
      assert.deepEqual((await this.settled()).endings(), expected);
      return true;
    });
  }

  /** The checks at the end of every test. */
  async conclude() {
    (await this.settled()).assertConservation();
    assertNoCanary(this.#canaries, [
      ["what the receiver got", JSON.stringify(await this.arrived())],
      ["what the receiver shows", JSON.stringify(await this.stats())],
      ["the metrics", (await this.metrics()).text],
      ...(await filesOf(join(this.#folder, "data"))),
    ]);
    const complaints = this.#visitors.flatMap((visitor) => visitor.complaints());
    assert.deepEqual(complaints, [], "what browsers complained about");
    await this.stop("relay");
    assertNoCanary(this.#canaries, [["the relay's log", this.#log.join("")], ...(await filesOf(join(this.#folder, "data")))]);
    assert.doesNotMatch(this.#log.join(""), this.#options.troubled ? /panicked/ : /\bERROR\b|panicked/, "the relay's log");
  }

  /** Stops a server of the test at the end, after the last page: a page that finds no server complains. */
  stopLater(server) {
    this.#servers.push(server);
    return server;
  }

  /** Details for a failed test. */
  async account() {
    const problems = this.#visitors.flatMap((visitor) => visitor.problems);
    const shown = await Promise.all(this.#visitors.map((visitor) => visitor.shown()));
    return [
      `--- the relay said\n${this.#log.join("")}`,
      "--- the browsers complained",
      ...problems,
      "--- the pages show",
      ...shown.flat(),
      "---",
    ].join("\n");
  }

  async end() {
    await Promise.allSettled(this.#visitors.map((visitor) => visitor.leave()));
    await Promise.allSettled([...this.#services.values(), ...this.#servers].map((server) => server.stop()));
    await this.door?.stop();
    await this.pages?.stop();
    if (this.#folder) await rm(this.#folder, { recursive: true, force: true });
  }
}
