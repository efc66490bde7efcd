//! Limits attempts at the password of `/metrics`: a state machine without a clock or a lock.
//!
//! A limit that also applies to right passwords would let anyone stop the scrapes; one that does not would limit
//! nothing, because a right guess would pass. So the limit depends on the source. A connection that has sent the
//! right password is not limited. A network that has sent it is limited only by its own wrong ones. All others also
//! share one budget, so that many addresses together can guess only rarely.

use crate::clock::Timestamp;
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Wrong passwords of one network: 20 at once, then one in 5 seconds. Above it, its passwords are not checked.
const NETWORK: Limit = Limit {
    burst: 20,
    every: Duration::from_secs(5),
};
/// Wrong passwords of all networks that have never sent the right one: 100 at once, then one a second.
const STRANGERS: Limit = Limit {
    burst: 100,
    every: Duration::from_secs(1),
};
/// Cells for networks, by a keyed hash: 32 KiB. Two networks may share one.
const CELLS: usize = 4096;
/// Most connections, and most networks, that are remembered for having sent the right password. Above it the oldest
/// is removed.
const KNOWN_MAX: usize = 64;

struct Limit {
    burst: u32,
    every: Duration,
}

impl Limit {
    /// The wait before the next guess, if the whole burst is available again at `full_at`.
    fn wait(&self, full_at: Timestamp, now: Timestamp) -> Duration {
        full_at.since(now).saturating_sub(self.every * (self.burst - 1))
    }

    fn take(&self, full_at: &mut Timestamp, now: Timestamp) {
        *full_at = (*full_at).max(now).plus(self.every);
    }
}

/// The source of a request.
#[derive(Clone, Copy)]
pub(super) struct Source {
    /// The peer of the connection; `None` if a proxy forwards several clients on it.
    pub(super) peer: Option<SocketAddr>,
    /// The client's address, or the /64 it is in.
    pub(super) network: IpAddr,
}

/// The result of a password check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guess {
    Right,
    Wrong,
    /// The password was not checked. The next may be sent after this time.
    Unseen(Duration),
}

/// Recent guesses and known sources.
pub(super) struct Guesses {
    seed: [u8; 16],
    networks: Box<[Timestamp]>,
    strangers: Timestamp,
    known: VecDeque<SocketAddr>,
    known_networks: VecDeque<IpAddr>,
}

impl std::fmt::Debug for Guesses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Guesses(hidden)")
    }
}

impl Guesses {
    /// Starts without guesses. The seed must be random and secret.
    pub(super) fn new(seed: [u8; 16]) -> Self {
        Self {
            seed,
            networks: vec![Timestamp(0); CELLS].into(),
            strangers: Timestamp(0),
            known: VecDeque::new(),
            known_networks: VecDeque::new(),
        }
    }

    /// Checks a password, if this source may try one.
    pub(super) fn look(&mut self, source: Source, now: Timestamp, is_right: impl FnOnce() -> bool) -> Guess {
        let is_known = source.peer.is_some_and(|peer| self.known.contains(&peer));
        let is_stranger = !self.known_networks.contains(&source.network);
        let cell = self.cell(source.network);
        if !is_known {
            let own = NETWORK.wait(self.networks[cell], now);
            let shared = STRANGERS.wait(self.strangers, now);
            let wait = if is_stranger { own.max(shared) } else { own };
            if !wait.is_zero() {
                return Guess::Unseen(wait);
            }
        }
        if is_right() {
            source
                .peer
                .into_iter()
                .for_each(|peer| remember(&mut self.known, peer));
            remember(&mut self.known_networks, source.network);
            return Guess::Right;
        }
        self.known.retain(|peer| Some(*peer) != source.peer);
        NETWORK.take(&mut self.networks[cell], now);
        if is_stranger {
            STRANGERS.take(&mut self.strangers, now);
        }
        Guess::Wrong
    }

    fn cell(&self, network: IpAddr) -> usize {
        let mut hasher = DefaultHasher::new();
        (self.seed, network).hash(&mut hasher);
        usize::try_from(hasher.finish() % CELLS as u64).unwrap_or(0)
    }
}

