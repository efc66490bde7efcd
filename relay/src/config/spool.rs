//! `[spool]`: how much is kept for how long.

use crate::config::listen::{seconds, size};
use crate::document::Section;
use std::time::Duration;

/// The spool's bounds.
#[derive(Clone, Debug)]
pub struct SpoolConfig {
    /// Most bytes of waiting events. Above it: 503 with Retry-After, and the event is not taken.
    pub bytes_max: usize,
    /// How long an event may wait. An older one is dropped and counted as expired.
    pub age_max: Duration,
}

impl SpoolConfig {
    pub(super) fn read(section: &Section<'_>) -> Self {
        Self {
            bytes_max: size(section, "bytes_max", 64 * 1024..=1 << 40, 256 * 1024 * 1024),
            age_max: seconds(section, "age_max_s", 60..=30 * 86_400, 86_400),
        }
    }
}
