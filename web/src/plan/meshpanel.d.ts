// Made by `feedback-relay plan types`; change the tracking plan instead.

/** The version of the tracking plan, which consent is given to. */
export type FeedbackPlanVersion = 1;

/** What a user can agree to on its own. */
export type FeedbackCategory = "usage" | "feedback";

/** The properties of each event, by its name. */
export interface FeedbackEvents {
  /** A page was opened. Only its kind is told, never which workspace or project it was. */
  "pageview": Record<string, never>;
  /** How long a page was looked at and how far it was scrolled. */
  "engagement": Record<string, never>;
  /** A feature of the panel was used. */
  "Feature Used": {
    /** Which feature. */
    "feature": "search" | "filter" | "export" | "favorite" | "copy-id" | "open-console" | "create-workspace" | "create-project" | "create-tenant" | "create-service" | "create-api-key" | "assign-role" | "cost-report" | "dark-mode" | "help";
  };
  /** You rated how satisfied you were after finishing an activity. */
  "Activity Rated": {
    /** The activity. */
    "activity": "workspace-created" | "project-created" | "tenant-created" | "service-created" | "api-key-created" | "user-invited" | "role-assigned" | "cost-report-exported";
    /**
     * From 1, very dissatisfied, to 5, very satisfied.
     * A whole number from 1 to 5.
     */
    "rating": number;
  };
  /** You answered one question of the survey. */
  "Survey Answered": {
    /** Which question. */
    "question": "overall" | "ease-of-use" | "meets-needs";
    /**
     * From 1, very dissatisfied, to 5, very satisfied.
     * A whole number from 1 to 5.
     */
    "rating": number;
  };
  /** A page was not found. */
  "404": {
    /**
     * The kind of page that was not found.
     * A page; leaves as its route.
     */
    "path"?: string;
  };
  /** A link to another site was followed. */
  "Outbound Link: Click": {
    /**
     * The other site's name, without the page.
     * A link; only its host leaves.
     */
    "url"?: string;
  };
  /** A file was downloaded. */
  "File Download": {
    /**
     * The kind of file, as pdf or csv.
     * A link to a file; only the file's ending leaves.
     */
    "url"?: string;
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
  /** A page was opened. Only its kind is told, never which workspace or project it was. */
  (name: "pageview"): void;
  /** How long a page was looked at and how far it was scrolled. */
  (name: "engagement"): void;
  /** A feature of the panel was used. */
  (name: "Feature Used", props: FeedbackEvents["Feature Used"]): void;
  /** You rated how satisfied you were after finishing an activity. */
  (name: "Activity Rated", props: FeedbackEvents["Activity Rated"]): void;
  /** You answered one question of the survey. */
  (name: "Survey Answered", props: FeedbackEvents["Survey Answered"]): void;
  /** A page was not found. */
  (name: "404", props?: FeedbackEvents["404"]): void;
  /** A link to another site was followed. */
  (name: "Outbound Link: Click", props?: FeedbackEvents["Outbound Link: Click"]): void;
  /** A file was downloaded. */
  (name: "File Download", props?: FeedbackEvents["File Download"]): void;
}
