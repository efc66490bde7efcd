//! The part of held sites that a lane keeps in memory: the first event of each of a few visitors, to probe with, and how much
//! it passed over. All else is on disk, and read from there when the hold ends.

use super::deliver::Pending;
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

/// Where an event stands among those of its site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing of the site is held here.
    Free,
    /// Something is, but of other visitors: the event may probe.
    First,
    /// An earlier event of its visitor is held, or may be.
    Behind,
}

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn sites(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    /// Where an event stands that is not among the held ones.
    pub(super) fn place(&self, pending: &Pending) -> Place {
        let Some(site) = self.0.get(pending.scrubbed.site()) else {
            return Place::Free;
        };
        let visitor = pending.scrubbed.visitor();
        let mut visitors = site.first.iter().map(|first| first.scrubbed.visitor());
        let kept: usize = self.0.values().map(|site| site.first.len()).sum();
        let has_room = site.first.is_empty() || (site.first.len() < VISITORS_MAX && kept < EVENTS_MAX);
        match has_room && visitors.all(|held| held != visitor) {
            true => Place::First,
            false => Place::Behind,
        }
    }

    /// Holds an event. Returns whether it was not counted before.
    pub(super) fn keep(&mut self, mut pending: Pending) -> bool {
        let place = self.place(&pending);
        let site = self.0.entry(pending.scrubbed.site().to_owned()).or_default();
        let is_new = !std::mem::replace(&mut pending.is_counted, true);
        site.events += i64::from(is_new);
        if place != Place::Behind {
            if pending.scrubbed.engagement().is_some() {
                // Plausible drops it when its session has ended, which says nothing about the site: a last resort.
                pending.probes = pending.probes.max(PENALTIES_MAX);
            }
            site.first.push(pending);
        }
        is_new
    }

    /// In how many probes the event was dropped that is to probe next; `None` when there is none.
    pub(super) fn fewest_probes(&self, site: &str) -> Option<u32> {
        let first = self.0.get(site)?.first.iter();
        first.map(|pending| pending.probes).min()
    }

    /// Takes the event that is to probe next. It is to be held again, or the lane begins again.
    pub(super) fn take_least_tried(&mut self, site: &str) -> Option<Pending> {
        let first = &mut self.0.get_mut(site)?.first;
        let least = (0..first.len()).min_by_key(|at| first[*at].probes)?;
        Some(first.remove(least))
    }

    /// Forgets all, and returns how many events of which site that were.
    pub(super) fn clear(&mut self) -> impl Iterator<Item = (String, i64)> {
        let all = std::mem::take(&mut self.0).into_iter();
        all.map(|(site, held)| (site, held.events))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Moment;
    use crate::spool::Waiting;
    use crate::spool::tests::{OTHER_SITE, SITE, event_of};

    fn pending(site: &str, seq: i64, visitor: u8) -> Pending {
        let waiting = Waiting {
            seq,
            stored_at: Moment(0),
            was_parked: false,
            scrubbed: Some(event_of(site, "e", visitor)),
            purges: 0,
        };
        Pending::of(waiting).unwrap()
    }

    #[test]
    fn each_visitors_first_event_probes_in_turn_and_none_overtakes_another_of_its_visitor() {
        let mut held = Held::default();
        assert_eq!(held.place(&pending(SITE, 1, 1)), Place::Free);
        assert!(held.keep(pending(SITE, 1, 1)));
        assert_eq!(
            held.place(&pending(SITE, 2, 1)),
            Place::Behind,
            "the same visitor"
        );
        assert_eq!(held.place(&pending(SITE, 3, 2)), Place::First, "another visitor");
        assert_eq!(
            held.place(&pending(OTHER_SITE, 4, 1)),
            Place::Free,
            "another site"
        );
        assert!(held.keep(pending(SITE, 2, 1)), "it is counted, and not kept");
        assert!(held.keep(pending(SITE, 3, 2)));
        let mut tried = Vec::new();
        for _ in 0..4 {
            let mut probe = held.take_least_tried(SITE).unwrap();
            tried.push(probe.seq);
            probe.probes += 1;
            assert!(!held.keep(probe), "it was counted before");
        }
        assert_eq!(tried, [1, 3, 1, 3]);
        assert_eq!(held.fewest_probes(SITE), Some(2));
        assert!(held.keep(pending(SITE, 5, 3)));
        assert_eq!(
            held.take_least_tried(SITE).unwrap().seq,
            5,
            "one never tried goes first"
        );
        assert_eq!(held.clear().collect::<Vec<_>>(), [(SITE.to_owned(), 4)]);
        assert!(held.is_empty());
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
        assert_eq!(held.place(&pending(SITE, 100, visitors)), Place::Behind);
        held.keep(pending(SITE, 100, visitors));
        let probe = held.take_least_tried(SITE).unwrap();
        assert_eq!(
            held.place(&probe),
            Place::First,
            "the probe comes back to its place"
        );
        held.keep(probe);
        let want = (SITE.to_owned(), i64::from(visitors) + 1);
        assert_eq!(held.clear().collect::<Vec<_>>(), [want]);
    }
}
