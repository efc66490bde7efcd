// Waits for a condition, with a time limit instead of a guessed delay.

import { setTimeout as pause } from "node:timers/promises";

const LOOK_MS = 25;
/** Generous, because a loaded machine is slow; only a defect takes longer. */
const WITHIN_MS = 30_000;

/**
 * Calls `probe` until it neither throws nor returns false, null or undefined, and returns its result. After the time
 * limit it fails with the expectation, and with the last reason why it was not met.
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
