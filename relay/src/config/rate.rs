//! Rates: `rate_per_…` and the budgets, each with its burst.

use crate::config::toml::Table;
use std::time::Duration;

/// Largest configurable count and burst.
const COUNT_MAX: u32 = 100_000_000;

/// A rate with a burst. A count of 0 means no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Long-term number of actions per `per`; 0 means no limit.
    pub count: u32,
    /// The period of `count`.
    pub per: Duration,
    /// Number of actions at once after an idle time.
    pub burst: u32,
}

impl Rate {
    /// `count` per second.
    pub const fn per_second(count: u32, burst: u32) -> Self {
        let per = Duration::from_secs(1);
        Self { count, per, burst }
    }

    /// `count` per minute.
    pub const fn per_minute(count: u32, burst: u32) -> Self {
        let per = Duration::from_secs(60);
        Self { count, per, burst }
    }

    /// `count` per day, all of it at once if needed.
    pub const fn per_day(count: u32) -> Self {
        let per = Duration::from_secs(86_400);
        let burst = count;
        Self { count, per, burst }
    }

    /// This rate multiplied by a factor.
    #[must_use]
    pub const fn times(self, factor: u32) -> Self {
        Self {
            count: self.count.saturating_mul(factor),
            burst: self.burst.saturating_mul(factor),
            ..self
        }
    }

    /// Reads `key` and `key_burst`.
    pub(super) fn read(section: &Table<'_>, key: &str, default: Self) -> Self {
        Self {
            count: section.integer(key, 0..=COUNT_MAX).unwrap_or(default.count),
            burst: section
                .integer(&format!("{key}_burst"), 1..=COUNT_MAX)
                .unwrap_or(default.burst),
            ..default
        }
    }

    /// Reads `key`, a count per day.
    pub(super) fn read_day(section: &Table<'_>, key: &str, default: u32) -> Self {
        Self::per_day(section.integer(key, 0..=COUNT_MAX).unwrap_or(default))
    }
}
