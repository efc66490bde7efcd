//! Delivered events that the dashboard lacks. A series exists only while its counts were compared.

use crate::clock::Moment;
use crate::metrics::ResultLabel;
use crate::metrics::switch::SiteLabel;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

/// A UTC day that is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Day {
    /// Today, up to some minutes ago.
    Today,
    /// Yesterday as a whole.
    Yesterday,
}

impl Day {
    /// The metric label `day`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Today => "today",
            Self::Yesterday => "yesterday",
        }
    }
}

/// A site, one of its plan's events or `other`, and a day.
#[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct DifferenceLabel {
    site: String,
    event: String,
    day: &'static str,
}

/// The dashboard's metrics.
#[derive(Debug)]
pub struct DashboardMetrics {
    difference: Family<DifferenceLabel, Gauge>,
    checked: Family<SiteLabel, Gauge>,
    checks: Family<ResultLabel, Counter>,
    /// The series that are there.
    shown: Mutex<BTreeSet<DifferenceLabel>>,
}

impl DashboardMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            difference: Family::default(),
            checked: Family::default(),
            checks: Family::default(),
            shown: Mutex::default(),
        };
        registry.register(
            "dashboard_difference",
            "Delivered events that the dashboard does not show, beyond what the edges of the span explain; negative if it shows more",
            metrics.difference.clone(),
        );
        registry.register_with_unit(
            "dashboard_checked_timestamp",
            "When the dashboard was compared last, in seconds since 1970",
            Unit::Seconds,
            metrics.checked.clone(),
        );
        registry.register(
            "dashboard_checks",
            "Comparisons with the dashboard: failed if its counts could not be read",
            metrics.checks.clone(),
        );
        for result in ["ok", "failed"] {
            drop(metrics.checks.get_or_create(&ResultLabel { result }));
        }
        metrics
    }

    /// Counts a comparison.
    pub fn note_check(&self, is_ok: bool) {
        let result = if is_ok { "ok" } else { "failed" };
        self.checks.get_or_create(&ResultLabel { result }).inc();
    }

    /// Shows a site's differences, and no others of it.
    pub fn note<T>(
        &self,
        site: &str,
        at: Moment,
        days: &BTreeMap<Day, Vec<T>>,
        read: impl Fn(&T) -> (String, i64),
    ) {
        let mut fresh = BTreeMap::new();
        for (day, all) in days {
            for (event, difference) in all.iter().map(&read) {
                let (site, day) = (site.to_owned(), day.name());
                fresh.insert(DifferenceLabel { site, event, day }, difference);
            }
        }
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.retain(|label| {
            let stays = label.site != site || fresh.contains_key(label);
            if !stays {
                self.difference.remove(label);
            }
            stays
        });
        for (label, difference) in fresh {
            self.difference.get_or_create(&label).set(difference);
            shown.insert(label);
        }
        drop(shown);
        self.checked
            .get_or_create(&SiteLabel::of(site))
            .set(at.0.div_euclid(1000));
    }

    /// Shows nothing of a site: its counts are not known any more.
    pub fn forget(&self, site: &str) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.retain(|label| {
            let stays = label.site != site;
            if !stays {
                self.difference.remove(label);
            }
            stays
        });
    }
}
