// Waiting for what is going to be true, with a bound and without a guess at how long it takes.

import { setTimeout as pause } from "node:timers/promises";

const LOOK_MS = 25;
/** A machine under load is slow; a defect is slower. */
const WITHIN_MS = 30_000;

/**
 * Calls `probe` until it neither throws nor gives false, null or undefined, and gives what it gave.
 * In the end it fails with what was expected, and with the last reason why it was not there.
 */
export async function eventually(what, probe, within = WITHIN_MS) {
  const deadline = performance.now() + within;
  for (;;) {
    let why;
    try {
      const value = await probe();
      if (value !== false && value !== null && value !== undefined) return value;
    } catch (error) {
      why = error;
    }
    if (performance.now() > deadline) {
      throw new Error(`not within ${within / 1000} s: ${what}${why ? `\n${why.message}` : ""}`, { cause: why });
    }
    await pause(LOOK_MS);
  }
}
