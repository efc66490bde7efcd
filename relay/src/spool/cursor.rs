//! The lanes read waiting events for delivery, oldest first, each visitor's events in order.

use super::record::{self, Unreadable};
use super::tail::{PARK_MAX, Tail};
use super::unlisted::{LANE, Unlisted};
use super::{Spool, Waiting, millis};
use crate::clock::Timestamp;
use crate::store::StoreError;
use relay_event::Outcome;
use rusqlite::{CachedStatement, Connection, OptionalExtension, Params, params};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Tells the courier in which lanes something arrived.
#[derive(Debug, Default)]
pub(super) struct Bell {
    /// Each lane at most once.
    rung: Mutex<Vec<usize>>,
    /// `Notify` keeps one notification until the courier waits for it.
    any: Notify,
}

/// The state of a lane.
#[derive(Debug)]
pub(super) struct LaneState {
    number: usize,
    bell: Arc<Bell>,
    /// Whether it rang the bell since the courier last looked.
    has_rung: AtomicBool,
    /// The position up to which the lane has read due parked events.
    cursor: Mutex<Cursor>,
    /// The events that it reads from memory.
    pub(super) tail: Tail,
}

/// A position in the order in which parked events come due: by time in milliseconds since 1970, then by number. The lane
/// has not read the events after it. Only the writer changes it.
#[derive(Clone, Copy, Debug)]
struct Cursor(i64, i64);

impl Default for Cursor {
    /// Before all events.
    fn default() -> Self {
        Self(i64::MIN, 0)
    }
}

impl Cursor {
    /// After all events that are due at a moment.
    fn all_due(now: Timestamp) -> Self {
        Self(now.0, i64::MAX)
    }
}

/// The lanes, and the events that their index does not list.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) lanes: Arc<[LaneState]>,
    pub(super) unlisted: Unlisted,
}

impl Places {
    /// The lane of a new event, and whether its row must be listed, because the lane will not get it from memory. If that
    /// changes before the commit, a listed or unlisted row is still found.
    pub(super) fn of(&self, bucket: u16) -> (usize, bool) {
        let lane = usize::from(bucket) % self.lanes.len();
        let is_unlisted = self.lanes[lane].tail.keeps_up() && self.unlisted.has_room();
        (lane, !is_unlisted)
    }
}

impl LaneState {
    /// One of several lanes, which share the bell and the count of the events in memory.
    pub(super) fn new(number: usize, bell: &Arc<Bell>, in_all: &Arc<AtomicUsize>) -> Self {
        Self {
            number,
            bell: Arc::clone(bell),
            has_rung: AtomicBool::new(false),
            cursor: Mutex::default(),
            tail: Tail::new(in_all),
        }
    }

    /// Tells the courier that an event arrived.
    pub(super) fn ring(&self) {
        if !self.has_rung.swap(true, Ordering::SeqCst) {
            let mut rung = self.bell.rung.lock().unwrap_or_else(PoisonError::into_inner);
            rung.push(self.number);
            drop(rung);
            self.bell.any.notify_one();
        }
    }

    /// Rewinds the cursor, so that every parked event that is due is read again, and wakes the lane.
    pub(super) fn rewind(&self) {
        *self.cursor() = Cursor::default();
        self.tail.forget();
        self.ring();
    }

    /// Whether the clock was set back since the lane was last read.
    fn is_ahead_of(&self, now: Timestamp) -> bool {
        self.cursor().0 > now.0
    }

    /// Moves the cursor back with a clock that was set back: an event that is no longer due is read again when it is due.
    fn follow(&self, now: Timestamp) {
        if self.is_ahead_of(now) {
            *self.cursor() = Cursor::all_due(now);
            self.tail.forget();
        }
    }

