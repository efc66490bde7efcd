//! The wait before the next attempt: exponential, with full jitter.

use std::time::Duration;

/// Upper bound of an accepted Retry-After; a mistake upstream must not delay events for days.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
/// The bound of the first wait.
const FIRST: Duration = Duration::from_secs(1);
/// The upper bound of every wait, and therefore of the time until the relay notices that Plausible is back.
const LONGEST: Duration = Duration::from_secs(60);
/// Shortest wait, so that an unlucky draw does not hammer a server that is down.
const SHORTEST: Duration = Duration::from_millis(100);

/// The wait after failed attempts, from a random number. Full jitter: anything up to the exponential bound, so that
/// relays that failed together do not retry together. At least the server's Retry-After; longer after many attempts, so
/// that a server with `Retry-After: 0` is not hammered.
pub fn wait(tries: u32, retry_after: Option<Duration>, random: u32) -> Duration {
    let bound = FIRST
        .saturating_mul(1 << tries.saturating_sub(1).min(16))
        .min(LONGEST);
    let jittered = bound
        .mul_f64(f64::from(random) / f64::from(u32::MAX))
        .max(SHORTEST);
    match retry_after {
        Some(asked) => jittered.max(asked.min(RETRY_AFTER_MAX) + jittered.min(FIRST)),
        None => jittered,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_keep_a_retry_after() {
        let seconds = Duration::from_secs;
        let check = |tries, retry_after, random, want| assert_eq!(wait(tries, retry_after, random), want);
        check(1, None, u32::MAX, seconds(1));
        check(2, None, u32::MAX, seconds(2));
        check(5, None, u32::MAX, seconds(16));
        check(40, None, u32::MAX, seconds(60));
        check(u32::MAX, None, u32::MAX, seconds(60));
        check(5, None, 0, SHORTEST);
        check(1, Some(seconds(7)), u32::MAX, seconds(8));
        check(9, Some(seconds(7)), u32::MAX, seconds(60));
        check(9, Some(seconds(7)), 0, seconds(7) + SHORTEST);
        check(9, Some(Duration::ZERO), u32::MAX, seconds(60));
        check(1, Some(Duration::ZERO), 0, SHORTEST);
        check(1, Some(seconds(999_999)), u32::MAX, RETRY_AFTER_MAX + seconds(1));
    }
}
