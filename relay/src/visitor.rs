//! Pseudonymous visitors: an address in the documentation prefix instead of the client's own.
//!
//! Plausible tells visitors apart by address, agent and site (contract b.4). The relay gives it an
//! address made by a keyed hash of the real one, the full User-Agent and the site. The key is random,
//! lives in memory only, is replaced at 00:00 UTC, and destroyed once nobody uses it any more; then
//! nobody, we included, can tell whose address it was or recognise the visitor on another day.

use crate::clock::{self, Moment};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a Plausible session lives after its last event (contract b.4).
const SESSION: Duration = Duration::from_secs(30 * 60);
/// Most visitors of the last half hour that are remembered across midnight. Above it, further ones
/// begin a new session at midnight, as they would with any other tool.
const RECENT_MAX: usize = 200_000;

type Key = [u8; 32];

/// Makes pseudonymous addresses.
pub struct Visitors {
    state: Mutex<State>,
    random: fn() -> Key,
}

struct State {
    day: i64,
    today: Key,
    /// Yesterday's key, while a session that began under it is alive.
    yesterday: Option<Key>,
    /// When each address was last given out, and of which day the key was that made it.
    recent: HashMap<Ipv6Addr, (Moment, i64)>,
}

impl std::fmt::Debug for Visitors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Visitors(hidden)")
    }
}

impl Visitors {
    /// Starts with a fresh key.
    pub fn new(now: Moment) -> Self {
        Self::with_random(now, clock::random)
    }

    fn with_random(now: Moment, random: fn() -> Key) -> Self {
        let state = State {
            day: now.utc_day(),
            today: random(),
            yesterday: None,
            recent: HashMap::new(),
        };
        Self {
            state: Mutex::new(state),
            random,
        }
    }

    /// The address of a visitor of a site at a moment. The same for all events of a day, and of a
    /// session that runs over midnight.
    pub fn address(&self, site: &str, client: IpAddr, user_agent: &str, now: Moment) -> Ipv6Addr {
        let mut state = self.lock();
        state.turn_the_day(now, self.random);
        let under = |key: &Key| pseudonym(key, site, client, user_agent);
        let carried = state
            .yesterday
            .as_ref()
            .map(under)
            .filter(|address| state.is_live(address, now));
        let (address, day) = match carried {
            Some(address) => (address, state.day - 1),
            None => (under(&state.today), state.day),
        };
        state.note(address, day, now);
        address
    }

    /// Destroys keys whose time is over, even when no visitor comes. To be called now and then.
    pub fn tend(&self, now: Moment) {
        let mut state = self.lock();
        state.turn_the_day(now, self.random);
        state.forget_idle(now);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Changes the key at midnight UTC. A clock that jumps back changes nothing.
    fn turn_the_day(&mut self, now: Moment, random: fn() -> Key) {
        let day = now.utc_day();
        if day > self.day {
            let last = std::mem::replace(&mut self.today, random());
            // After a longer gap no session can be alive.
            self.yesterday = (day == self.day + 1).then_some(last);
            self.day = day;
            self.forget_idle(now);
        }
    }

    fn is_live(&self, address: &Ipv6Addr, now: Moment) -> bool {
        self.recent
            .get(address)
            .is_some_and(|(seen, _)| now.since(*seen) < SESSION)
    }

    fn note(&mut self, address: Ipv6Addr, day: i64, now: Moment) {
        // `tend` makes room; doing it here would cost every request of a flood a look at all of them.
        if self.recent.len() >= RECENT_MAX && !self.recent.contains_key(&address) {
            return;
        }
        self.recent.insert(address, (now, day));
    }

    /// Forgets visitors whose session is over, and yesterday's key with the last of its sessions.
    fn forget_idle(&mut self, now: Moment) {
        self.recent.retain(|_, (seen, _)| now.since(*seen) < SESSION);
        if !self.recent.values().any(|(_, day)| *day < self.day) {
            self.yesterday = None;
        }
    }
}

/// 96 bits of a keyed hash behind 2001:db8::/32, which is reserved for documentation and so is
/// nobody's address. The full agent goes in, so that coarsening it merges no two visitors.
fn pseudonym(key: &Key, site: &str, client: IpAddr, user_agent: &str) -> Ipv6Addr {
    #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any key length is fine");
    let client = match client.to_canonical() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        // Temporary addresses change within a day; the network a client is in does not.
        IpAddr::V6(v6) => {
            let mut octets = v6.octets();
            octets[8..].fill(0);
            octets
        }
    };
    mac.update(&client);
    // Lengths keep "ab" + "c" and "a" + "bc" apart.
    mac.update(&(site.len() as u64).to_be_bytes());
    mac.update(site.as_bytes());
    mac.update(user_agent.as_bytes());
    let hash = mac.finalize().into_bytes();
    let mut octets = [0; 16];
    octets[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    octets[4..].copy_from_slice(&hash[..12]);
    octets.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU8, Ordering};

