//! How often something may happen: `rate_per_…` and its burst.

use crate::document::Section;

/// Highest rate and burst that can be set.
const RATE_MAX: i64 = 1_000_000;

/// A rate with a burst. 0 per second is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How often per second in the long run; 0 is no limit.
    pub per_second: u32,
    /// How often at once after a rest.
    pub burst: u32,
}

impl Rate {
    /// Reads `key` and `key_burst`.
    pub(super) fn read(section: &Section<'_>, key: &str, per_second: u32, burst: u32) -> Self {
        let whole = |key: &str, low| {
            let found = section.integer(key, low..=RATE_MAX);
            found.and_then(|n| u32::try_from(n).ok())
        };
        Self {
            per_second: whole(key, 0).unwrap_or(per_second),
            burst: whole(&format!("{key}_burst"), 1).unwrap_or(burst),
        }
    }
}