    /// A plain value, so a panic elsewhere leaves it usable.
    fn cursor(&self) -> MutexGuard<'_, Cursor> {
        self.cursor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The result of reading a lane.
struct Look {
    waiting: Vec<Waiting>,
    unreadable: Vec<(i64, Outcome)>,
    /// The highest number read, if there may be more after it.
    up_to: Option<i64>,
    /// The position up to which it read due parked events.
    cursor: Cursor,
    /// Whether no other event waits.
    has_all: bool,
    /// When the next parked event comes due.
    next_due: Option<Timestamp>,
}

/// A lane's read from disk.
struct Query {
    lane: usize,
    unlisted: Unlisted,
    /// The number after which it reads.
    after: i64,
    /// Most events that it returns.
    count: usize,
    now: Timestamp,
    purges: u64,
}

/// An event found, with its due time and its number.
type Found = (i64, i64, Result<Waiting, Unreadable>);

/// Events that are parked and due after a cursor.
const DUE: &str = "SELECT seq, bucket, site, stored_at, record, not_before, 1 FROM spool
    WHERE lane = ?1 AND seq <= ?2 AND not_before >= ?3 AND not_before <= ?4 AND (not_before > ?3 OR seq > ?6)
    ORDER BY not_before, seq LIMIT ?5";
/// Events after a number that are not parked, or due.
const NEXT: &str = "SELECT seq, bucket, site, stored_at, record, 0, not_before IS NOT NULL FROM spool
    WHERE lane = ?1 AND seq > ?2 AND (not_before IS NULL OR not_before <= ?3 OR not_before > ?4)
    ORDER BY seq LIMIT ?5";
/// An unlisted event. None of them is parked.
const ONE: &str =
    "SELECT seq, bucket, site, stored_at, record, 0, 0 FROM spool WHERE seq = ?1 AND lane IS NULL";

impl Query {
    fn run(&self, db: &Connection, Cursor(time, number): Cursor) -> rusqlite::Result<Look> {
        let (after, now, count) = (self.after, self.now.0, self.count);
        let mut found = Vec::new();
        let due = (self.lane, after, time, now, count, number);
        self.read(&mut db.prepare_cached(DUE)?, due, &mut found)?;
        // The cursor stops at the last returned one.
        let cursor = match found.last() {
            Some((due, seq, _)) if found.len() == count => Cursor(*due, *seq),
            _ => Cursor::all_due(self.now),
        };
        if found.len() < count {
            let far = now.saturating_add(millis(PARK_MAX));
            let next = (self.lane, after, now, far, count);
            self.read(&mut db.prepare_cached(NEXT)?, next, &mut found)?;
            self.read_unlisted(db, &mut found)?;
        }
        let (has_all, next_due) = (found.len() < count, next_due(db, self.lane, self.now)?);
        found.sort_unstable_by_key(|(_, seq, _)| *seq);
        found.truncate(count);
        let mut look = Look {
            waiting: Vec::new(),
            unreadable: Vec::new(),
            up_to: found.last().map(|(_, seq, _)| after.max(*seq)),
            cursor,
            has_all,
            next_due,
        };
        for (_, seq, event) in found {
            match event {
                Ok(event) => look.waiting.push(event),
                Err(why) => look.unreadable.push((seq, why.outcome())),
            }
        }
        Ok(look)
    }

    /// Reads by an index of the lane: a backlog in one does not slow down the others.
    fn read(
        &self,
        select: &mut CachedStatement<'_>,
        parameters: impl Params,
        found: &mut Vec<Found>,
    ) -> rusqlite::Result<()> {
        let mut rows = select.query(parameters)?;
        while let Some(row) = rows.next()? {
            let seq = row.get(0)?;
            let event = record::read(row, 1).map(|scrubbed| Waiting {
                seq,
                // The record was readable, so this is a number.
                stored_at: Timestamp(row.get(3).unwrap_or_default()),
                was_parked: row.get(6).unwrap_or_default(),
                scrubbed,
                purges: self.purges,
            });
            found.push((row.get(5)?, seq, event));
        }
        Ok(())
    }

    /// Reads the events that the index does not list.
    fn read_unlisted(&self, db: &Connection, found: &mut Vec<Found>) -> rusqlite::Result<()> {
        let mut select = db.prepare_cached(ONE)?;
        let enough = found.len() + self.count;
        for seq in self.unlisted.of_lane(self.lane, self.after) {
            if found.len() == enough {
                break;
            }
            self.read(&mut select, [seq], found)?;
        }
        Ok(())
    }
}

impl Spool {
    /// Waits until an event has arrived since the last call, and returns the lanes of those that have. Cancel safe.
    pub async fn arrivals(&self) -> Vec<usize> {
        self.bell.any.notified().await;
        let rung = std::mem::take(&mut *self.bell.rung.lock().unwrap_or_else(PoisonError::into_inner));
        for lane in &rung {
            self.lanes[*lane].has_rung.store(false, Ordering::SeqCst);
        }
        rung
    }

