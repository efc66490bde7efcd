//! How often something may happen: `rate_per_…` and the budgets, each with its burst.

use crate::document::Section;
use std::time::Duration;

/// Highest count and burst that can be set.
const COUNT_MAX: i64 = 100_000_000;

/// A rate with a burst. A count of 0 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How often within `per` in the long run; 0 is no limit.
    pub count: u32,
    /// The time that `count` is for.
    pub per: Duration,
    /// How often at once after a rest.
    pub burst: u32,
}

impl Rate {
    /// So often a second.
    pub const fn per_second(count: u32, burst: u32) -> Self {
        let per = Duration::from_secs(1);
        Self { count, per, burst }
    }

    /// So often a minute.
    pub const fn per_minute(count: u32, burst: u32) -> Self {
        let per = Duration::from_secs(60);
        Self { count, per, burst }
    }

    /// So often a day, all of it at once if need be.
    pub const fn per_day(count: u32) -> Self {
        let per = Duration::from_secs(86_400);
        let burst = count;
        Self { count, per, burst }
    }

    /// So many times as much.
    #[must_use]
    pub const fn times(self, factor: u32) -> Self {
        Self {
            count: self.count.saturating_mul(factor),
            burst: self.burst.saturating_mul(factor),
            ..self
        }
    }

    /// Reads `key` and `key_burst`.
    pub(super) fn read(section: &Section<'_>, key: &str, default: Self) -> Self {
        Self {
            count: whole(section, key, 0).unwrap_or(default.count),
            burst: whole(section, &format!("{key}_burst"), 1).unwrap_or(default.burst),
            ..default
        }
    }

    /// Reads `key`, the count of a day.
    pub(super) fn read_day(section: &Section<'_>, key: &str, default: u32) -> Self {
        Self::per_day(whole(section, key, 0).unwrap_or(default))
    }
}

fn whole(section: &Section<'_>, key: &str, low: i64) -> Option<u32> {
    let found = section.integer(key, low..=COUNT_MAX);
    found.and_then(|n| u32::try_from(n).ok())
}
