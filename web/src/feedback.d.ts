/** The snippet's API, `window.feedback`. Nothing in it throws or rejects. */

export interface FeedbackState {
  /** Whether administrators have switched collection on; unknown if the relay was not asked or did not answer. */
  collection: "on" | "off" | "unknown";
  /** The user's answer. An opt-in to an earlier version of the tracking plan counts as unset. */
  choice: "unset" | "in" | "out";
  /** Whether this page is collecting events at the moment. */
  active: boolean;
  /** The version of the tracking plan; null until the relay has answered. */
  plan: number | null;
  /**
   * Why this browser is not counted. A privacy signal ("gpc", "dnt") counts as "no" until the user opts in explicitly.
   * A browser under "automation", and one whose `localStorage.plausible_ignore` is "true" ("ignored"), is not counted
   * even after an opt-in, unless the script tag names the reason in `data-count`.
   */
  signal: "automation" | "ignored" | "gpc" | "dnt" | null;
}

/** Values of other types are dropped. */
export type FeedbackProps = Record<string, string | number | boolean>;

export interface Feedback {
  /** The user agrees to the given categories, or to all. */
  optIn(categories?: readonly string[]): Promise<FeedbackState>;
  /** The user refuses or withdraws consent: events that were not sent are discarded. */
  optOut(): Promise<FeedbackState>;
  /** Asks the relay and returns the current state. The event `feedback-state` on `window` reports changes. */
  state(): Promise<FeedbackState>;
  /** Reports an action of the user. The tracking plan decides which events and properties leave the relay. */
  track(name: string, props?: FeedbackProps): void;
  /** Reports how satisfied the user is with an activity: a whole number from 1, very dissatisfied, to 5, very satisfied. */
  rate(activity: string, rating: number): void;
}

/** A queued call. */
export type FeedbackCall = [method: keyof Feedback, ...args: unknown[]];

/**
 * For a plain script that cannot wait for the snippet to load:
 * `(window.feedback ??= { q: [] }).q.push(["track", "Feature Used"])` works before and after.
 */
export interface FeedbackCalls {
  q: { push(...calls: FeedbackCall[]): unknown };
}

declare global {
  interface Window {
    feedback?: Feedback & FeedbackCalls;
  }
  interface WindowEventMap {
    "feedback-state": CustomEvent<FeedbackState>;
  }
}
