//! The waiting events that the index of the lanes does not list.
//!
//! A lane that keeps up gets its events from memory, and most of them are settled within milliseconds. An index entry would
//! cost as much as the row, so their rows have no lane on disk, and this map is their index: a lane that reads the disk looks
//! here too. A start lists all of them, and each sweep those that still wait.

use rusqlite::{Connection, params};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most unlisted events. Further ones are listed as they are stored, so the map is bounded, and so is the work of a sweep.
pub(super) const UNLISTED_MAX: usize = 4096;

/// The lane of a row, of ?2 lanes. A damaged bucket has a lane too, which finds the damage.
pub(super) const LANE: &str = "abs(bucket % ?2)";

/// The unlisted events by number. Only the writer changes it. It may name rows that are gone, or were never committed; an
/// unlisted row that is not in it would not be sent before the next start.
#[derive(Clone, Debug, Default)]
pub(super) struct Unlisted(Arc<Mutex<Events>>);

type Events = BTreeMap<i64, Event>;

/// An unlisted event.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) lane: usize,
    pub(super) site: Arc<str>,
    /// Its bytes of `spool.bytes_max`.
    pub(super) bytes: u64,
}

impl Unlisted {
    /// Whether one more event can be left unlisted.
    pub(super) fn has_room(&self) -> bool {
        self.lock().len() < UNLISTED_MAX
    }

    /// Notes whether a new row is listed. A transaction that was rolled back may have used its number for another row.
    pub(super) fn note(&self, seq: i64, event: Option<Event>) {
        let mut events = self.lock();
        match event {
            Some(event) => events.insert(seq, event),
            None => events.remove(&seq),
        };
    }

    /// The site of an event, and its bytes.
    pub(super) fn space(&self, seq: i64) -> Option<(Arc<str>, u64)> {
        let events = self.lock();
        let event = events.get(&seq)?;
        Some((Arc::clone(&event.site), event.bytes))
    }

    /// The numbers of a lane's events after a number, in order.
    pub(super) fn of_lane(&self, lane: usize, after: i64) -> Vec<i64> {
        let events = self.lock();
        let later = events.range(after.saturating_add(1)..);
        later
            .filter(|(_, event)| event.lane == lane)
            .map(|(seq, _)| *seq)
            .collect()
    }

    /// Forgets events that are gone or listed, after the commit.
    pub(super) fn forget(&self, seqs: impl IntoIterator<Item = i64>) {
        let mut events = self.lock();
        for seq in seqs {
            events.remove(&seq);
        }
    }

    /// Lists all events, and returns their numbers, to be forgotten after the commit.
    pub(super) fn list(&self, db: &Connection) -> rusqlite::Result<Vec<i64>> {
        let events = self.lock();
        let mut list = db.prepare_cached("UPDATE spool SET lane = ?2 WHERE seq = ?1")?;
        for (seq, event) in events.iter() {
            list.execute(params![seq, event.lane])?;
        }
        Ok(events.keys().copied().collect())
    }

    /// Whether no event is unlisted.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Each entry is complete, so a panic elsewhere leaves it usable.
    fn lock(&self) -> MutexGuard<'_, Events> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Desk, START};
    use super::*;
    use crate::clock::{Clock, Timestamp};
    use crate::store::{self, Store};
    use relay_event::Outcome;

    /// The numbers that are on disk, and those that are listed.
    async fn stored(desk: &Desk) -> (Vec<i64>, Vec<i64>) {
        let read = |db: &Connection| {
            let rows = |sql: &str| {
                db.prepare(sql)?
                    .query_map([], |row| row.get(0))?
                    .collect::<rusqlite::Result<Vec<i64>>>()
            };
            let listed = "SELECT seq FROM spool INDEXED BY spool_lane WHERE lane IS NOT NULL ORDER BY seq";
            Ok((rows("SELECT seq FROM spool ORDER BY seq")?, rows(listed)?))
        };
        desk.store.run(read).await.unwrap()
    }

    async fn take(desk: &Desk, after: i64) -> Vec<i64> {
        let taken = desk.spool.take(0, after, 99).await.unwrap();
        taken.iter().map(|event| event.seq).collect()
    }

    async fn append(desk: &Desk, count: usize) {
        for _ in 0..count {
            desk.append("e", 1).await.unwrap();
        }
    }

