// How an event can end other than delivered, in words. The keys are the labels of the relay's metrics.

import type { Ending } from "./api";

const words: Record<string, string> = {
  "malformed/invalid": "It could not be read",
  "malformed/too_large": "It was too large",
  "malformed/unsupported_type": "It came as something else than text or JSON",
  "malformed/incomplete": "It did not arrive whole, or not in time",
  "limited/client": "There were too many from one address; the browser tries again",
  "limited/events": "There were too many events from one address; the browser tries again",
  "limited/visitors": "One address showed too many new visitors; the browser tries again",
  "limited/site": "There were too many of the site; the browser tries again",
  "denied/unknown_site": "The site is not one of ours",
  "denied/origin": "It came from a page of another origin",
  "denied/suspicious": "No browser sends such a request",
  "denied/operator_lock": "The operator has locked collection",
  "denied/switched_off": "Collection was switched off",
  "denied/privacy_signal": "The browser asks not to be tracked",
  "denied/no_consent": "The user did not agree",
  "denied/consent_outdated": "The user agreed to an older tracking plan",
  "denied/category_refused": "The user did not agree to this category",
  "denied/unknown_event": "The tracking plan does not list it",
  "denied/bot": "It came from a bot",
  "policy_refused/missing_prop": "A property is missing or not allowed",
  "policy_refused/unsafe": "The privacy policy could not make it safe",
  "policy_refused/unwanted": "The privacy policy did not want it",
  "policy_failed/trap": "The privacy policy failed",
  "policy_failed/timeout": "The privacy policy took too long",
  "policy_failed/unavailable": "The privacy policy could not be run",
  "policy_rejected/widened": "The privacy policy added something, which it must not",
  "policy_rejected/leak": "Personal data was still in it",
  "left_out/engagement": "The server would count time on page as an event of its own",
  "left_out/name_too_long": "Its name is longer than the server takes",
  "duplicate/": "It was sent twice and counted once",
  "spool_full/full": "There was no room left on disk",
  "spool_full/site": "The site's events filled its part of the disk space",
  "spool_full/unavailable": "The disk could not be written",
  "spool_full/overloaded": "The relay was too busy; the browser tries again",
  "rejected/plausible_dropped": "Plausible threw it away",
  "rejected/plausible_invalid": "Plausible called it invalid",
  "rejected/unknown": "Plausible did not answer, and it is not sent twice",
  "rejected/unclear": "Something other than Plausible answered that it took it, so it is not sent again",
  "rejected/corrupt": "It could not be read back from disk",
  "rejected/newer": "A newer relay wrote it to disk; it is kept in quarantine",
  "expired/": "It waited too long",
  "expired/engagement": "It waited until the visit had ended",
  "purged/": "It was deleted when collection was switched off, or by the operator",
  "lost/": "The relay lost track of it, which is a defect",
};

export const label = ({ outcome, reason }: Ending): string => (reason ? `${outcome} / ${reason}` : outcome);

export const explained = (ending: Ending): string => words[`${ending.outcome}/${ending.reason}`] ?? label(ending);