    /// The next events of a lane, like [`Spool::take`], if they are in memory; `None` if the disk must be read.
    pub fn take_from_memory(&self, lane: usize, after: i64, count: usize) -> Option<Vec<Waiting>> {
        let (now, from) = (self.ages.now(), &self.lanes[lane]);
        match from.is_ahead_of(now) {
            true => None,
            false => from.tail.take(after, count, now),
        }
    }

    /// When the next parked event of a lane comes due, as the last reading found; `None` if none is parked.
    pub fn next_due(&self, lane: usize) -> Option<Timestamp> {
        self.lanes[lane].tail.next_due()
    }

    /// The number of lanes that share the buckets.
    pub fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// The oldest events of a lane after a number, in order: at most `count`, possibly fewer than there are, but none only
    /// if there are none.
    ///
    /// Due parked events come first, once, regardless of `after`, because they are older; with `after` 0 all due ones come
    /// again. Other parked events are left out.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn take(&self, lane: usize, after: i64, count: usize) -> Result<Vec<Waiting>, StoreError> {
        if let Some(tail) = self.take_from_memory(lane, after, count) {
            return Ok(tail);
        }
        let mut after = after;
        loop {
            let look = self.look(lane, after, count).await?;
            if !look.unreadable.is_empty() {
                // If the disk refuses, they are skipped, and a later read finds them again.
                let _ = self.quarantine(look.unreadable).await;
            }
            match look.up_to {
                Some(up_to) if look.waiting.is_empty() => after = up_to,
                _ => return Ok(look.waiting),
            }
        }
    }

    async fn look(&self, lane: usize, after: i64, count: usize) -> Result<Look, StoreError> {
        let query = Query {
            lane,
            unlisted: self.unlisted.clone(),
            after,
            count,
            now: self.ages.now(),
            purges: self.purges.load(Ordering::SeqCst),
        };
        let lanes = Arc::clone(&self.lanes);
        let work = move |db: &Connection| {
            lanes[lane].follow(query.now);
            let cursor = *lanes[lane].cursor();
            query.run(db, cursor)
        };
        let lanes = Arc::clone(&self.lanes);
        let after = move |look: Result<&Look, &StoreError>| {
            if let Ok(look) = look {
                *lanes[lane].cursor() = look.cursor;
                let given = look.up_to.unwrap_or(after);
                lanes[lane].tail.looked(given, look.has_all, look.next_due);
            }
        };
        self.store.write(work, after).await
    }

    /// Parks an event until a moment, at most an hour ahead, so that later events of its lane pass it. A time in the past
    /// is clamped to now + 1 ms: the cursor is already past it. The event still counts, and expires by age. Does nothing if
    /// it is gone already.
    ///
    /// # Errors
    /// If the change did not reach the disk; the event is not parked then.
    pub async fn park(&self, seq: i64, until: Timestamp) -> Result<(), StoreError> {
        let now = self.ages.now();
        let until = until
            .0
            .clamp(now.0.saturating_add(1), now.0.saturating_add(millis(PARK_MAX)));
        let (lanes, count) = (Arc::clone(&self.lanes), self.lanes());
        let work = move |db: &Connection| {
            // A parked event is found by an index only.
            let sql =
                format!("UPDATE spool SET not_before = ?3, lane = {LANE} WHERE seq = ?1 RETURNING lane");
            let mut set = db.prepare_cached(&sql)?;
            set.query_row(params![seq, count, until], |row| row.get::<_, usize>(0))
                .optional()
        };
        let unlisted = self.unlisted.clone();
        let after = move |lane: Result<&Option<usize>, &StoreError>| {
            if let Ok(Some(lane)) = lane {
                unlisted.forget([seq]);
                let lane = &lanes[*lane];
                lane.follow(now);
                lane.tail.parked(Timestamp(until));
            }
        };
        self.store.write(work, after).await.map(drop)
    }
}

/// The earliest due time after a moment among a lane's parked events.
fn next_due(db: &Connection, lane: usize, beyond: Timestamp) -> rusqlite::Result<Option<Timestamp>> {
    let next: Option<i64> = db
        .prepare_cached("SELECT min(not_before) FROM spool WHERE lane = ?1 AND not_before > ?2")?
        .query_row(params![lane, beyond.0], |row| row.get(0))?;
    Ok(next.map(Timestamp))
}
