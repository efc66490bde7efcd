//! The lanes: how what waits is read for delivery, oldest first, each visitor's events in order.

use super::fresh::Fresh;
use super::{BUCKETS, Spool, Waiting, millis, record};
use crate::clock::Moment;
use crate::store::StoreError;
use relay_event::Outcome;
use rusqlite::{Connection, OptionalExtension, params};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// Longest an event is parked. A longer time is cut to it, and one further away than it was written by a
/// clock that ran ahead: the event is due then.
const PARK_MAX: Duration = Duration::from_secs(3600);

/// What is kept of a lane.
#[derive(Debug)]
pub(super) struct Lane {
    /// Rung when something arrived.
    pub(super) bell: Notify,
    /// When it was last looked into, in milliseconds since 1970: parked events that came due since then are
    /// news to whoever takes from it.
    pub(super) looked: AtomicI64,
    /// What it is given without a look at the disk.
    pub(super) fresh: Fresh,
}

impl Default for Lane {
    fn default() -> Self {
        Self {
            bell: Notify::new(),
            looked: AtomicI64::new(i64::MIN),
            fresh: Fresh::default(),
        }
    }
}

/// One look into a lane.
struct Look {
    waiting: Vec<Waiting>,
    unreadable: Vec<(i64, Outcome)>,
    /// The highest number seen, where there may be more behind it.
    up_to: Option<i64>,
    /// Nothing else waits.
    has_all: bool,
    /// There was more than was asked for.
    more: bool,
    /// When the next parked event comes due.
    next_due: Option<Moment>,
}

impl Spool {
    /// Waits until something arrived for a lane since the last time it waited.
    pub async fn arrival(&self, lane: usize) {
        self.lanes[lane].bell.notified().await;
    }

