//! The metrics of the spool.

use crate::metrics;

metrics::declare! {
    /// The spool, its quarantine and its database.
    pub struct Metrics {
        /// Time from the request to store until the fsync.
        pub spool_write_duration_seconds: Histogram = [
            0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 1.0,
        ],
        /// Unreadable records kept in quarantine; they count as rejected.
        pub spool_quarantined: Gauge,
        /// Quarantined records dropped for lack of space, or because of their age.
        pub spool_quarantine_dropped: Counter,
        /// Times the database was found damaged, set aside and rebuilt from its readable rows.
        pub database_rebuilds: Counter,
        /// Bytes of the site's events that wait for delivery.
        pub site_spool_bytes: Gauge["site"],
        /// Most bytes of the site's events that can wait: its reserve and the half that sites share.
        pub site_spool_bytes_max: Gauge["site"],
    }
}
