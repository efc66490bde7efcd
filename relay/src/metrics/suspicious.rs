//! Suspicious events, by site and reason.

use crate::config::Config;
use crate::suspicion::Suspicion;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;

/// A configured site, and why its events are suspicious.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SuspicionLabel {
    site: String,
    reason: &'static str,
}

/// How many events were suspicious.
#[derive(Debug)]
pub struct SuspiciousMetrics {
    events: Family<SuspicionLabel, Counter>,
    sites: Vec<String>,
}

impl SuspiciousMetrics {
    pub(super) fn new(registry: &mut Registry, config: &Config) -> Self {
        let metrics = Self {
            events: Family::default(),
            sites: config.sites.iter().map(|site| site.domain.clone()).collect(),
        };
        registry.register(
            "suspicious_events",
            "Events that were stored although suspicious, or dropped for it if budget.suspicious says so",
            metrics.events.clone(),
        );
        for site in &config.sites {
            for suspicion in Suspicion::ALL {
                metrics.count(&site.domain, suspicion, 0);
            }
        }
        metrics
    }

    /// Counts events of a configured site.
    pub fn count(&self, site: &str, suspicion: Suspicion, events: usize) {
        self.counter(site, suspicion).inc_by(events as u64);
    }

    /// Those of a site by reason, without the reasons that never came up.
    pub fn of(&self, site: &str) -> BTreeMap<&'static str, u64> {
        let count = |suspicion: Suspicion| (suspicion.name(), self.counter(site, suspicion).get());
        let counts = Suspicion::ALL.map(count).into_iter();
        counts.filter(|(_, count)| *count > 0).collect()
    }

    /// Those of all sites.
    pub fn total(&self) -> u64 {
        self.sites
            .iter()
            .flat_map(|site| self.of(site).into_values())
            .sum()
    }

    fn counter(&self, site: &str, suspicion: Suspicion) -> Counter {
        let label = SuspicionLabel {
            site: site.to_owned(),
            reason: suspicion.name(),
        };
        self.events.get_or_create(&label).clone()
    }
}
