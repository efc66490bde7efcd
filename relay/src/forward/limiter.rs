//! The limit of requests in flight: additive increase, multiplicative decrease.
//!
//! A server near its capacity answers more slowly before it fails. Therefore the limit grows while answers are about as
//! fast as the fastest recent ones, and shrinks when they are slower or missing. At the start and after an outage it
//! begins at one and doubles, so that a Plausible that has just recovered is not flooded with the backlog. A state
//! machine without a clock.

use std::time::Duration;

/// Answers may take this many times the fastest, and this much more, before the limit shrinks. The second
/// part keeps a server that answers in a fraction of a millisecond from being judged by the noise.
const TOLERANCE: f64 = 2.0;
const TOLERANCE_SECONDS: f64 = 0.02;
/// The factor by which slow answers shrink the limit.
const WHEN_SLOW: f64 = 0.8;
/// The factor by which a failure shrinks it.
const WHEN_FAILED: f64 = 0.5;
/// The weight of one answer in the smoothed time.
const SMOOTHING: f64 = 0.2;

/// The limit and the times that it depends on.
#[derive(Debug)]
pub struct Limiter {
    limit: f64,
    max: f64,
    /// Below it the limit doubles per round, above it it grows by one.
    steep_until: f64,
    /// In seconds.
    fastest: f64,
    /// In seconds.
    smoothed: Option<f64>,
    /// When it may shrink again: one slow round shrinks it once, however many slow answers it has.
    may_shrink_at: Duration,
}

impl Limiter {
    /// A limit that never exceeds `max`, which is at least 1.
    pub fn new(max: usize) -> Self {
        let max = u32::try_from(max.max(1)).map_or(f64::MAX, f64::from);
        Self {
            limit: 1.0,
            max,
            steep_until: max,
            fastest: f64::INFINITY,
            smoothed: None,
            may_shrink_at: Duration::ZERO,
        }
    }

    /// Most requests in flight at once; at least 1.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 1 and a configured size"
    )]
    pub fn limit(&self) -> usize {
        self.limit as usize
    }

    /// Notes an answer and how long it took. `in_flight` includes it.
    pub fn answered(&mut self, took: Duration, in_flight: usize, now: Duration) {
        let took = took.as_secs_f64();
        let smoothed = self.smoothed.map_or(took, |s| s + SMOOTHING * (took - s));
        self.smoothed = Some(smoothed);
        // A single request is the fastest case: a server that has become permanently slower is judged by that.
        self.fastest = match self.limit() {
            1 => smoothed,
            _ => self.fastest.min(took),
        };
        if smoothed > self.fastest * TOLERANCE + TOLERANCE_SECONDS {
            self.shrink(WHEN_SLOW, now);
        } else if in_flight * 2 >= self.limit() {
            // Only a limit that is fully used can be shown to be too low.
            let step = if self.limit < self.steep_until {
                1.0
            } else {
                1.0 / self.limit
            };
            self.limit = (self.limit + step).min(self.max);
        }
    }

    /// Notes that there was no answer, or a bad one.
    pub fn failed(&mut self, now: Duration) {
        self.shrink(WHEN_FAILED, now);
    }

    /// Begins at one again.
    pub fn start_slowly(&mut self) {
        self.limit = 1.0;
        self.steep_until = self.max;
    }

    fn shrink(&mut self, to: f64, now: Duration) {
        if now < self.may_shrink_at {
            return;
        }
        self.limit = (self.limit * to).max(1.0);
        self.steep_until = self.limit;
        self.may_shrink_at = now + Duration::from_secs_f64(self.smoothed.unwrap_or(0.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A server that works on `capacity` requests at once and queues the others, for some rounds.
    fn serve(limiter: &mut Limiter, capacity: usize, each: Duration, rounds: u32, now: &mut Duration) {
        for _ in 0..rounds {
            let in_flight = limiter.limit();
            let waits = u32::try_from(in_flight.div_ceil(capacity)).unwrap();
            *now += each * waits;
            for _ in 0..in_flight {
                limiter.answered(each * waits, in_flight, *now);
            }
        }
    }

    #[test]
    fn the_limit_follows_what_the_server_can_do() {
        let each = Duration::from_millis(50);
        let check = |max: usize, capacity: usize, want: std::ops::RangeInclusive<usize>| {
            let (mut limiter, mut now) = (Limiter::new(max), Duration::ZERO);
            serve(&mut limiter, capacity, each, 100, &mut now);
            assert!(want.contains(&limiter.limit()), "{capacity}: {limiter:?}");
        };
        check(32, 64, 32..=32);
        check(32, 8, 8..=20);
        check(32, 2, 2..=6);
        check(4, 64, 4..=4);
        check(1, 64, 1..=1);
    }

    #[test]
    fn failures_shrink_it_once_a_round_and_it_begins_at_one_after_an_outage() {
        let (mut limiter, mut now) = (Limiter::new(32), Duration::ZERO);
        let each = Duration::from_millis(50);
        serve(&mut limiter, 64, each, 20, &mut now);
        assert_eq!(limiter.limit(), 32);
        for _ in 0..10 {
            limiter.failed(now);
        }
        assert_eq!(limiter.limit(), 16);
        now += each;
        limiter.failed(now);
        assert_eq!(limiter.limit(), 8);
        limiter.start_slowly();
        for want in [2, 4, 8, 16, 32, 32] {
            serve(&mut limiter, 64, each, 1, &mut now);
            assert_eq!(limiter.limit(), want);
        }
    }

    #[test]
    fn an_idle_relay_does_not_grow_it() {
        let mut limiter = Limiter::new(32);
        for n in 0..1000 {
            limiter.answered(Duration::from_millis(5), 1, Duration::from_secs(n));
        }
        assert!(limiter.limit() <= 3, "{limiter:?}");
    }

    #[test]
    fn a_server_that_has_become_slower_for_good_is_judged_by_what_it_can_do_now() {
        let (mut limiter, mut now) = (Limiter::new(32), Duration::ZERO);
        serve(&mut limiter, 64, Duration::from_millis(50), 20, &mut now);
        serve(&mut limiter, 64, Duration::from_millis(500), 10, &mut now);
        assert!(limiter.limit() < 32, "{limiter:?}");
        serve(&mut limiter, 64, Duration::from_millis(500), 100, &mut now);
        assert_eq!(limiter.limit(), 32, "{limiter:?}");
    }

    proptest! {
        #[test]
        fn it_stays_between_one_and_its_maximum(
            max in 1_usize..100,
            steps in prop::collection::vec((0_u8..4, 0_u64..100_000, 0_usize..200), 0..300),
        ) {
            let mut limiter = Limiter::new(max);
            let mut now = Duration::ZERO;
            for (what, number, in_flight) in steps {
                match what {
                    0 => limiter.failed(now),
                    1 => limiter.start_slowly(),
                    2 => now += Duration::from_millis(number),
                    _ => limiter.answered(Duration::from_micros(number), in_flight, now),
                }
                prop_assert!((1..=max).contains(&limiter.limit()), "{limiter:?}");
            }
        }
    }
}
