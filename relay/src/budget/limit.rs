//! One limit: a leaky bucket (GCRA) for each key, in a fixed number of cells.
//!
//! Each key is hashed, with a key of this process, to a cell, and not stored. So memory is bounded, no address is
//! stored, and nothing expires. Two clients in one cell share its limit; nothing outside the process can find out
//! which clients do.

use crate::config::Rate;
use crate::digest::cell_of;
use governor::clock::Clock;
use governor::middleware::{NoOpMiddleware, StateInformationMiddleware};
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed, StateStore};
use governor::{Quota, RateLimiter};
use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// A bucket is scarce if less than this fraction (one part in four) of its burst is left.
const SCARCE_PART: u32 = 4;

/// One kind of limit. Without a rate, everything passes.
pub(crate) struct Limit<C: Clock>(Option<Keyed<C>>);

struct Keyed<C: Clock> {
    limiter: RateLimiter<usize, Buckets, C, StateInformationMiddleware>,
    /// The buckets of `limiter`, which has no method to give back.
    buckets: Buckets,
    cell: Nanos,
    burst: NonZeroU32,
    seed: [u8; 16],
}

/// The rest of a bucket after a charge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Left {
    /// Less than a quarter of the burst is left.
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

    /// Takes `cells` at once, or nothing. More than the burst would never pass, so it takes the whole burst instead.
    ///
    /// # Errors
    /// The time to wait.
    pub(crate) fn take(&self, key: &(impl Hash + ?Sized), cells: usize) -> Result<Left, Duration> {
        self.take_part(key, cells).map(|(left, _)| left)
    }

    /// Like [`Limit::take`], but returns the [`Part`] that gives the cells back. `None` if there is no limit.
    pub(super) fn take_part(
        &self,
        key: &(impl Hash + ?Sized),
        cells: usize,
    ) -> Result<(Left, Option<Part<'_>>), Duration> {
        match &self.0 {
            Some(keyed) => keyed.take(key, cells).map(|(left, part)| (left, Some(part))),
            None => Ok((Left::default(), None)),
        }
    }

    /// Gives `cells` back.
    pub(super) fn give_back(&self, key: &(impl Hash + ?Sized), cells: usize) {
        if let Some(keyed) = &self.0 {
            keyed.part(keyed.bucket(key), keyed.held(cells)).give_back();
        }
    }

    /// Whether an idle bucket admits `cells` at once.
    pub(crate) fn can_hold(&self, cells: usize) -> bool {
        let holds = |keyed: &Keyed<C>| cells <= usize::try_from(keyed.burst.get()).unwrap_or(usize::MAX);
        self.0.as_ref().is_none_or(holds)
    }
}

impl<C: Clock> Keyed<C> {
    fn new(rate: Rate, buckets: usize, clock: C, seed: [u8; 16]) -> Option<Self> {
        let burst = NonZeroU32::new(rate.burst).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::with_period(rate.per.checked_div(rate.count)?)?.allow_burst(burst);
        let buckets = Buckets((0..buckets).map(|_| InMemoryState::default()).collect());
        Some(Self {
            limiter: RateLimiter::<_, _, _, NoOpMiddleware<C::Instant>>::new(quota, buckets.clone(), clock)
                .with_middleware(),
            buckets,
            cell: quota.replenish_interval().into(),
            burst,
            seed,
        })
    }

    fn bucket(&self, key: &(impl Hash + ?Sized)) -> usize {
        cell_of(self.seed, key, self.buckets.0.len())
    }

    /// At least one, at most the burst.
    fn held(&self, cells: usize) -> NonZeroU32 {
        let cells = u32::try_from(cells).unwrap_or(u32::MAX);
        NonZeroU32::new(cells).unwrap_or(NonZeroU32::MIN).min(self.burst)
    }

    fn part(&self, bucket: usize, cells: NonZeroU32) -> Part<'_> {
        Part {
            bucket: &self.buckets.0[bucket],
            time: self.cell.as_u64().saturating_mul(cells.get().into()).into(),
        }
    }

    fn take(&self, key: &(impl Hash + ?Sized), cells: usize) -> Result<(Left, Part<'_>), Duration> {
        let (bucket, cells) = (self.bucket(key), self.held(cells));
        match self.limiter.check_key_n(&bucket, cells) {
            Ok(Ok(state)) => {
                let is_scarce = state.remaining_burst_capacity() < self.burst.get() / SCARCE_PART;
                Ok((Left { is_scarce }, self.part(bucket, cells)))
            }
            Ok(Err(until)) => Err(until.wait_time_from(self.limiter.clock().now())),
            Err(_) => Err(Duration::from_secs(1)),
        }
    }
}

/// The cells taken of one bucket, as the time in which they would come back by themselves.
pub(super) struct Part<'l> {
    bucket: &'l InMemoryState,
    time: Nanos,
}

impl Part<'_> {
    /// Gives the cells back. A bucket that has refilled in the meantime does not exceed its burst: a time in the past
    /// counts as now.
    pub(super) fn give_back(self) {
        let earlier = |until: Option<Nanos>| match until {
            Some(until) => Ok(((), until.saturating_sub(self.time))),
            None => Err(()),
        };
        // An error means that nothing was taken from this bucket.
        let _ = self.bucket.measure_and_replace(&NotKeyed::NonKey, earlier);
    }
}

#[derive(Clone)]
struct Buckets(Arc<[InMemoryState]>);

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
        // More than the burst: allowed only while the bucket is full.
        check(&[("a", 20, true), ("a", 1, false)]);
        check(&[("a", 1, true), ("a", 20, false), ("a", 9, true)]);
    }

    #[test]
    fn what_is_given_back_can_be_taken_again_and_no_more() {
        let check = |taken: usize, pass_s: u64, back: usize, want: usize| {
            let (limit, clock) = limit(Rate::per_second(1, 10));
            assert!(limit.take("a", taken).is_ok());
            clock.advance(Duration::from_secs(pass_s));
            limit.give_back("a", back);
            let through = (0..30).filter(|_| limit.take("a", 1).is_ok()).count();
            assert_eq!(through, want, "{taken} taken, {back} back after {pass_s} s");
        };
        check(10, 0, 10, 10);
        check(10, 0, 4, 4);
        check(10, 3, 4, 7);
        // Never more than the burst, even after a long time.
        check(10, 8, 10, 10);
        check(10, 3600, 10, 10);
        check(20, 0, 20, 10);
        // A different key has its own bucket.
        let (limit, _) = limit(Rate::per_second(1, 10));
        assert!(limit.take("a", 10).is_ok());
        limit.give_back("b", 10);
        assert!(limit.take("a", 1).is_err());
        let through = (0..30).filter(|_| limit.take("b", 1).is_ok()).count();
        assert_eq!(through, 10);
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
