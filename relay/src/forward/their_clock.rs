//! The offset between this machine's clock and Plausible's, from the `Date` of its answers.
//!
//! Pseudonyms change by this clock and visits are counted by Plausible's, so both should agree on the day.

use crate::clock::Timestamp;
use axum::http::header::{DATE, HeaderMap};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// Offset in seconds above which it is reported.
pub const OFF_MAX_S: i64 = 60;
/// Interval between two readings of an answer's date, in milliseconds. In between it costs one comparison.
const READ_EVERY_MS: i64 = 60_000;
/// No date has been read.
const UNKNOWN: i64 = i64::MIN;

/// How many seconds this clock is ahead of the date of an answer to a request sent `took` ago; 0 if they are
/// consistent. `None` if the date cannot be parsed.
pub fn ahead_of(date: &str, answered: Timestamp, took: Duration) -> Option<i64> {
    let theirs = Timestamp::from_http_date(date)?;
    let asked_ms = answered
        .0
        .saturating_sub(i64::try_from(took.as_millis()).unwrap_or(i64::MAX));
    // A date is truncated to its second.
    let ahead_ms = asked_ms.saturating_sub(theirs.0.saturating_add(1000)).max(0);
    let behind_ms = theirs.0.saturating_sub(answered.0).max(0);
    Some(ahead_ms.saturating_sub(behind_ms) / 1000)
}

/// The same from an answer's headers; `None` also without a date.
fn ahead_s(headers: &HeaderMap, answered: Timestamp, took: Duration) -> Option<i64> {
    ahead_of(headers.get(DATE)?.to_str().ok()?, answered, took)
}

/// The offset in words, and whether it is too large.
pub fn words(ahead_s: i64) -> (String, bool) {
    let is_off = ahead_s.saturating_abs() > OFF_MAX_S;
    let words = match (is_off, ahead_s > 0) {
        (false, _) => format!("within {OFF_MAX_S} s of Plausible's"),
        (true, true) => format!("{ahead_s} s ahead of Plausible's"),
        (true, false) => format!("{} s behind Plausible's", ahead_s.saturating_abs()),
    };
    (words, is_off)
}

/// Plausible's clock, as observed by a running relay.
#[derive(Debug)]
pub struct TheirClock {
    ahead_s: AtomicI64,
    /// When a date was last read, in monotonic time.
    looked_ms: AtomicI64,
}

impl Default for TheirClock {
    fn default() -> Self {
        Self {
            ahead_s: AtomicI64::new(UNKNOWN),
            looked_ms: AtomicI64::new(UNKNOWN),
        }
    }
}

impl TheirClock {
    /// How many seconds this clock was ahead at the last comparison; `None` before the first.
    pub fn ahead_s(&self) -> Option<i64> {
        Some(self.ahead_s.load(Ordering::Relaxed)).filter(|ahead| *ahead != UNKNOWN)
    }

    /// Compares with an answer's date, at most once per interval. `even` is the monotonic time.
    pub(super) fn look(&self, headers: &HeaderMap, now: Timestamp, took: Duration, even: Timestamp) {
        let last = self.looked_ms.load(Ordering::Relaxed);
        if last != UNKNOWN && even.0.saturating_sub(last) < READ_EVERY_MS {
            return;
        }
        self.looked_ms.store(even.0, Ordering::Relaxed);
        let Some(ahead) = ahead_s(headers, now, took) else {
            return;
        };
        let before = self.ahead_s.swap(ahead, Ordering::Relaxed);
        let was_off = before != UNKNOWN && words(before).1;
        match words(ahead) {
            (words, true) if !was_off => tracing::warn!(
                "this machine's clock is {words}: the day of visitors changes at the wrong time; correct the \
                 clock that is wrong"
            ),
            (words, false) if was_off => tracing::info!("this machine's clock is {words} again"),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    /// Wed, 21 Oct 2026 07:28:00 GMT.
    const DATE_MS: i64 = 1_792_567_680_000;

    fn headers(date: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(DATE, HeaderValue::from_str(date).unwrap());
        headers
    }

    #[test]
    fn the_difference_is_what_neither_the_way_nor_the_cut_second_explains() {
        let date = headers("Wed, 21 Oct 2026 07:28:00 GMT");
        let check = |answered: i64, took_ms: u64, want: i64| {
            let ahead = ahead_s(
                &date,
                Timestamp(DATE_MS + answered),
                Duration::from_millis(took_ms),
            );
            assert_eq!(ahead, Some(want), "{answered} ms, took {took_ms} ms");
        };
        check(0, 5, 0);
        check(999, 5, 0);
        check(1999, 5, 0);
        check(2006, 5, 1);
        check(30_000, 29_500, 0);
        check(301_000, 0, 300);
        check(-300_000, 5, -300);
        check(3 * 86_400_000, 0, 3 * 86_400 - 1);
        check(-2 * 86_400_000, 0, -2 * 86_400);
        for none in ["yesterday", "", "1792567680", "Wed, 99 Oct 2026 07:28:00 GMT"] {
            assert_eq!(
                ahead_s(&headers(none), Timestamp(DATE_MS), Duration::ZERO),
                None,
                "{none}"
            );
        }
        assert_eq!(
            ahead_s(&HeaderMap::new(), Timestamp(DATE_MS), Duration::ZERO),
            None
        );
    }

    #[test]
    fn a_minute_is_fine_and_more_is_said_with_its_direction() {
        let check = |ahead: i64, want: &str, is_off: bool| {
            assert_eq!(words(ahead), (want.to_owned(), is_off));
        };
        check(0, "within 60 s of Plausible's", false);
        check(60, "within 60 s of Plausible's", false);
        check(-60, "within 60 s of Plausible's", false);
        check(61, "61 s ahead of Plausible's", true);
        check(-61, "61 s behind Plausible's", true);
    }

    #[test]
    fn a_relay_compares_once_a_minute_and_knows_nothing_before() {
        let clock = TheirClock::default();
        let date = headers("Wed, 21 Oct 2026 07:28:00 GMT");
        let look = |off_s: i64, even_ms: i64| {
            clock.look(
                &date,
                Timestamp(DATE_MS + off_s * 1000),
                Duration::ZERO,
                Timestamp(even_ms),
            );
            clock.ahead_s()
        };
        assert_eq!(clock.ahead_s(), None);
        clock.look(
            &HeaderMap::new(),
            Timestamp(DATE_MS),
            Duration::ZERO,
            Timestamp(-READ_EVERY_MS),
        );
        assert_eq!(clock.ahead_s(), None, "an answer without a date says nothing");
        assert_eq!(look(-100, 0), Some(-100));
        assert_eq!(look(0, READ_EVERY_MS - 1), Some(-100));
        assert_eq!(look(0, READ_EVERY_MS), Some(0));
    }
}
