/** What the snippet offers a page as `window.feedback`. Nothing here ever throws or rejects. */

export interface FeedbackState {
  /** Whether the platform's administrators have switched collection on; unknown while the relay was not asked or did not answer. */
  collection: "on" | "off" | "unknown";
  /** What the user said. An opt-in to an earlier version of the tracking plan counts as unset. */
  choice: "unset" | "in" | "out";
  /** Whether events are being collected on this page, right now. */
  active: boolean;
  /** The version of the tracking plan, null while the relay was not asked. */
  plan: number | null;
  /**
   * Why this browser is not counted. A privacy signal ("gpc", "dnt") counts as "no" until the user opts in explicitly.
   * A browser under "automation", and one whose `localStorage.plausible_ignore` is "true" ("ignored"), is not counted
   * whatever the choice, unless the script tag names it in `data-count`.
   */
  signal: "automation" | "ignored" | "gpc" | "dnt" | null;
}

/** Values of other kinds are left out. */
export type FeedbackProps = Record<string, string | number | boolean>;

export interface Feedback {
  /** The user agrees: to the given categories, or to all there are. */
  optIn(categories?: readonly string[]): Promise<FeedbackState>;
  /** The user refuses or changes their mind: what was not sent is forgotten. */
  optOut(): Promise<FeedbackState>;
  /** Asks the relay and says how things stand. Also told by the event `feedback-state` on `window`. */
  state(): Promise<FeedbackState>;
  /** Something the user did. Only events and properties of the tracking plan will leave the relay. */
  track(name: string, props?: FeedbackProps): void;
  /** How satisfied the user is with an activity: a whole number from 1, very dissatisfied, to 5, very satisfied. */
  rate(activity: string, rating: number): void;
}

/** A call written down instead of made. */
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
