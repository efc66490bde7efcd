//! The metrics of the switches.

use super::Recorded;
use crate::metrics;

metrics::declare! {
    /// The switch of each site.
    pub(super) struct Metrics {
        /// Whether collection is on, by site.
        collection_enabled: Gauge["site"],
        /// Whether a site is off and the database does not say so yet: a tombstone file keeps it off after a restart, or
        /// nothing does.
        switch_unrecorded: Gauge["site", "recorded"],
    }
}

impl Metrics {
    /// Shows whether a site is on, and where that is recorded.
    pub(super) fn show(&self, site: &str, is_on: bool, recorded: Recorded) {
        self.collection_enabled.with([site]).set(i64::from(is_on));
        for elsewhere in [Recorded::Tombstone, Recorded::Nowhere] {
            let unrecorded = self.switch_unrecorded.with([site, elsewhere.as_str()]);
            unrecorded.set(i64::from(recorded == elsewhere));
        }
    }
}
