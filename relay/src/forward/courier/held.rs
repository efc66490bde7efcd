//! A lane's in-memory state of held sites: the first event of each of a few visitors, to probe with, and the number of
//! events it passed over. All other events are on disk, and the lane reads them when the hold ends.

use super::pending::Pending;
use crate::forward::acceptance::PENALTIES_MAX;
use std::collections::BTreeMap;

/// Visitors of one held site whose first events a lane keeps. Those of further visitors wait until the hold ends, and
/// do not probe.
const VISITORS_MAX: usize = 8;
/// Events that a lane keeps of all held sites together, besides one of each site. Beyond it only the first visitor of a
/// site probes from this lane.
const EVENTS_MAX: usize = 64;

/// Held events, by site.
#[derive(Debug, Default)]
pub(super) struct Held(BTreeMap<String, HeldSite>);

#[derive(Debug, Default)]
struct HeldSite {
    /// Each visitor's first event, for the visitors that fit; the one tried last comes last.
    first: Vec<Pending>,
    /// Events passed over since the lane began at the beginning.
    events: i64,
}

/// The position of an event among those of its site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    /// No event of the site is held here.
    Free,
    /// Only events of other visitors are held: this event may probe.
    First,
    /// An earlier event of its visitor is held, or may be.
    Behind,
}

impl Held {
    pub(super) fn sites(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    /// The position of an event that is not held itself.
    pub(super) fn position(&self, pending: &Pending) -> Position {
        let Some(site) = self.0.get(pending.event.scrubbed.site()) else {
            return Position::Free;
        };
        let visitor = pending.event.scrubbed.visitor();
        let mut visitors = site.first.iter().map(|first| first.event.scrubbed.visitor());
        let kept: usize = self.0.values().map(|site| site.first.len()).sum();
        let has_space = site.first.is_empty() || (site.first.len() < VISITORS_MAX && kept < EVENTS_MAX);
        match has_space && visitors.all(|held| held != visitor) {
            true => Position::First,
            false => Position::Behind,
        }
    }

    /// Holds an event. Returns whether it was not counted before.
    pub(super) fn keep(&mut self, mut pending: Pending) -> bool {
        let position = self.position(&pending);
        let site = self
            .0
            .entry(pending.event.scrubbed.site().to_owned())
            .or_default();
        let is_new = !std::mem::replace(&mut pending.is_counted, true);
        site.events += i64::from(is_new);
        if position != Position::Behind {
            if pending.event.scrubbed.engagement().is_some() {
                // Plausible drops it if its session has ended, which says nothing about the site: a last resort.
                pending.probes = pending.probes.max(PENALTIES_MAX);
            }
            site.first.push(pending);
        }
        is_new
    }

    /// The number of probes in which the next event to probe was dropped; `None` without one.
    pub(super) fn fewest_probes(&self, site: &str) -> Option<u32> {
        let first = self.0.get(site)?.first.iter();
        first.map(|pending| pending.probes).min()
    }

    /// Takes the event that is to probe next. The caller holds it again, or rewinds the lane.
    pub(super) fn take_least_tried(&mut self, site: &str) -> Option<Pending> {
        let first = &mut self.0.get_mut(site)?.first;
        let least = (0..first.len()).min_by_key(|at| first[*at].probes)?;
        Some(first.remove(least))
    }

    /// Removes all, and returns the number of events of each site.
    pub(super) fn clear(&mut self) -> impl Iterator<Item = (String, i64)> {
        let all = std::mem::take(&mut self.0).into_iter();
        all.map(|(site, held)| (site, held.events))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::spool::Waiting;
    use crate::spool::tests::{OTHER_SITE, SITE, event_of};

    fn pending(site: &str, seq: i64, visitor: u8) -> Pending {
        let waiting = Waiting {
            seq,
            stored_at: Timestamp(0),
            was_parked: false,
            scrubbed: event_of(site, "e", visitor),
            purges: 0,
        };
        Pending::of(waiting)
    }

    #[test]
    fn each_visitors_first_event_probes_in_turn_and_none_overtakes_another_of_its_visitor() {
        let mut held = Held::default();
        assert_eq!(held.position(&pending(SITE, 1, 1)), Position::Free);
        assert!(held.keep(pending(SITE, 1, 1)));
        assert_eq!(
            held.position(&pending(SITE, 2, 1)),
            Position::Behind,
            "the same visitor"
        );
        assert_eq!(
            held.position(&pending(SITE, 3, 2)),
            Position::First,
            "another visitor"
        );
        assert_eq!(
            held.position(&pending(OTHER_SITE, 4, 1)),
            Position::Free,
            "another site"
        );
        assert!(held.keep(pending(SITE, 2, 1)), "it is counted, and not kept");
        assert!(held.keep(pending(SITE, 3, 2)));
        let mut tried = Vec::new();
        for _ in 0..4 {
            let mut probe = held.take_least_tried(SITE).unwrap();
            tried.push(probe.event.seq);
            probe.probes += 1;
            assert!(!held.keep(probe), "it was counted before");
        }
        assert_eq!(tried, [1, 3, 1, 3]);
        assert_eq!(held.fewest_probes(SITE), Some(2));
        assert!(held.keep(pending(SITE, 5, 3)));
        assert_eq!(
            held.take_least_tried(SITE).unwrap().event.seq,
            5,
            "one never tried goes first"
        );
        assert_eq!(held.clear().collect::<Vec<_>>(), [(SITE.to_owned(), 4)]);
        assert!(held.sites().is_empty());
    }

    #[test]
    fn however_many_sites_are_held_each_has_one_event_to_probe_with_and_few_have_more() {
        let mut held = Held::default();
        let sites: Vec<String> = (0..100).map(|n| format!("{n}.example")).collect();
        for site in &sites {
            for visitor in 0..9 {
                held.keep(pending(site, i64::from(visitor) + 1, visitor));
            }
        }
        let kept = |held: &Held| held.0.values().map(|site| site.first.len()).sum::<usize>();
        assert!(kept(&held) <= EVENTS_MAX + sites.len(), "{} events", kept(&held));
        for site in &sites {
            assert_eq!(held.fewest_probes(site), Some(0), "{site}");
        }
        let events: i64 = held.clear().map(|(_, events)| events).sum();
        assert_eq!(events, 900, "all are counted");
    }

    #[test]
    fn the_first_events_of_a_few_visitors_are_kept_and_the_others_only_counted() {
        let mut held = Held::default();
        let visitors = u8::try_from(VISITORS_MAX).unwrap();
        for visitor in 0..visitors {
            held.keep(pending(SITE, visitor.into(), visitor));
        }
        assert_eq!(held.position(&pending(SITE, 100, visitors)), Position::Behind);
        held.keep(pending(SITE, 100, visitors));
        let probe = held.take_least_tried(SITE).unwrap();
        assert_eq!(
            held.position(&probe),
            Position::First,
            "the probe comes back to its place"
        );
        held.keep(probe);
        let want = (SITE.to_owned(), i64::from(visitors) + 1);
        assert_eq!(held.clear().collect::<Vec<_>>(), [want]);
    }
}
