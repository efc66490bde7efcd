// Made by `feedback-relay plan types`; change the tracking plan instead.

/** The version of the tracking plan, which consent is given to. */
export type FeedbackPlanVersion = 12;

/** What a user can agree to on its own. */
export type FeedbackCategory = "usage" | "unused";

/** The properties of each event, by its name. */
export interface FeedbackEvents {
  /** One of each. *\/ export const broken = `${1}`; /* <img src=x onerror=alert(1)> | `pipe` */
  "Every \"Kind\" */ </title><script>alert(1)</script>": {
    /** How large it is. */
    "size": "small" | "it's \"large\"" | "a|b" | "jane@example.com";
    /**
     * A number, and
     * a second line.
     * A whole number from -5 to 5000000.
     */
    "odd key"?: number;
    /** Whether it is new. */
    "new"?: boolean;
    /**
     * Which version it is.
     * A version such as 2026.11.0.
     */
    "version"?: string;
    /**
     * How long it took.
     * In milliseconds; leaves as one of <500ms, 500ms-5s, 5s-2m, >=2m.
     */
    "took"?: number;
    /**
     * What was said of it.
     * At most 60 characters; what looks personal is removed.
     */
    "note"?: string;
    /**
     * Short.
     * A page; leaves as its route.
     */
    "at"?: string;
    /**
     * Where it led to.
     * A link; only its host leaves.
     */
    "to"?: string;
    /**
     * What was fetched.
     * A link to a file; only the file's ending leaves.
     */
    "file"?: string;
  };
}

/** The name of an event. */
export type FeedbackEventName = keyof FeedbackEvents;

/** Any event with its properties, told apart by its name. */
export type FeedbackEvent = {
  [Name in FeedbackEventName]: { name: Name; props: FeedbackEvents[Name] };
}[FeedbackEventName];

/** `feedback.track` as far as the plan goes: `const track: FeedbackTrack = feedback.track`. */
export interface FeedbackTrack {
  /** One of each. *\/ export const broken = `${1}`; /* <img src=x onerror=alert(1)> | `pipe` */
  (name: "Every \"Kind\" */ </title><script>alert(1)</script>", props: FeedbackEvents["Every \"Kind\" */ </title><script>alert(1)</script>"]): void;
  /** An event that the plan does not list: what looks personal is removed. */
  (name: string, props?: Record<string, string | number | boolean>): void;
}
