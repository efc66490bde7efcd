// A content blocker: the engine of real blockers, with a rule set of our own.
//
// The licences of the public lists do not permit copies in this repository, and a test must not depend on their current
// content. Therefore this set imitates them: the words that they block anywhere in a URL, on any host, in the positions
// in which they block them, and the request types that they treat as tracking by themselves. It blocks more than any of
// them.

import { FiltersEngine, Request } from "@ghostery/adblocker";

const WORDS =
  "action ad adlog ads affiliate ahoy amp analyse analytic analytics api-analytics audience beacon beacons bi capture cdp click " +
  "clicks clickstream clientlog cmp collect collection collector consent conversion cookie cookies count counter csp dmp e engagement " +
  "event event-log event_log eventlog events experiment fingerprint firehose fp ga gdpr geoip gtag gtm heatmap hit hits hitcount identify " +
  "identity impression impressions ingest insight insights intake interaction js_log jslog log logger logging logs marketing matomo " +
  "measure metric metrics monitor monitoring mp newrelic observability omniture optimizely p page-view page_view pageview pageviews " +
  "perf performance piwik pixel pixels pings ping plausible posthog promo pv px radar rec record referrer replay report reporting " +
  "reports rudder rum segment sentry sessions signal signals snowplow spy stat statistic statistics stats survey sync t tag " +
  "tagmanager tags telemetry tm tr trace trace track tracker trackers tracking traffic trk umami usage user-data utag view-count " +
  "visit visitor visitors visits vitals web-vitals webstats xiti";

/**
 * Positions in which lists expect such a word; `W` stands for it. Slashes around a rule would make it a regular
 * expression.
 */
const PLACES = ["/W|", "/W/*", "/W?", "/W.", "/W-", "/W_", "-W.", "-W/", "_W.", ".W.", "/api/W", "/v1/W", "?W=", "&W="];

/** Words that indicate tracking only in combination, and rules for beacons by their path. */
const OTHERS = [
  "/api/events|$ping,~third-party",
  "/api/event|",
  "/batch|$ping,xmlhttprequest",
  "/batch?",
  "/batch/*",
  "/collect|$ping,xmlhttprequest",
  "/api/*/events",
  "/client-events",
  "/client_204?$image,other,ping,script",
  "/clientlib-analytics",
  "/config?key=",
  "/analyticsConfig?",
  "/mmclient.js",
  "/_client.js|",
  "-snippet-latest.",
  "/tracker-snippet",
  "/cryptonight.wasm",
  "/miner.wasm",
  "/feedback.gif?",
  "/feedback-widget",
  "/user-feedback/*",
  "/rating/submit?",
  "?site=*&rand=",
];

const rules = [...WORDS.split(" ").flatMap((word) => PLACES.map((place) => place.replace("W", word))), ...OTHERS];
const engine = FiltersEngine.parse(rules.join("\n"), { enableCompression: false });

/** Whether the blocker would stop a request of this type from a page at `sourceUrl`. */
export const blocks = (url, type, sourceUrl) => engine.match(Request.fromRawDetails({ url, type, sourceUrl })).match;