    const MINUTE: i64 = 60_000;
    const DAY: i64 = 24 * 60 * MINUTE;

    fn visitors(now: i64) -> Visitors {
        fn next() -> Key {
            static N: AtomicU8 = AtomicU8::new(0);
            [N.fetch_add(1, Ordering::Relaxed); 32]
        }
        Visitors::with_random(Moment(now), next)
    }

    fn of(visitors: &Visitors, client: &str, now: i64) -> Ipv6Addr {
        visitors.address(
            "panel.example.com",
            client.parse().unwrap(),
            "Agent/1",
            Moment(now),
        )
    }

    #[test]
    fn a_visitor_keeps_one_address_all_day_and_two_visitors_have_two() {
        let v = visitors(0);
        let jane = of(&v, "192.0.2.1", 0);
        assert_eq!(jane.segments()[..2], [0x2001, 0xdb8]);
        assert_eq!(of(&v, "192.0.2.1", DAY - 1), jane);
        assert_eq!(of(&v, "::ffff:192.0.2.1", 5), jane);
        assert_ne!(of(&v, "192.0.2.2", 0), jane);
        let client = "192.0.2.1".parse().unwrap();
        assert_ne!(v.address("other.example.com", client, "Agent/1", Moment(0)), jane);
        assert_ne!(v.address("panel.example.com", client, "Agent/2", Moment(0)), jane);
    }

    #[test]
    fn an_ipv6_visitor_is_its_network() {
        let v = visitors(0);
        assert_eq!(of(&v, "2a00:1:2:3:aaaa::1", 0), of(&v, "2a00:1:2:3:bbbb::2", 0));
        assert_ne!(of(&v, "2a00:1:2:3::1", 0), of(&v, "2a00:1:2:4::1", 0));
    }

    #[test]
    fn a_live_session_keeps_its_address_over_midnight_and_an_idle_visitor_gets_a_new_one() {
        let v = visitors(0);
        let live = of(&v, "192.0.2.1", DAY - 10 * MINUTE);
        let idle = of(&v, "192.0.2.2", DAY - 40 * MINUTE);
        assert_eq!(of(&v, "192.0.2.1", DAY + 15 * MINUTE), live);
        assert_eq!(of(&v, "192.0.2.1", DAY + 40 * MINUTE), live);
        assert_ne!(of(&v, "192.0.2.2", DAY + 15 * MINUTE), idle);
        // The session ends half an hour after its last event; then the new day's key counts.
        let rested = of(&v, "192.0.2.1", DAY + 75 * MINUTE);
        assert_ne!(rested, live);
        assert_eq!(of(&v, "192.0.2.1", DAY + 80 * MINUTE), rested);
    }

    #[test]
    fn nobody_is_recognised_after_a_longer_gap() {
        let v = visitors(0);
        let first = of(&v, "192.0.2.1", DAY - 1);
        assert_ne!(of(&v, "192.0.2.1", 3 * DAY), first);
        assert!(v.state.lock().unwrap().yesterday.is_none());
    }

    #[test]
    fn yesterdays_key_goes_with_the_last_of_its_sessions() {
        let v = visitors(0);
        let has_old_key = || v.lock().yesterday.is_some();
        of(&v, "192.0.2.1", DAY - 10 * MINUTE);
        v.tend(Moment(DAY));
        assert!(has_old_key());
        of(&v, "192.0.2.1", DAY + 15 * MINUTE);
        of(&v, "192.0.2.2", DAY + 40 * MINUTE);
        v.tend(Moment(DAY + 44 * MINUTE));
        assert!(has_old_key());
        v.tend(Moment(DAY + 46 * MINUTE));
        assert!(!has_old_key());
    }

    #[test]
    fn a_clock_that_jumps_back_changes_no_key() {
        let v = visitors(DAY);
        let jane = of(&v, "192.0.2.1", DAY + 5);
        assert_eq!(of(&v, "192.0.2.1", 5), jane);
        assert_eq!(of(&v, "192.0.2.1", DAY + 6), jane);
    }
}
