//! Pseudonymous visitors: an address in the documentation prefix instead of the client's own.
//!
//! Plausible distinguishes visitors by address, agent and site (contract b.4). The relay sends it an address made by a
//! keyed hash of the real one, the full User-Agent, the site and, from the module of a user who opted in, a random value
//! of the day. The key is random, lives in memory only, is replaced at 00:00 UTC, and is destroyed once no session uses
//! it. After that the address cannot be recovered, not even by the relay's operator, and the visitor cannot be recognised
//! on another day.

use crate::clock::{self, Timestamp};
use crate::digest::hmac;
use crate::hidden::hidden_debug;
use hmac::Mac;
use relay_event::DayValues;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a Plausible session lives after its last event (contract b.4). An event at exactly that moment still belongs
/// to it: an address kept slightly too long merges nothing, since Plausible then begins a new session by itself, while
/// one changed too early splits a visit.
const SESSION: Duration = Duration::from_secs(30 * 60);
/// Most visitors of the last half hour that are remembered across midnight. Above it, further ones begin a new session at
/// midnight, as with any other tool.
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
    /// The key of the day before, or of the day after if the clock was set back over midnight, while a session that began
    /// under it is alive.
    beside: Option<Beside>,
    /// When each address was last used, and the day of the key that made it.
    recent: HashMap<Ipv6Addr, (Timestamp, i64)>,
}

/// A visitor's address, and the day of the key that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pseudonym {
    /// The address that leaves.
    pub address: Ipv6Addr,
    day: i64,
}

/// The key of a day that is not today.
struct Beside {
    day: i64,
    key: Key,
}

hidden_debug!(Visitors);

impl Visitors {
    /// Starts with a fresh key.
    pub fn new(now: Timestamp) -> Self {
        Self::with_random(now, clock::random)
    }

    fn with_random(now: Timestamp, random: fn() -> Key) -> Self {
        let state = State {
            day: now.utc_day(),
            today: random(),
            beside: None,
            recent: HashMap::new(),
        };
        Self {
            state: Mutex::new(state),
            random,
        }
    }

    /// The address of a visitor of a site at a moment. It is the same for all events of a day, and of a session that runs
    /// over midnight.
    ///
    /// A browser's own values distinguish it from others of its make behind one address. They change at the browser's
    /// midnight and the key at the relay's, in either order, so a visit that is alive under any pair of them continues.
    ///
    /// Does not remember the visitor before [`Visitors::note`], so that refused requests use no memory.
    pub fn pseudonym(
        &self,
        site: &str,
        client: IpAddr,
        user_agent: &str,
        values: DayValues,
        now: Timestamp,
    ) -> Pseudonym {
        let mut state = self.lock();
        state.turn_the_day(now, self.random);
        let under = |key: &Key, value| pseudonym(key, site, client, user_agent, value);
        let DayValues { today, before } = values;
        let (beside, day) = (state.beside.as_ref(), state.day);
        // The pairs under which an earlier visit can still be alive come before today's.
        let earlier = [
            beside
                .zip(before)
                .map(|(beside, value)| (&beside.key, Some(value), beside.day)),
            beside.map(|beside| (&beside.key, today, beside.day)),
            before.map(|value| (&state.today, Some(value), day)),
        ];
        let carried = earlier
            .into_iter()
            .flatten()
            .map(|(key, value, day)| (under(key, value), day))
            .find(|(address, _)| state.is_live(address, now));
        let (address, day) = carried.unwrap_or_else(|| (under(&state.today, today), day));
        Pseudonym { address, day }
    }

    /// Remembers a visitor, so that its visit keeps its address over midnight.
    pub fn note(&self, visitor: Pseudonym, now: Timestamp) {
        self.lock().note(visitor.address, visitor.day, now);
    }

    /// Destroys expired keys, even if no visitor comes. Call it periodically.
    pub fn tend(&self, now: Timestamp) {
        let mut state = self.lock();
        state.turn_the_day(now, self.random);
        state.forget_idle(now);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Switches to the key of the current day. A clock that steps back over midnight and forth finds the keys of both days;
    /// one that was set by days gets a new key, so that no address outlives its day.
    fn turn_the_day(&mut self, now: Timestamp, random: fn() -> Key) {
        let day = now.utc_day();
        if day == self.day {
            return;
        }
        let key = match self.beside.take() {
            Some(beside) if beside.day == day => beside.key,
            _ => random(),
        };
        let last = Beside {
            day: std::mem::replace(&mut self.day, day),
            key: std::mem::replace(&mut self.today, key),
        };
        // After a longer gap no session is alive.
        self.beside = Some(last).filter(|last| last.day.abs_diff(day) == 1);
        self.forget_idle(now);
    }

    /// Whether a visitor's session is alive. If it was last seen further ahead than a session lasts, the clock ran ahead
    /// then, and the session is over.
    fn is_live(&self, address: &Ipv6Addr, now: Timestamp) -> bool {
        self.recent
            .get(address)
            .is_some_and(|(seen, _)| is_within_a_session(now, *seen))
    }

    fn note(&mut self, address: Ipv6Addr, day: i64, now: Timestamp) {
        // `tend` makes room; doing it here would cost every request of a flood a scan of all of them.
        if self.recent.len() >= RECENT_MAX && !self.recent.contains_key(&address) {
            return;
        }
        self.recent.insert(address, (now, day));
    }

    /// Forgets visitors whose session is over, and the key beside today's with the last of its sessions.
    fn forget_idle(&mut self, now: Timestamp) {
        self.recent.retain(|_, (seen, _)| is_within_a_session(now, *seen));
        // A session older than yesterday's key has ended for Plausible too (contract b.4): it searches two days' ids only.
        let has_session = |day| self.recent.values().any(|(_, of)| *of == day);
        self.beside = self.beside.take().filter(|beside| has_session(beside.day));
    }
}

fn is_within_a_session(now: Timestamp, seen: Timestamp) -> bool {
    now.since(seen).max(seen.since(now)) <= SESSION
}

/// 96 bits of a keyed hash in 2001:db8::/32, which is reserved for documentation and belongs to no host. The full agent
/// is hashed, so that coarsening it merges no two visitors, and the browser's value of the day if there is one.
fn pseudonym(key: &Key, site: &str, client: IpAddr, user_agent: &str, value: Option<[u8; 16]>) -> Ipv6Addr {
    let mut mac = hmac(key);
    let client = match client.to_canonical() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        // Temporary addresses change within a day; the client's network does not.
        IpAddr::V6(v6) => {
            let mut octets = v6.octets();
            octets[8..].fill(0);
            octets
        }
    };
    mac.update(&client);
    // The input has the same length with and without a value.
    mac.update(&[u8::from(value.is_some())]);
    mac.update(&value.unwrap_or_default());
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
mod tests;
