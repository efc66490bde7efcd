//! One limit: a leaky bucket (GCRA) for each key, on a fixed number of buckets.
//!
//! Keys are not kept: each is hashed, with a key of this process, onto a bucket. Memory is bounded, no address is
//! stored, and nothing has to be swept out. Two clients that fall onto one bucket share its limit; nobody outside can
//! find out which ones do.

use crate::config::Rate;
use governor::clock::Clock;
use governor::middleware::{NoOpMiddleware, StateInformationMiddleware};
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed, StateStore};
use governor::{Quota, RateLimiter};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroU32;
use std::time::Duration;

/// A bucket is scarce when less than one part in this many of its burst is left.
const SCARCE_PART: u32 = 4;

/// One kind of limit. Without a rate, everything passes.
pub(crate) struct Limit<C: Clock>(Option<Keyed<C>>);

struct Keyed<C: Clock> {
    limiter: RateLimiter<usize, Buckets, C, StateInformationMiddleware>,
    burst: NonZeroU32,
    buckets: usize,
    seed: [u8; 16],
}

/// What is left after something was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Left {
    /// Less than a quarter of the burst.
    pub(crate) is_scarce: bool,
}

impl Left {
    /// Scarce if either is.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            is_scarce: self.is_scarce || other.is_scarce,
        }
    }
}

impl<C: Clock> Limit<C> {
    pub(crate) fn new(rate: Rate, buckets: usize, clock: C, seed: [u8; 16]) -> Self {
        Self(Keyed::new(rate, buckets, clock, seed))
    }

    /// Takes so much at once, or nothing. More than the burst would never pass; it takes the whole burst instead.
    ///
    /// # Errors
    /// How long to wait.
    pub(crate) fn take(&self, key: &(impl Hash + ?Sized), cells: usize) -> Result<Left, Duration> {
        match &self.0 {
            Some(keyed) => keyed.take(key, cells),
            None => Ok(Left::default()),
        }
    }

    /// Whether so much can be taken at once, given a rest.
    pub(crate) fn can_hold(&self, cells: usize) -> bool {
        let holds = |keyed: &Keyed<C>| cells <= usize::try_from(keyed.burst.get()).unwrap_or(usize::MAX);
        self.0.as_ref().is_none_or(holds)
    }
}

impl<C: Clock> Keyed<C> {
    fn new(rate: Rate, buckets: usize, clock: C, seed: [u8; 16]) -> Option<Self> {
        let burst = NonZeroU32::new(rate.burst).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::with_period(rate.per.checked_div(rate.count)?)?.allow_burst(burst);
        let state = Buckets((0..buckets).map(|_| InMemoryState::default()).collect());
        Some(Self {
            limiter: RateLimiter::<_, _, _, NoOpMiddleware<C::Instant>>::new(quota, state, clock)
                .with_middleware(),
            burst,
            buckets,
            seed,
        })
    }

    fn take(&self, key: &(impl Hash + ?Sized), cells: usize) -> Result<Left, Duration> {
        let bucket = place_of(self.seed, key, self.buckets);
        let cells = u32::try_from(cells).unwrap_or(u32::MAX);
        let cells = NonZeroU32::new(cells).unwrap_or(NonZeroU32::MIN).min(self.burst);
        match self.limiter.check_key_n(&bucket, cells) {
            Ok(Ok(state)) => Ok(Left {
                is_scarce: state.remaining_burst_capacity() < self.burst.get() / SCARCE_PART,
            }),
            Ok(Err(until)) => Err(until.wait_time_from(self.limiter.clock().now())),
            Err(_) => Err(Duration::from_secs(1)),
        }
    }
}

/// The place of a key among so many. Without the seed it cannot be foretold.
pub(crate) fn place_of(seed: [u8; 16], key: &(impl Hash + ?Sized), places: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    (seed, key).hash(&mut hasher);
    usize::try_from(hasher.finish() % places as u64).unwrap_or(0)
}

struct Buckets(Box<[InMemoryState]>);

impl StateStore for Buckets {
    type Key = usize;

    fn measure_and_replace<T, F, E>(&self, bucket: &usize, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        self.0[*bucket].measure_and_replace(&NotKeyed::NonKey, decide)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use governor::clock::FakeRelativeClock;

    const SEED: [u8; 16] = [7; 16];

    fn limit(rate: Rate) -> (Limit<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        (Limit::new(rate, 64, clock.clone(), SEED), clock)
    }

    #[test]
    fn the_wait_is_what_brings_the_next_one_through() {
        for (rate, want) in [
            (Rate::per_second(4, 8), Duration::from_millis(250)),
            (Rate::per_minute(4, 8), Duration::from_secs(15)),
            (Rate::per_day(8), Duration::from_secs(3 * 3600)),
        ] {
            let (limit, clock) = limit(rate);
            for i in 0..8 {
                assert!(limit.take("a", 1).is_ok(), "{i}");
            }
            let wait = limit.take("a", 1).unwrap_err();
            assert_eq!(wait, want);
            clock.advance(wait - Duration::from_nanos(1));
            assert!(limit.take("a", 1).is_err());
            clock.advance(Duration::from_nanos(1));
            assert!(limit.take("a", 1).is_ok());
            clock.advance(rate.per * 10);
            let through = (0..20).filter(|_| limit.take("a", 1).is_ok()).count();
            assert_eq!(through, 8, "rest brings back the burst and no more");
        }
    }

    #[test]
    fn a_batch_is_taken_whole_or_not_at_all() {
        let check = |batches: &[(&str, usize, bool)]| {
            let (limit, _) = limit(Rate::per_second(1, 10));
            for (i, (key, cells, allowed)) in batches.iter().enumerate() {
                assert_eq!(limit.take(*key, *cells).is_ok(), *allowed, "{i}");
            }
        };
        check(&[("a", 10, true), ("a", 1, false), ("b", 10, true)]);
        check(&[("a", 6, true), ("a", 5, false), ("a", 4, true)]);
        // More than the burst: allowed when nothing else was.
        check(&[("a", 20, true), ("a", 1, false)]);
        check(&[("a", 1, true), ("a", 20, false), ("a", 9, true)]);
    }

    #[test]
    fn it_is_scarce_below_a_quarter_of_the_burst() {
        let (limit, _) = limit(Rate::per_second(1, 8));
        let scarce: Vec<bool> = (0..8).map(|_| limit.take("a", 1).unwrap().is_scarce).collect();
        assert_eq!(scarce, [false, false, false, false, false, false, true, true]);
    }

    #[test]
    fn zero_is_no_limit() {
        let (limit, _) = limit(Rate::per_second(0, 1));
        assert!((0..10_000).all(|_| limit.take("a", 1000) == Ok(Left::default())));
        assert!(limit.can_hold(usize::MAX));
    }
}
