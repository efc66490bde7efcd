//! The metrics of the policy.

use super::InUse;
use crate::metrics;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use std::sync::{Arc, PoisonError, RwLock};

metrics::declare! {
    /// The policy and its reloads.
    pub struct Metrics {
        /// Time the policy took for one event.
        pub policy_duration_seconds: Histogram = [
            0.000_002, 0.000_005, 0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.001, 0.01,
        ],
        /// Policy reloads, by result.
        pub policy_reloads: Counter["result"] = [["ok"], ["failed"]],
        /// Whether the configured policy is out of service because more than half of the requests failed on it.
        pub policy_failing: Gauge,
    }
}

/// Encodes the policy in use. A metric family would show two policies, or none, during a swap.
#[derive(Debug)]
pub(super) struct PolicyInfo(pub(super) Arc<RwLock<Arc<InUse>>>);

impl Collector for PolicyInfo {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let in_use = Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner));
        let one = ConstGauge::new(1_i64);
        let help = "The policy in use, by the SHA-256 of its component";
        let mut family = encoder.encode_descriptor("policy_info", help, None, one.metric_type())?;
        let identity = &in_use.identity;
        let labels = [("sha256", identity.sha256.as_str()), ("source", identity.source)];
        one.encode(family.encode_family(&labels)?)
    }
}
