//! The switches' metrics.

use crate::config::Config;
use crate::switch::Kept;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// A site's domain. Only configured sites become labels.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct SiteLabel {
    site: String,
}

impl SiteLabel {
    /// The label of a configured site.
    pub fn of(domain: &str) -> Self {
        Self {
            site: domain.to_owned(),
        }
    }
}

/// A site, and where it is written down that it is off: `marker` or `nowhere`.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct UnrecordedLabel {
    site: String,
    kept: &'static str,
}

/// How the switches stand.
#[derive(Debug)]
pub struct SwitchMetrics {
    enabled: Family<SiteLabel, Gauge>,
    unrecorded: Family<UnrecordedLabel, Gauge>,
}

impl SwitchMetrics {
    pub(super) fn new(registry: &mut Registry, config: &Config) -> Self {
        let metrics = Self {
            enabled: Family::default(),
            unrecorded: Family::default(),
        };
        registry.register(
            "collection_enabled",
            "Whether collection is on, by site",
            metrics.enabled.clone(),
        );
        registry.register(
            "switch_unrecorded",
            "Whether a site is off and the database does not say so yet: a marker keeps it off after a restart, or nothing does",
            metrics.unrecorded.clone(),
        );
        for site in &config.sites {
            metrics.set(&site.domain, false, Kept::Database);
        }
        metrics
    }

    /// Notes how a site stands, and where that is written down.
    pub fn set(&self, domain: &str, is_on: bool, kept: Kept) {
        self.enabled
            .get_or_create(&SiteLabel::of(domain))
            .set(i64::from(is_on));
        for elsewhere in [Kept::Marker, Kept::Nowhere] {
            let label = UnrecordedLabel {
                site: domain.to_owned(),
                kept: elsewhere.name(),
            };
            let unrecorded = self.unrecorded.get_or_create(&label);
            unrecorded.set(i64::from(kept == elsewhere));
        }
    }
}
