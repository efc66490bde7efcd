//! `[spool]`: size and age limits of waiting events.

use crate::config::toml::Table;
use std::time::Duration;

/// The spool's bounds.
#[derive(Clone, Debug)]
pub struct SpoolConfig {
    /// Maximum bytes of waiting events. Above it: 503 with Retry-After, and the event is not accepted.
    pub bytes_max: usize,
    /// Longest time an event may wait. An older one is dropped and counted as expired.
    pub age_max: Duration,
}

impl SpoolConfig {
    pub(super) fn read(section: &Table<'_>) -> Self {
        Self {
            bytes_max: section
                .integer("bytes_max", 64 * 1024..=1 << 40)
                .unwrap_or(256 * 1024 * 1024),
            age_max: section.seconds("age_max_s", 60..=30 * 86_400, 86_400),
        }
    }
}
