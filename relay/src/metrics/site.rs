//! Each site's metrics: whether Plausible accepts its events.

use super::switch::SiteLabel;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The metrics of all sites.
#[derive(Debug)]
pub struct SiteMetrics {
    accepting: Family<SiteLabel, Gauge>,
    last_accepted: Family<SiteLabel, Gauge>,
    held: Family<SiteLabel, Gauge>,
    spool_bytes: Family<SiteLabel, Gauge>,
    spool_bytes_max: Family<SiteLabel, Gauge>,
}

/// A site's part of the spool.
#[derive(Clone, Debug)]
pub struct SpoolGauges {
    /// Bytes of its events that wait.
    pub bytes: Gauge,
    /// The most there can be.
    pub bytes_max: Gauge,
}

/// Those of one site.
#[derive(Clone, Debug)]
pub struct SiteGauges {
    /// 1 while Plausible accepts events, 0 while none was accepted yet or they are dropped.
    pub accepting: Gauge,
    /// In seconds since 1970.
    pub last_accepted: Gauge,
    /// Events that are held back.
    pub held: Gauge,
}

impl SiteMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            accepting: Family::default(),
            last_accepted: Family::default(),
            held: Family::default(),
            spool_bytes: Family::default(),
            spool_bytes_max: Family::default(),
        };
        registry.register(
            "site_accepting",
            "Whether Plausible accepts the site's events: 0 while it accepted none yet or drops all of them, and events wait",
            metrics.accepting.clone(),
        );
        registry.register(
            "site_last_accepted_timestamp_seconds",
            "When Plausible last accepted an event of the site, in seconds since 1970; 0 for never",
            metrics.last_accepted.clone(),
        );
        registry.register(
            "site_held_events",
            "Events that wait because Plausible does not accept the site's events",
            metrics.held.clone(),
        );
        registry.register(
            "site_spool_bytes",
            "Bytes of the site's events that wait for delivery",
            metrics.spool_bytes.clone(),
        );
        registry.register(
            "site_spool_bytes_max",
            "Most bytes of the site's events that can wait: its reserve and the half that sites share",
            metrics.spool_bytes_max.clone(),
        );
        metrics
    }

    /// A configured site's part of the spool.
    pub fn spool(&self, domain: &str) -> SpoolGauges {
        let label = SiteLabel::of(domain);
        SpoolGauges {
            bytes: self.spool_bytes.get_or_create(&label).clone(),
            bytes_max: self.spool_bytes_max.get_or_create(&label).clone(),
        }
    }

    /// Those of a configured site.
    pub fn of(&self, domain: &str) -> SiteGauges {
        let label = SiteLabel::of(domain);
        SiteGauges {
            accepting: self.accepting.get_or_create(&label).clone(),
            last_accepted: self.last_accepted.get_or_create(&label).clone(),
            held: self.held.get_or_create(&label).clone(),
        }
    }
}