    /// How many lanes share the buckets.
    pub fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// The oldest events of a lane after a number, in order. Lane `i` of `n` has the buckets that leave
    /// `i` when divided by `n`.
    ///
    /// Parked events are left out until their time has come. Those whose time came since the lane was last
    /// looked into are given whatever their number, and first, because they are older; from number 0 on, all
    /// that are due are.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn take(&self, lane: usize, after: i64, count: usize) -> Result<Vec<Waiting>, StoreError> {
        if let Some(fresh) = self.lanes[lane].fresh.take(after, count, self.clock.now()) {
            return Ok(fresh);
        }
        let mut after = after;
        loop {
            let look = self.look(lane, after, count).await?;
            if !look.unreadable.is_empty() {
                // Where the disk refuses this, they are passed over, and found again by a later look.
                let _ = self.quarantine(look.unreadable).await;
            }
            match look.up_to {
                Some(up_to) if look.waiting.is_empty() => after = up_to,
                _ => return Ok(look.waiting),
            }
        }
    }

    async fn look(&self, lane: usize, after: i64, count: usize) -> Result<Look, StoreError> {
        let now = self.clock.now();
        let looked = self.lanes[lane].looked.load(Ordering::Relaxed);
        let far = now.0.saturating_add(millis(PARK_MAX));
        let buckets: Vec<u8> = self.buckets(lane).collect();
        let work = move |db: &Connection| {
            let mut due = db.prepare_cached(
                "SELECT seq, bucket, site, stored_at, record, not_before IS NOT NULL FROM spool
                 WHERE bucket = ?1 AND seq <= ?2 AND not_before > ?3 AND not_before <= ?4
                 ORDER BY seq LIMIT ?5",
            )?;
            let mut next = db.prepare_cached(
                "SELECT seq, bucket, site, stored_at, record, not_before IS NOT NULL FROM spool
                 WHERE bucket = ?1 AND seq > ?2
                 AND (not_before IS NULL OR not_before <= ?3 OR not_before > ?4)
                 ORDER BY seq LIMIT ?5",
            )?;
            let read = |row: &rusqlite::Row<'_>| {
                let event = record::read(row, 1).map(|scrubbed| Waiting {
                    seq: 0,
                    // Readable, so it is a number.
                    stored_at: Moment(row.get(3).unwrap_or_default()),
                    was_parked: row.get(5).unwrap_or_default(),
                    scrubbed: Some(scrubbed),
                });
                Ok((row.get::<_, i64>(0)?, event))
            };
            let mut found = Vec::new();
            // One indexed look per bucket: a backlog in one does not slow the others down.
            for bucket in &buckets {
                for row in due.query_map(params![bucket, after, looked, now.0, count], read)? {
                    found.push(row?);
                }
                for row in next.query_map(params![bucket, after, now.0, far, count], read)? {
                    found.push(row?);
                }
            }
            let next_due = next_due(db, &buckets, now)?;
            found.sort_unstable_by_key(|(seq, _)| *seq);
            let (has_all, more) = (found.len() < count, found.len() > count);
            found.truncate(count);
            let (mut waiting, mut unreadable) = (Vec::new(), Vec::new());
            let up_to = found.last().map(|(seq, _)| *seq);
            for (seq, event) in found {
                match event {
                    Ok(event) => waiting.push(Waiting { seq, ..event }),
                    Err(why) => unreadable.push((seq, why.outcome())),
                }
            }
            Ok(Look {
                waiting,
                unreadable,
                up_to,
                has_all,
                more,
                next_due,
            })
        };
        // On the writer, so that nothing is stored between the look and what is noted of it.
        let lanes = Arc::clone(&self.lanes);
        let booked = move |look: Result<&Look, &StoreError>| {
            if let Ok(look) = look {
                lanes[lane].fresh.looked(
                    look.up_to.map_or(after, |up_to| up_to.max(after)),
                    look.has_all,
                    look.next_due,
                );
            }
        };
        let look = self.store.write(work, booked).await?;
        if !look.more {
            // What did not fit is still news.
            self.lanes[lane].looked.store(now.0, Ordering::Relaxed);
        }
        Ok(look)
    }

    fn buckets(&self, lane: usize) -> impl Iterator<Item = u8> + use<> {
        let lanes = self.lanes();
        (0..BUCKETS).filter(move |bucket| usize::from(*bucket) % lanes == lane)
    }

    /// Sets an event aside until a moment, an hour ahead at most, so that the later ones of its lane go on.
    /// It goes on counting, and expires by age as all others. Nothing happens when it is gone already.
    ///
    /// # Errors
    /// When the change did not reach the disk; the event is not parked then.
    pub async fn park(&self, seq: i64, until: Moment) -> Result<(), StoreError> {
        let until = until.0.min(self.clock.now().0.saturating_add(millis(PARK_MAX)));
        let lanes = Arc::clone(&self.lanes);
        let work = move |db: &Connection| {
            let sql = "UPDATE spool SET not_before = ?2 WHERE seq = ?1 RETURNING bucket";
            let mut set = db.prepare_cached(sql)?;
            set.query_row([seq, until], |row| row.get::<_, u8>(0)).optional()
        };
        let after = move |bucket: Result<&Option<u8>, &StoreError>| {
            if let Ok(Some(bucket)) = bucket {
                lanes[usize::from(*bucket) % lanes.len()]
                    .fresh
                    .parked(Moment(until));
            }
        };
        self.store.write(work, after).await.map(drop)
    }

    /// When the next parked event of a lane comes due; `None` when none is parked. It may lie in the past
    /// while an event that was due has not been settled.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn next_parked(&self, lane: usize) -> Result<Option<Moment>, StoreError> {
        let buckets: Vec<u8> = self.buckets(lane).collect();
        self.store
            .run(move |db| next_due(db, &buckets, Moment(i64::MIN)))
            .await
    }
}

/// When the next event that is parked beyond a moment comes due.
fn next_due(db: &Connection, buckets: &[u8], beyond: Moment) -> rusqlite::Result<Option<Moment>> {
    let mut first =
        db.prepare_cached("SELECT min(not_before) FROM spool WHERE bucket = ?1 AND not_before > ?2")?;
    let mut next: Option<i64> = None;
    for bucket in buckets {
        let first: Option<i64> = first.query_row(params![bucket, beyond.0], |row| row.get(0))?;
        next = [next, first].into_iter().flatten().min();
    }
    Ok(next.map(Moment))
}
