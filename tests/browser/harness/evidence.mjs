// The final checks: the relay's metrics, and whether any secret got out.

import assert from "node:assert/strict";
import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";

const PREFIX = "feedback_relay_";

/** One scrape of /metrics. */
export class Metrics {
  #samples = new Map();
  text;

  constructor(text) {
    this.text = text;
    for (const line of text.split("\n")) {
      const [, name, labels, value] = /^([a-z_]+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
      if (name) this.#samples.set(`${name.slice(PREFIX.length)}{${labels ?? ""}}`, Number(value));
    }
  }

  /** A counter or gauge without labels. */
  get(name) {
    const value = this.#samples.get(`${name}{}`);
    assert.notEqual(value, undefined, `/metrics has ${name}`);
    return value;
  }

  get received() {
    return this.get("events_received_total");
  }

  /** The number of events that ended in a way such as "denied/bot". */
  ended(way) {
    const [outcome, reason] = way.split("/");
    const value = this.#samples.get(`events_ended_total{outcome="${outcome}",reason="${reason ?? ""}"}`);
    assert.notEqual(value, undefined, `/metrics knows the ending ${way}`);
    return value;
  }

  /** All endings of events, with their counts. */
  endings() {
    const found = {};
    for (const [sample, value] of this.#samples) {
      const [, outcome, reason] = /^events_ended_total\{outcome="(.*)",reason="(.*)"\}$/.exec(sample) ?? [];
      if (outcome && value > 0) found[reason ? `${outcome}/${reason}` : outcome] = value;
    }
    return found;
  }

  /** Every event that was received or found on disk has ended once, or still waits. */
  assertConservation() {
    const came = this.received + this.get("events_recovered_total");
    const ended = Object.values(this.endings()).reduce((sum, value) => sum + value, 0);
    const there = this.get("events_in_progress") + this.get("spool_events");
    assert.equal(came, ended + there, `conservation: ${came} came, ${ended} ended, ${there} are there`);
    assert.equal(this.get("conservation_difference"), 0, "the relay's own sum");
    assert.equal(this.ended("lost"), 0, "lost events");
  }
}

/** Fails if one of the texts contains one of the canaries; the error names the text. */
export function assertNoCanary(canaries, texts) {
  for (const [where, text] of texts) {
    const lower = text.toLowerCase();
    for (const canary of canaries) {
      const at = lower.indexOf(canary.toLowerCase());
      const around = text.slice(Math.max(0, at - 60), at + 60 + canary.length).replace(/[^ -~]/g, "·");
      assert.equal(at, -1, `"${canary}" is in ${where}: …${around}…`);
    }
  }
}

/** Every file below a folder, with its bytes as Latin-1 text. */
export async function filesOf(folder) {
  const files = [];
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) files.push(...(await filesOf(path)));
    else if (entry.isFile()) files.push([path, await readFile(path, "latin1")]);
  }
  return files;
}
