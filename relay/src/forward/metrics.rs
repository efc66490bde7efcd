//! The metrics of delivery to Plausible.

use super::plausible::Reply;
use crate::metrics;

metrics::declare! {
    /// Delivery to Plausible, and each site's acceptance and dashboard counts.
    pub struct Metrics {
        /// Requests to Plausible, by result.
        pub upstream_requests: Counter["result"] = Reply::ALL.map(|reply| [reply.name()]),
        /// Time until Plausible answered.
        pub upstream_duration_seconds: Histogram = [
            0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
        ],
        /// Requests that got no answer; the event may have been counted, and twice if it is resent.
        pub upstream_unknown: Counter,
        /// State of the circuit breaker: open while Plausible is unavailable, half open while the relay tries it again.
        pub upstream_breaker: Gauge["state"],
        /// Current limit of connections to Plausible with requests in flight, adapted to its response time.
        pub upstream_concurrency_limit: Gauge,
        /// Connections to Plausible with requests in flight.
        pub upstream_requests_in_flight: Gauge,
        /// Health probes and self-tests while Plausible was unavailable, by result.
        pub upstream_probes: Counter["result"] = [["ok"], ["failed"], ["no_endpoint"], ["foreign"]],
        /// Attempts to reload changed files of `[upstream]`, by result.
        pub upstream_reloads: Counter["result"] = [["ok"], ["failed"]],
        /// Times an event was parked because Plausible failed it while accepting others.
        pub upstream_parked: Counter,
        /// Requests with an event that was marked as late because of its waiting time.
        pub upstream_late: Counter,
        /// Whether Plausible accepts the site's events: 0 while it has accepted none or drops all of them, so that events
        /// wait.
        pub site_accepting: Gauge["site"],
        /// When Plausible last accepted an event of the site, in seconds since 1970; 0 for never.
        pub site_last_accepted_timestamp_seconds: Gauge["site"],
        /// Events that wait because Plausible does not accept the site's events.
        pub site_held_events: Gauge["site"],
        /// Delivered events that the dashboard does not show, beyond what the edges of the span explain; negative if it
        /// shows more.
        pub dashboard_difference: Gauge["site", "event", "day"],
        /// When the dashboard was compared last, in seconds since 1970.
        pub dashboard_checked_timestamp_seconds: Gauge["site"],
        /// Comparisons with the dashboard: failed if its counts could not be read.
        pub dashboard_checks: Counter["result"] = [["ok"], ["failed"]],
    }
}
