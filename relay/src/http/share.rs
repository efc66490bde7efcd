//! How many requests of one client may be waiting for their bodies.
//!
//! A request has its place among `public.requests_max` before its body is there, and on HTTP/2 a client brings
//! a hundred of them on one connection. Without a share of its own, one that sends its bodies slowly would take
//! every place. As with the rates, clients are hashed onto counters and no address is stored.

use crate::clock;
use crate::http::client_address::network_of;
use crate::http::rate::place_of;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counters: a quarter of a megabyte. Two clients that fall onto one share it, which matters to slow ones only.
const COUNTERS: usize = 32 * 1024;
/// One client's share of all places: one in so many.
const ONE_IN: usize = 4;

/// The waiting requests of all clients.
#[derive(Debug)]
pub struct Shares {
    waiting: Box<[AtomicUsize]>,
    max: usize,
    seed: [u8; 16],
}

/// A request that waits for its body. It no longer counts when this is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    shares: Arc<Shares>,
    place: usize,
}

impl Shares {
    /// Of so many places; everybody may have one at least.
    pub fn new(requests_max: usize) -> Self {
        Self {
            waiting: (0..COUNTERS).map(|_| AtomicUsize::new(0)).collect(),
            max: (requests_max / ONE_IN).max(1),
            seed: clock::random(),
        }
    }

    /// One more request of a client that waits for its body; `None` above the client's share. An IPv6 client is
    /// its /64.
    pub(crate) fn take(self: &Arc<Self>, client: IpAddr) -> Option<Share> {
        let place = place_of(self.seed, &network_of(client), self.waiting.len());
        let one_more = |waiting| (waiting < self.max).then_some(waiting + 1);
        self.waiting[place]
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .ok()?;
        let shares = Arc::clone(self);
        Some(Share { shares, place })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shares.waiting[self.place].fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_its_share_and_gets_back_what_it_gives_back() {
        let check = |requests_max: usize, want: usize| {
            let shares = Arc::new(Shares::new(requests_max));
            let [client, other] = ["192.0.2.1", "2001:db8:1:1::1"].map(|text| text.parse().unwrap());
            let mut taken: Vec<Share> = (0..want).map(|_| shares.take(client).unwrap()).collect();
            assert!(shares.take(client).is_none(), "{want} and one more");
            assert!(shares.take(other).is_some(), "another client");
            taken.pop();
            assert!(shares.take(client).is_some(), "after one was given back");
        };
        check(1, 1);
        check(8, 2);
        check(1024, 256);
    }
}
