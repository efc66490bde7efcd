//! How many requests one client and how many events one site may bring.
//!
//! A limit is a leaky bucket (GCRA) per key. The keys are not kept: each is hashed, with a key of this
//! process, onto one of a fixed number of buckets. So memory is bounded, no address is stored, and nothing
//! has to be swept out. Two clients that fall onto one bucket share its limit; which ones do cannot be
//! found out from outside.

use crate::clock;
use crate::config::Rate;
use crate::http::client_address::network_of;
use governor::clock::{Clock, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed, StateStore};
use governor::{Quota, RateLimiter};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

/// Buckets for clients: half a megabyte. With 1 000 clients at their limit at once, one in 65 others would
/// share one's bucket.
const CLIENT_BUCKETS: usize = 64 * 1024;
/// Buckets for sites, which are configured, so there are few.
const SITE_BUCKETS: usize = 4 * 1024;

/// The limits of one relay.
pub struct Rates<C: Clock = MonotonicClock> {
    clients: Option<Limit<C>>,
    sites: Option<Limit<C>>,
}

impl<C: Clock> std::fmt::Debug for Rates<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rates(hidden)")
    }
}

impl Rates {
    /// Limits as configured.
    pub fn new(per_client: Rate, per_site: Rate) -> Self {
        Self::with(per_client, per_site, &MonotonicClock, clock::random())
    }
}

impl<C: Clock + Clone> Rates<C> {
    fn with(per_client: Rate, per_site: Rate, clock: &C, seed: [u8; 16]) -> Self {
        let limit = |rate, buckets| Limit::new(rate, buckets, clock.clone(), seed);
        Self {
            clients: limit(per_client, CLIENT_BUCKETS),
            sites: limit(per_site, SITE_BUCKETS),
        }
    }

    /// Takes one request of a client into account. An IPv6 client is its /64, which is one household or
    /// one machine.
    ///
    /// # Errors
    /// How long to wait, when there were too many.
    pub(crate) fn take_request(&self, client: IpAddr) -> Result<(), Duration> {
        match &self.clients {
            Some(limit) => limit.take(&network_of(client), 1),
            None => Ok(()),
        }
    }

    /// Takes a batch of a site into account: all of it or nothing.
    ///
    /// # Errors
    /// How long to wait, when there were too many.
    pub(crate) fn take_events(&self, site: &str, events: usize) -> Result<(), Duration> {
        match &self.sites {
            Some(limit) => limit.take(site, u32::try_from(events).unwrap_or(u32::MAX)),
            None => Ok(()),
        }
    }
}

/// One kind of limit.
struct Limit<C: Clock> {
    limiter: RateLimiter<usize, Buckets, C, NoOpMiddleware<C::Instant>>,
    burst: NonZeroU32,
    buckets: usize,
    seed: [u8; 16],
}

impl<C: Clock> Limit<C> {
    /// `None` when there is no limit.
    fn new(rate: Rate, buckets: usize, clock: C, seed: [u8; 16]) -> Option<Self> {
        let burst = NonZeroU32::new(rate.burst).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(NonZeroU32::new(rate.per_second)?).allow_burst(burst);
        let state = Buckets((0..buckets).map(|_| InMemoryState::default()).collect());
        Some(Self {
            limiter: RateLimiter::new(quota, state, clock),
            burst,
            buckets,
            seed,
        })
    }

    fn take(&self, key: &(impl Hash + ?Sized), cells: u32) -> Result<(), Duration> {
        let bucket = place_of(self.seed, key, self.buckets);
        // A batch larger than the burst would never pass; it takes the whole burst instead.
        let cells = NonZeroU32::new(cells).unwrap_or(NonZeroU32::MIN).min(self.burst);
        match self.limiter.check_key_n(&bucket, cells) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(until)) => Err(until.wait_time_from(self.limiter.clock().now())),
            Err(_) => Err(Duration::from_secs(1)),
        }
    }
}

/// Where a key belongs, among so many places. Without the seed nobody can tell.
pub(super) fn place_of(seed: [u8; 16], key: &(impl Hash + ?Sized), places: usize) -> usize {
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

    fn rates(client: (u32, u32), site: (u32, u32)) -> (Rates<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        let rate = |(per_second, burst)| Rate { per_second, burst };
        (Rates::with(rate(client), rate(site), &clock, SEED), clock)
    }

    #[test]
    fn a_client_is_its_address_or_its_v6_network() {
        // One request is allowed; what does the next one of this address get?
        let check = |first: &str, second: &str, allowed: bool| {
            let (rates, _) = rates((1, 1), (0, 1));
            rates.take_request(first.parse().unwrap()).unwrap();
            let next = rates.take_request(second.parse().unwrap());
            assert_eq!(next.is_ok(), allowed, "{first} then {second}");
        };
        check("192.0.2.1", "192.0.2.1", false);
        check("192.0.2.1", "192.0.2.2", true);
        check("::ffff:192.0.2.1", "192.0.2.1", false);
        check("2001:db8:1:1::1", "2001:db8:1:1:ffff::9", false);
        check("2001:db8:1:1::1", "2001:db8:1:2::1", true);
    }

    #[test]
    fn the_wait_is_what_brings_the_next_request_through() {
        let (rates, clock) = rates((4, 8), (0, 1));
        let client = "192.0.2.1".parse().unwrap();
        for i in 0..8 {
            assert_eq!(rates.take_request(client), Ok(()), "{i}");
        }
        let wait = rates.take_request(client).unwrap_err();
        assert_eq!(wait, Duration::from_millis(250));
        clock.advance(wait - Duration::from_nanos(1));
        assert!(rates.take_request(client).is_err());
        clock.advance(Duration::from_nanos(1));
        assert_eq!(rates.take_request(client), Ok(()));
        clock.advance(Duration::from_secs(60));
        let through = (0..20).filter(|_| rates.take_request(client).is_ok()).count();
        assert_eq!(through, 8, "rest brings back the burst and no more");
    }

    #[test]
    fn a_site_is_limited_by_events_a_batch_at_a_time() {
        let check = |batches: &[(&str, usize, bool)]| {
            let (rates, _) = rates((0, 1), (1, 10));
            for (i, (site, events, allowed)) in batches.iter().enumerate() {
                assert_eq!(rates.take_events(site, *events).is_ok(), *allowed, "{i}");
            }
        };
        check(&[("a", 10, true), ("a", 1, false), ("b", 10, true)]);
        check(&[("a", 6, true), ("a", 5, false), ("a", 4, true)]);
        // More than the burst: allowed when nothing else was.
        check(&[("a", 20, true), ("a", 1, false)]);
        check(&[("a", 1, true), ("a", 20, false), ("a", 9, true)]);
    }

    #[test]
    fn zero_is_no_limit() {
        let (rates, _) = rates((0, 1), (0, 1));
        for _ in 0..10_000 {
            assert_eq!(rates.take_request("192.0.2.1".parse().unwrap()), Ok(()));
            assert_eq!(rates.take_events("a", 1000), Ok(()));
        }
    }
}
