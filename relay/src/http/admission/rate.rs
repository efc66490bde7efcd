//! Limits the rate of each client's requests, by their heads alone. [`crate::budget`] limits their events.

use crate::budget::Limit;
use crate::clock;
use crate::config::Rate;
use crate::network::client_of;
use governor::clock::MonotonicClock;
use std::net::IpAddr;
use std::time::Duration;

/// Buckets for clients: half a megabyte. If 1 000 clients are at their limit at once, one in 65 other clients shares
/// a cell with one of them.
const CLIENT_CELLS: usize = 64 * 1024;

/// The rate of each client's requests.
pub struct Rates(Limit<MonotonicClock>);

impl std::fmt::Debug for Rates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rates(hidden)")
    }
}

impl Rates {
    /// Creates the limit as configured.
    pub fn new(per_client: Rate) -> Self {
        let limit = Limit::new(per_client, CLIENT_CELLS, MonotonicClock, clock::random());
        Self(limit)
    }

    /// Charges one request to a client.
    ///
    /// # Errors
    /// The time to wait, if there were too many.
    pub(crate) fn take_request(&self, client: IpAddr) -> Result<(), Duration> {
        self.0.take(&client_of(client), 1).map(drop)
    }
}