    #[tokio::test]
    async fn only_events_that_do_not_reach_their_lane_from_memory_are_listed() {
        let desk = Desk::in_memory(1).await;
        append(&desk, 1).await;
        assert_eq!(
            stored(&desk).await,
            (vec![1], vec![1]),
            "no lane has read the disk"
        );
        assert_eq!(take(&desk, 0).await, [1]);
        append(&desk, 2).await;
        assert_eq!(stored(&desk).await, (vec![1, 2, 3], vec![1]));
        assert_eq!(take(&desk, 1).await, [2, 3]);
        assert_eq!(
            take(&desk, 0).await,
            [1, 2, 3],
            "the lane starts over, and reads the disk"
        );
        append(&desk, 1).await;
        let settled = vec![(1, Outcome::Delivered), (2, Outcome::Delivered)];
        desk.spool.settle(settled, |_| Ok(())).await.unwrap();
        assert_eq!(stored(&desk).await, (vec![3, 4], vec![]));
        let due = Timestamp(START + 10);
        desk.spool.park(3, due).await.unwrap();
        assert_eq!(stored(&desk).await.1, [3], "a parked event is found by an index");
        desk.spool.sweep().await.unwrap();
        assert_eq!(stored(&desk).await.1, [3, 4], "a sweep lists what still waits");
        assert!(desk.spool.unlisted.is_empty());
        assert_eq!(take(&desk, 0).await, [4]);
    }

    #[tokio::test]
    async fn a_start_lists_what_waits_in_the_lanes_that_it_has() {
        let desk = Desk::in_memory(1).await;
        assert_eq!(take(&desk, 0).await, [0; 0]);
        append(&desk, 2).await;
        assert_eq!(stored(&desk).await, (vec![1, 2], vec![]));
        // The process dies: the next one knows only the disk.
        for lanes in [1, 2] {
            let next = Desk::open(desk.store.clone(), &desk.clock, 1 << 20, lanes).await;
            assert_eq!(stored(&next).await.1, [1, 2]);
            let lane = next.spool.take(lanes - 1, 0, 99).await.unwrap();
            assert_eq!(lane.len(), 2, "{lanes} lanes");
        }
    }

    #[tokio::test]
    async fn a_row_that_was_rolled_back_hides_none_that_got_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::inline(store::open(folder.path()).unwrap());
        let desk = Desk::open(store, &Clock::standing_at(Timestamp(START)), 1 << 20, 1).await;
        desk.switches
            .set(super::super::tests::SITE, true, "test")
            .await
            .unwrap();
        assert_eq!(take(&desk, 0).await, [0; 0]);
        let refuse =
            "CREATE TEMP TRIGGER refuse AFTER INSERT ON main.spool BEGIN SELECT RAISE(ABORT, 'full'); END;";
        desk.store.run(move |db| db.execute_batch(refuse)).await.unwrap();
        assert_eq!(desk.append("e", 1).await, Err(Outcome::SpoolUnavailable));
        desk.store
            .run(|db| db.execute_batch("DROP TRIGGER refuse"))
            .await
            .unwrap();
        desk.spool.lanes[0].tail.forget();
        append(&desk, 1).await;
        assert_eq!(stored(&desk).await.1, [1]);
        assert_eq!(take(&desk, 0).await, [1]);
        assert_eq!(take(&desk, 0).await, [1]);
    }

    #[tokio::test]
    async fn the_number_of_unlisted_events_is_bounded() {
        let desk = Desk::in_memory(1).await;
        assert_eq!(take(&desk, 0).await, [0; 0]);
        let event = |seq| Event {
            lane: 0,
            site: "s".into(),
            bytes: seq,
        };
        for seq in 1..UNLISTED_MAX as u64 {
            let number = i64::try_from(seq).unwrap() + 100;
            desk.spool.unlisted.note(number, Some(event(seq)));
        }
        append(&desk, 2).await;
        assert_eq!(stored(&desk).await, (vec![1, 2], vec![2]));
        assert_eq!(take(&desk, 0).await, [1, 2]);
        // None of the others is there: a sweep forgets them.
        desk.spool.sweep().await.unwrap();
        assert!(desk.spool.unlisted.is_empty());
    }
}
