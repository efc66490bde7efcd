//! Metrics of the content of requests.

use crate::config::Config;
use crate::metrics::{self, Counter, Registry};
use crate::suspicion::Suspicion;
use relay_event::Plan;
use relay_event::plan::Unmatched;
use std::collections::BTreeMap;

/// The label of all events that no plan lists, so that senders cannot create labels.
const OTHER: &str = "other";

metrics::declare! {
    /// The content of requests, counted on the way through the corridor.
    pub struct Metrics {
        /// Events stored for delivery, by their name in the plan.
        events_accepted: Counter["event"],
        /// Properties of stored events that were left out.
        pub props_dropped: Counter,
        /// Revenues removed from an event that was kept: the plan does not set revenue = true for it, or the amount and
        /// currency are unreadable.
        pub revenue_dropped: Counter,
        /// Suspicious events, stored or, if budget.suspicious says so, dropped.
        suspicious_events: Counter["site", "reason"],
        /// Events sent with a tool's token that passed the gate's checks of the request, by tool.
        pub tool_events: Counter["tool"],
        /// The version of the site's tracking plan, which consent must name.
        plan_version: Gauge["site"],
    }
}

impl Metrics {
    /// Registers them, with a series for each event, site and tool of the configuration.
    pub fn open(config: &Config, registry: &mut Registry) -> Self {
        let metrics = Self::register(registry);
        for plan in config.plans.iter() {
            for rules in &plan.events {
                metrics.events_accepted.with([&rules.name]);
            }
            if plan.unmatched == Unmatched::Scrub {
                metrics.events_accepted.with([OTHER]);
            }
        }
        for site in &config.sites {
            let version = metrics.plan_version.with([&site.domain]);
            version.set(i64::from(site.plan.version));
            for reason in Suspicion::ALL {
                metrics.suspicious(&site.domain, reason, 0);
            }
        }
        for tool in config.tools.iter() {
            metrics.tool_events.with([&tool.name]);
        }
        metrics
    }

    /// The counter of stored events of this name, at a site with this plan.
    pub fn accepted(&self, plan: &Plan, name: &str) -> Counter {
        let label = plan.event(name).map_or(OTHER, |rules| &rules.name);
        self.events_accepted.with([label])
    }

    /// Counts suspicious events of a configured site.
    pub fn suspicious(&self, site: &str, reason: Suspicion, events: usize) {
        let counter = self.suspicious_events.with([site, reason.name()]);
        counter.inc_by(events as u64);
    }

    /// Suspicious events of a configured site by reason, without reasons that never occurred.
    pub fn suspicious_of(&self, site: &str) -> BTreeMap<&'static str, u64> {
        let reasons = Suspicion::ALL.map(Suspicion::name).into_iter();
        let counts = reasons.map(|reason| (reason, self.suspicious_events.with([site, reason]).get()));
        counts.filter(|(_, count)| *count > 0).collect()
    }
}