/// Moves the most recent one to the end.
fn remember<T: PartialEq>(known: &mut VecDeque<T>, one: T) {
    known.retain(|other| *other != one);
    if known.len() >= KNOWN_MAX {
        known.pop_front();
    }
    known.push_back(one);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const START: Timestamp = Timestamp(1_800_000_000_000);

    fn guesses() -> Guesses {
        Guesses::new([7; 16])
    }

    fn at(seconds: u64) -> Timestamp {
        START.plus(Duration::from_secs(seconds))
    }

    fn from(address: u32, port: u16) -> Source {
        let network = Ipv4Addr::from_bits(address).into();
        Source {
            peer: Some(SocketAddr::new(network, port)),
            network,
        }
    }

    /// How many of `count` wrong guesses are checked.
    fn seen(guesses: &mut Guesses, count: u32, now: Timestamp, source: impl Fn(u32) -> Source) -> usize {
        let looked = (0..count).filter(|n| guesses.look(source(*n), now, || false) == Guess::Wrong);
        looked.count()
    }

    #[test]
    fn few_wrong_passwords_are_looked_at_however_many_come() {
        let check = |what: &str, source: fn(u32) -> Source, at_once: usize, in_an_hour: usize| {
            let mut guesses = guesses();
            assert_eq!(seen(&mut guesses, 10_000, at(0), source), at_once, "{what}");
            let later = (1..=3600).map(|s| seen(&mut guesses, 100, at(s), source));
            assert_eq!(later.sum::<usize>(), in_an_hour, "{what}");
        };
        check("one connection", |_| from(1, 1), 20, 720);
        check("one address", |n| from(1, u16::try_from(n).unwrap()), 20, 720);
        check("many addresses", |n| from(n, 1), 100, 3600);
    }

    #[test]
    fn who_brought_the_right_password_before_is_not_kept_out_by_others() {
        let mut guesses = guesses();
        let right = |guesses: &mut Guesses, source, now| guesses.look(source, now, || true);
        assert_eq!(right(&mut guesses, from(1, 1), at(0)), Guess::Right);
        seen(&mut guesses, 10_000, at(0), |n| from(100 + n, 1));
        // On the known connection, and on a new one.
        assert_eq!(right(&mut guesses, from(1, 1), at(0)), Guess::Right);
        assert_eq!(right(&mut guesses, from(1, 2), at(0)), Guess::Right);
        // A right password from elsewhere is limited like any guess.
        let unseen = right(&mut guesses, from(2, 1), at(0));
        assert_eq!(unseen, Guess::Unseen(Duration::from_secs(1)));
        assert_eq!(right(&mut guesses, from(2, 1), at(1)), Guess::Right);
        // Guesses from its own network block new connections of that network, but not the known one.
        assert_eq!(seen(&mut guesses, 10_000, at(1), |_| from(1, 9)), 20);
        assert_eq!(right(&mut guesses, from(1, 1), at(1)), Guess::Right);
        assert_eq!(
            right(&mut guesses, from(1, 3), at(1)),
            Guess::Unseen(Duration::from_secs(5))
        );
        assert_eq!(right(&mut guesses, from(1, 3), at(6)), Guess::Right);
    }

    #[test]
    fn a_connection_that_a_proxy_shares_among_clients_is_not_known() {
        let mut guesses = guesses();
        let proxied = |address| Source {
            peer: None,
            ..from(address, 1)
        };
        assert_eq!(guesses.look(proxied(1), at(0), || true), Guess::Right);
        assert_eq!(seen(&mut guesses, 100, at(0), |_| proxied(1)), 20);
        let next = guesses.look(proxied(1), at(0), || true);
        assert_eq!(next, Guess::Unseen(Duration::from_secs(5)));
        assert_eq!(guesses.look(proxied(2), at(0), || true), Guess::Right);
    }

    #[test]
    fn a_connection_is_known_until_it_brings_a_wrong_password() {
        let mut guesses = guesses();
        assert_eq!(guesses.look(from(1, 1), at(0), || true), Guess::Right);
        assert_eq!(
            seen(&mut guesses, 100, at(0), |_| from(1, 1)),
            20,
            "the last one of them as any other"
        );
        for port in 0..200 {
            guesses.look(from(2, port), at(0), || true);
        }
        assert_eq!(
            (guesses.known.len(), guesses.known_networks.len()),
            (KNOWN_MAX, 2)
        );
    }
}
