//! The reader of a lane: takes events, settles them at once or late or twice, parks them, asks.

use super::reference::SITES;
use super::world::{Gone, InHand, World, waiting};
use crate::clock::Timestamp;
use crate::spool::{Waiting, millis};
use crate::store::{self, StoreError};
use relay_event::Outcome;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

impl World {
    /// Takes the events after the last one returned, or all again.
    pub(super) async fn take(&mut self, lane: usize, again: bool, count: usize) {
        if again {
            self.readers[lane].done = 0;
        }
        let after = self.readers[lane].done;
        let spool = &self.desk.as_ref().unwrap().spool;
        let taken = spool.take(lane, after, count).await;
        self.judge(lane, after, count, taken, i64::MAX);
    }

    /// Checks the taken events. Events after a certain number arrived meanwhile, and may be missing.
    pub(super) fn judge(
        &mut self,
        lane: usize,
        after: i64,
        count: usize,
        taken: Result<Vec<Waiting>, StoreError>,
        meanwhile: i64,
    ) {
        let taken = match taken {
            Ok(taken) => taken,
            Err(error) => {
                assert!(self.busy.is_some(), "nothing is in the way: {error}");
                return;
            }
        };
        let seqs: Vec<i64> = taken.iter().map(|event| event.seq).collect();
        let before = self.reference.clone();
        let has_new = seqs.last().is_some_and(|last| *last > meanwhile);
        let mut new = BTreeMap::new();
        if !has_new && meanwhile < i64::MAX {
            new = self.reference.waiting.split_off(&(meanwhile + 1));
        }
        let (mut given, mut damaged) = self.expect(lane, after, count);
        self.reference.waiting.append(&mut new);
        if !seqs.is_empty() && seqs.len() < given.len() {
            // A lane gets its events from memory before it reads the rest.
            self.reference = before;
            (given, damaged) = self.expect(lane, after, seqs.len());
        }
        assert_eq!(seqs, given, "what is due comes, in order, and nothing else");
        for event in taken {
            let (expected, got) = (&self.reference.waiting[&event.seq], event.scrubbed);
            assert!(got == expected.event(), "it is what was stored");
            assert_eq!(event.stored_at.0, expected.stored_at);
            assert_eq!(event.was_parked, expected.not_before.is_some());
            let reader = &mut self.readers[lane];
            reader.done = reader.done.max(event.seq);
            reader.hand.retain(|known| known.seq != event.seq);
            reader.hand.push(InHand {
                seq: event.seq,
                site: expected.site,
                purges: Some(event.purges),
                gone: None,
            });
        }
        let there = waiting(&store::open_to_look(self.folder.path()).unwrap());
        for seq in damaged {
            let moved = there.iter().all(|(number, _)| *number != seq);
            assert!(moved || self.full, "a damaged record stays in its lane");
            if moved {
                self.reference.quarantine(seq);
            }
        }
    }

    /// The events that a lane should get, and the unreadable ones on the way: the lane skips those until there is an event
    /// to return.
    fn expect(&mut self, lane: usize, mut after: i64, count: usize) -> (Vec<i64>, Vec<i64>) {
        let mut damaged = Vec::new();
        loop {
            let look = self.reference.look(lane, after, count);
            damaged.extend(look.damaged);
            match look.up_to {
                Some(up_to) if look.given.is_empty() => after = up_to,
                _ => return (look.given, damaged),
            }
        }
    }

    /// Settles the events in hand whose bits are set; if `keep`, they stay in hand to be settled again.
    pub(super) async fn settle(&mut self, lane: usize, which: u64, outcome: Outcome, keep: bool) {
        let hand = &mut self.readers[lane].hand;
        let mut bits = (0..).map(|n| which >> (n % 64) & 1 == 1);
        let chosen: Vec<i64> = hand
            .iter()
            .filter(|_| bits.next() == Some(true))
            .map(|event| event.seq)
            .collect();
        let spool = &self.desk.as_ref().unwrap().spool;
        let endings = chosen.iter().map(|seq| (*seq, outcome));
        // Twice in one transaction counts once.
        let twice = endings.clone().take(usize::from(keep));
        let settled = spool
            .settle(endings.clone().chain(twice).collect(), |_| Ok(()))
            .await;
        if let Err(error) = settled {
            assert!(self.is_hindered(), "nothing is in the way: {error}");
            return;
        }
        self.reference.remove(outcome, |seq, _| chosen.contains(&seq));
        if !keep {
            let hand = &mut self.readers[lane].hand;
            hand.retain(|event| !chosen.contains(&event.seq));
        }
    }

    /// Parks one of the events in hand.
    pub(super) async fn park(&mut self, lane: usize, n: usize, wait: i64) {
        let hand = &mut self.readers[lane].hand;
        if hand.is_empty() {
            return;
        }
        let seq = hand.remove(n % hand.len()).seq;
        let now = self.clock.now().0;
        let parked = self
            .desk()
            .spool
            .park(seq, Timestamp(now.saturating_add(wait)))
            .await;
        if let Err(error) = parked {
            assert!(self.is_hindered(), "nothing is in the way: {error}");
            return;
        }
        // At least a millisecond, at most an hour.
        let until = now + wait.clamp(1, millis(Duration::from_secs(3600)));
        if let Some(event) = self.reference.waiting.get_mut(&seq) {
            (event.not_before, event.is_read) = (Some(until), false);
            self.reference.return_again_what_is_not_due(lane);
        }
    }

    /// Asks everything that a lane asks besides taking events.
    pub(super) async fn ask(&mut self, lane: usize) {
        let desk = self.desk.as_ref().unwrap();
        if let Ok(arrived) = tokio::time::timeout(Duration::ZERO, desk.spool.arrivals()).await {
            let lanes = BTreeSet::from_iter(arrived.iter().copied());
            assert_eq!(lanes.len(), arrived.len(), "each lane once");
            self.rung.extend(lanes);
        }
        let was_rung = std::mem::take(&mut self.reference.bells[lane]);
        assert_eq!(self.rung.remove(&lane), was_rung, "the bell");
        for event in &mut self.readers[lane].hand {
            let Some(read_at) = event.purges else {
                continue;
            };
            let known = self.reference.waiting.get(&event.seq);
            let may_be_purged = desk.spool.purges() != read_at;
            assert!(
                may_be_purged || event.gone != Some(Gone::Operator),
                "{event:?} is purged"
            );
            let site = desk.switches.site(SITES[event.site]).unwrap();
            if let Some(permit) = site.permit() {
                let purged = site.has_purged(event.seq, &permit);
                assert!(!purged || known.is_none(), "{event:?} still waits");
                assert!(purged || event.gone != Some(Gone::Switch), "{event:?} is purged");
            }
        }
    }
}
