//! Collects the metrics that each module declares with `declare!`, and counts events in the [`ledger`]. Depends on
//! none of those modules.
//!
//! Label values come from closed lists: outcomes, the plan's events, the configured sites.

pub mod ledger;

use ledger::{Ledger, LedgerCollector};
use prometheus_client::collector::Collector;
use prometheus_client::metrics::family;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{self, Metric, Unit};
use std::fmt::Debug;
use std::sync::Arc;

pub use prometheus_client::metrics::counter::Counter;
pub use prometheus_client::metrics::gauge::Gauge;
pub use prometheus_client::metrics::histogram::Histogram;

/// The media type of [`Registry::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Declares a module's metrics: a struct whose `register` registers each field under `feedback_relay_` and the
/// field's name, with the field's comment as its help. A name that ends in `_seconds` gets that unit.
///
/// ```ignore
/// metrics::declare! {
///     /// The metrics of a module.
///     pub struct Metrics {
///         /// Requests in flight.
///         pub requests: Gauge,
///         /// Time until the answer.
///         pub duration_seconds: Histogram = [0.1, 1.0, 10.0],
///         /// Reloads by result. These two series exist from the first scrape on.
///         pub reloads: Counter["result"] = [["ok"], ["failed"]],
///         /// Series of sites exist from the first `with` on.
///         pub site_events: Counter["site", "reason"],
///     }
/// }
/// ```
macro_rules! declare {
    (@type $kind:ident) => { $crate::metrics::$kind };
    (@type $kind:ident [$($label:literal),+]) => {
        $crate::metrics::Family<$crate::metrics::$kind, { [$($label),+].len() }>
    };
    (@register $registry:ident $about:tt Histogram = $buckets:expr) => {
        $registry.add($about, $crate::metrics::Histogram::new($buckets))
    };
    (@register $registry:ident $about:tt $kind:ident) => {
        $registry.add($about, $crate::metrics::$kind::default())
    };
    (@register $registry:ident $about:tt $kind:ident [$($label:literal),+]) => {
        $registry.family($about, [$($label),+], [])
    };
    (@register $registry:ident $about:tt $kind:ident [$($label:literal),+] = $series:expr) => {
        $registry.family($about, [$($label),+], $series)
    };
    (
        $(#[doc = $about:literal])+
        $vis:vis struct $Name:ident {$(
            $(#[doc = $help:literal])+
            $metric_vis:vis $metric:ident: $kind:ident $([$($label:literal),+])? $(= $initial:expr)?,
        )+}
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug)]
        $vis struct $Name {$(
            $(#[doc = $help])+
            $metric_vis $metric: $crate::metrics::declare!(@type $kind $([$($label),+])?),
        )+}

        impl $Name {
            /// Registers each metric.
            $vis fn register(registry: &mut $crate::metrics::Registry) -> Self {
                Self {$(
                    $metric: $crate::metrics::declare!(
                        @register registry (stringify!($metric), concat!($($help),+))
                        $kind $([$($label),+])? $(= $initial)?
                    ),
                )+}
            }
        }
    };
}

/// Declares an enum with the possible values of a label, and gives each its `name`.
macro_rules! label {
    (
        $(#[$about:meta])+
        $vis:vis enum $Name:ident {$(
            $(#[$help:meta])+
            $variant:ident = $value:literal,
        )+}
    ) => {
        $(#[$about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $vis enum $Name {$(
            $(#[$help])+
            $variant,
        )+}

        impl $Name {
            /// All values.
            $vis const ALL: [Self; [$($value),+].len()] = [$(Self::$variant),+];

            /// The value of the label.
            $vis const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $value,)+
                }
            }
        }
    };
}

pub(crate) use {declare, label};

/// All metrics of one relay. There is no global registry: tests run several relays in one process.
#[derive(Debug)]
pub struct Registry {
    metrics: registry::Registry,
    /// The ledger, which counts every event.
    pub ledger: Arc<Ledger>,
}

impl Default for Registry {
    fn default() -> Self {
        let mut metrics = registry::Registry::with_prefix("feedback_relay");
        let ledger = Arc::new(Ledger::default());
        metrics.register_collector(Box::new(LedgerCollector(Arc::clone(&ledger))));
        let build = Info::new(vec![
            ("version", env!("CARGO_PKG_VERSION")),
            ("commit", crate::version::COMMIT),
        ]);
        metrics.register("build", "The version and commit of this build", build);
        Self { metrics, ledger }
    }
}

impl Registry {
    /// Registers a metric under its name, with its help. The encoder adds the unit, the suffix `_total` and the full
    /// stop.
    pub(crate) fn add<M: Metric + Clone>(&mut self, (name, help): (&str, &str), metric: M) -> M {
        let help = help.trim().trim_end_matches('.');
        match name.strip_suffix("_seconds") {
            Some(name) => self
                .metrics
                .register_with_unit(name, help, Unit::Seconds, metric.clone()),
            None => self.metrics.register(name, help, metric.clone()),
        }
        metric
    }

    /// Registers a metric for each combination of labels, and creates the first series.
    pub(crate) fn family<M, const N: usize>(
        &mut self,
        about: (&str, &str),
        labels: [&'static str; N],
        series: impl IntoIterator<Item = [&'static str; N]>,
    ) -> Family<M, N>
    where
        M: Clone + Default + Debug,
        family::Family<Labels<N>, M>: Metric,
    {
        let family = Family {
            labels,
            metrics: self.add(about, family::Family::default()),
        };
        for values in series {
            family.with(values);
        }
        family
    }

    /// Registers metrics that are read at each scrape.
    pub(crate) fn collector(&mut self, collector: impl Collector) {
        self.metrics.register_collector(Box::new(collector));
    }

    /// The text that Prometheus scrapes.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a string cannot fail; a broken line would show up as a failed scrape.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.metrics);
        text
    }
}

/// The labels of a series, with their values.
type Labels<const N: usize> = [(&'static str, String); N];

/// A metric for each combination of the values of its labels.
#[derive(Clone, Debug)]
pub struct Family<M, const N: usize> {
    labels: [&'static str; N],
    metrics: family::Family<Labels<N>, M>,
}

impl<M: Clone + Default, const N: usize> Family<M, N> {
    /// The metric with these values, in the order of the labels. Creates it if it is new.
    pub fn with(&self, values: [&str; N]) -> M {
        self.metrics.get_or_create_owned(&self.series(values))
    }

    /// Removes the metric with these values.
    pub fn remove(&self, values: [&str; N]) {
        self.metrics.remove(&self.series(values));
    }

    fn series(&self, values: [&str; N]) -> Labels<N> {
        let mut values = values.into_iter();
        self.labels
            .map(|label| (label, values.next().unwrap_or_default().to_owned()))
    }
}
