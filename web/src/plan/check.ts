// Correct and incorrect uses of the types that `feedback-relay plan types` generates. Nothing here runs: the compiler
// is the test, and a line that should be an error and is not is an error itself.

import type { Feedback } from "../feedback";
import type * as EveryKind from "./every-kind";
import type * as Panel from "./meshpanel";

export function panel(feedback: Feedback): void {
  // The untyped method of every page accepts everything in the plan.
  const track: Panel.FeedbackTrack = feedback.track;
  track("pageview");
  track("Feature Used", { feature: "search" });
  track("Activity Rated", { activity: "project-created", rating: 5 });
  track("404");
  track("404", {});
  track("404", { path: "/w/acme" });
  // @ts-expect-error no such event
  track("Feature used", { feature: "search" });
  // @ts-expect-error no such value
  track("Feature Used", { feature: "serach" });
  // @ts-expect-error no such property
  track("Feature Used", { feature: "search", user: "jane" });
  // @ts-expect-error a property that is required
  track("Feature Used");
  // @ts-expect-error another one
  track("Activity Rated", { activity: "project-created" });
  // @ts-expect-error a number, not text
  track("Activity Rated", { activity: "project-created", rating: "5" });
  // @ts-expect-error nothing goes with it
  track("pageview", { path: "/" });

  const version: Panel.FeedbackPlanVersion = 1;
  const categories: Panel.FeedbackCategory[] = ["usage", "feedback"];
  // @ts-expect-error no such category
  categories.push("marketing");
  void [version, categories];
}

/** The event's name determines its properties. */
export function rating(event: Panel.FeedbackEvent): number | undefined {
  switch (event.name) {
    case "Activity Rated":
    case "Survey Answered":
      return event.props.rating;
    case "Feature Used":
      // @ts-expect-error this one has none
      return event.props.rating;
    default:
      return undefined;
  }
}

export function everyKind(feedback: Feedback): void {
  const track: EveryKind.FeedbackTrack = feedback.track;
  const name = 'Every "Kind" */ </title><script>alert(1)</script>';
  const full: EveryKind.FeedbackEvents[typeof name] = {
    size: 'it\'s "large"',
    "odd key": 7,
    new: true,
    version: "2026.11.0",
    took: 1500,
    note: "fine",
    at: "/shop/7/reviews",
    to: "https://example.org/",
    file: "https://example.org/a.pdf",
  };
  track(name, full);
  track(name, { size: "small" });
  // Properties of an event that its plan does not list are scrubbed.
  track("Anything", { at: "all", n: 1, yes: true });
  // @ts-expect-error lists are never taken
  track("Anything", { list: [1] });
  // @ts-expect-error yes or no
  full.new = "yes";
  // @ts-expect-error in milliseconds
  full.took = "<1s";
  // @ts-expect-error no such size
  full.size = "medium";
}
