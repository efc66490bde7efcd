//! The visitors seen before: a Bloom filter of two generations.
//!
//! A visitor is its pseudonym, a keyed hash of client, agent and site that changes daily, so the filter holds neither
//! addresses nor anything that outlives the day. Its size is fixed.

use std::net::Ipv6Addr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Bits in a generation: half a megabyte.
const BITS: u32 = 1 << 22;
/// Bits per visitor.
const HASHES: usize = 4;
/// Visitors in a generation. With more, the next one begins early, and a visitor not seen since the start of the
/// previous one counts as new again. At this number one new visitor in 400 passes for known.
const GENERATION_MAX: u32 = 256 * 1024;
/// Length of a generation: pseudonyms change once a day.
const GENERATION: Duration = Duration::from_secs(86_400);

/// The visitors of the last day or two.
pub(super) struct Known(Mutex<Generations>);

struct Generations {
    current: Filter,
    before: Filter,
    began: Duration,
}

impl Known {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Generations {
            current: Filter::new(),
            before: Filter::new(),
            began: Duration::ZERO,
        }))
    }

    /// Whether a visitor was added before. `now` counts from the start of the process.
    pub(super) fn has(&self, visitor: Ipv6Addr, now: Duration) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.turn(now);
        if known.current.has(visitor) {
            return true;
        }
        let is_known = known.before.has(visitor);
        if is_known {
            known.current.add(visitor);
        }
        is_known
    }

    pub(super) fn add(&self, visitor: Ipv6Addr) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.current.add(visitor);
    }
}

impl Generations {
    fn turn(&mut self, now: Duration) {
        let age = now.saturating_sub(self.began);
        if age >= GENERATION || self.current.added >= GENERATION_MAX {
            self.before = std::mem::replace(&mut self.current, Filter::new());
            self.began = now;
        }
    }
}

struct Filter {
    words: Box<[u64]>,
    added: u32,
}

impl Filter {
    fn new() -> Self {
        Self {
            words: vec![0; BITS as usize / 64].into(),
            added: 0,
        }
    }

    fn has(&self, visitor: Ipv6Addr) -> bool {
        places(visitor).all(|(word, bit)| self.words[word] & bit != 0)
    }

    fn add(&mut self, visitor: Ipv6Addr) {
        places(visitor).for_each(|(word, bit)| self.words[word] |= bit);
        self.added = self.added.saturating_add(1);
    }
}

/// The bits of a visitor. The pseudonym's last twelve bytes are already a keyed hash: three for each bit.
fn places(visitor: Ipv6Addr) -> impl Iterator<Item = (usize, u64)> {
    let octets = visitor.octets();
    (0..HASHES).map(move |i| {
        let at = 4 + 3 * i;
        let hash = u32::from_be_bytes([0, octets[at], octets[at + 1], octets[at + 2]]);
        let bit = hash % BITS;
        ((bit / 64) as usize, 1 << (bit % 64))
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::pseudonym as visitor;
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_visitor_is_known_until_it_stays_away_for_a_generation() {
        let known = Known::new();
        assert!(!known.has(visitor(1), Duration::ZERO));
        known.add(visitor(1));
        known.add(visitor(2));
        for hour in [0, 23, 25, 47, 49, 71] {
            assert!(known.has(visitor(1), HOUR * hour), "{hour}");
        }
        assert!(!known.has(visitor(2), HOUR * 71), "it stayed away");
    }

    #[test]
    fn more_visitors_than_a_generation_holds_begin_the_next_one() {
        let known = Known::new();
        let all = u64::from(GENERATION_MAX);
        (0..all).for_each(|n| known.add(visitor(n)));
        let taken_for_known = (all..all + 10_000).filter(|n| known.has(visitor(*n), Duration::ZERO));
        let taken_for_known = taken_for_known.count();
        assert!(taken_for_known < 60, "{taken_for_known} of 10000");
        assert!(known.has(visitor(0), Duration::ZERO), "from the one before");
        (all..2 * all).for_each(|n| known.add(visitor(n)));
        assert!(known.has(visitor(0), Duration::ZERO), "seen again, so kept");
        let gone = (1..1001).filter(|n| !known.has(visitor(*n), Duration::ZERO));
        assert!(gone.count() > 990);
    }
}
