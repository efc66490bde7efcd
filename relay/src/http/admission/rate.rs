//! How many requests one client may bring, by their heads alone. What its events may be is up to [`crate::budget`].

pub(super) use crate::budget::place_of;

use crate::budget::{Limit, client_of};
use crate::clock;
use crate::config::Rate;
use governor::clock::MonotonicClock;
use std::net::IpAddr;
use std::time::Duration;

/// Buckets for clients: half a megabyte. With 1 000 clients at their limit at once, one in 65 others would
/// share one's bucket.
const CLIENT_BUCKETS: usize = 64 * 1024;

/// The rate of each client's requests.
pub struct Rates(Limit<MonotonicClock>);

impl std::fmt::Debug for Rates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rates(hidden)")
    }
}

impl Rates {
    /// As configured.
    pub fn new(per_client: Rate) -> Self {
        let limit = Limit::new(per_client, CLIENT_BUCKETS, MonotonicClock, clock::random());
        Self(limit)
    }

    /// Takes one request of a client into account.
    ///
    /// # Errors
    /// How long to wait, when there were too many.
    pub(crate) fn take_request(&self, client: IpAddr) -> Result<(), Duration> {
        self.0.take(&client_of(client), 1).map(drop)
    }
}
