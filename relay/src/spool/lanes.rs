//! The lanes: how what waits is read for delivery, oldest first, each visitor's events in order.

use super::fresh::Fresh;
use super::{BUCKETS, Spool, Waiting, millis, record};
use crate::clock::Moment;
use crate::store::StoreError;
use relay_event::Outcome;
use rusqlite::{Connection, OptionalExtension, params};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Longest an event is parked. A longer time is cut to it, and one further away than it was written by a
/// clock that ran ahead: the event is due then.
pub(super) const PARK_MAX: Duration = Duration::from_secs(3600);

/// What is kept of a lane.
#[derive(Debug)]
pub(super) struct Lane {
    /// Rung when something arrived.
    pub(super) bell: Notify,
    /// Up to where parked events that came due were told.
    told: Mutex<Told>,
    /// What it is given without a look at the disk.
    pub(super) fresh: Fresh,
}

impl Default for Lane {
    fn default() -> Self {
        Self {
            bell: Notify::new(),
            told: Mutex::new(Told::NOTHING),
            fresh: Fresh::default(),
        }
    }
}

/// A place in the order in which parked events come due: by time in milliseconds since 1970, then by number.
/// What comes behind it is news to whoever takes from the lane. Changed on the writer alone.
#[derive(Clone, Copy, Debug)]
struct Told(i64, i64);

impl Told {
    const NOTHING: Self = Self(i64::MIN, 0);

    /// All that is due at a moment.
    fn all_due(now: Moment) -> Self {
        Self(now.0, i64::MAX)
    }
}

impl Lane {
    /// Makes every parked event that is due news again, and tells.
    pub(super) fn begin_again(&self) {
        *self.told() = Told::NOTHING;
        self.fresh.forget();
        self.bell.notify_one();
    }

    /// Whether the clock was set back since it was last looked into.
    fn is_ahead_of(&self, now: Moment) -> bool {
        self.told().0 > now.0
    }

    /// What is not due any more by a clock that was set back is news again when it comes due.
    fn follow(&self, now: Moment) {
        if self.is_ahead_of(now) {
            *self.told() = Told::all_due(now);
            self.fresh.forget();
        }
    }

    /// A plain value, which a panic elsewhere leaves usable.
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One look into a lane.
struct Look {
    waiting: Vec<Waiting>,
    unreadable: Vec<(i64, Outcome)>,
    /// The highest number seen, where there may be more behind it.
    up_to: Option<i64>,
    /// Up to where the parked ones that came due are among them.
    told: Told,
    /// Nothing else waits.
    has_all: bool,
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

    /// The oldest events of a lane after a number, in order: at most so many, and perhaps fewer than there are,
    /// but nothing only when there is nothing. Lane `i` of `n` has the buckets that leave
    /// `i` when divided by `n`.
    ///
    /// Parked events are left out until their time has come. Then they are given once whatever their number,
    /// and first, because they are older; from number 0 on, all that are due are given again.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn take(&self, lane: usize, after: i64, count: usize) -> Result<Vec<Waiting>, StoreError> {
        let (now, from) = (self.ages.now(), &self.lanes[lane]);
        if !from.is_ahead_of(now)
            && let Some(fresh) = from.fresh.take(after, count, now)
        {
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
        let now = self.ages.now();
        let far = now.0.saturating_add(millis(PARK_MAX));
        let buckets: Vec<u8> = self.buckets(lane).collect();
        let (lanes, purges) = (Arc::clone(&self.lanes), self.purges.load(Ordering::SeqCst));
        let work = move |db: &Connection| {
            let mut due = db.prepare_cached(
                "SELECT seq, bucket, site, stored_at, record, not_before, 1 FROM spool
                 WHERE bucket = ?1 AND seq <= ?2 AND not_before >= ?3 AND not_before <= ?4
                 AND (not_before > ?3 OR seq > ?6)
                 ORDER BY not_before, seq LIMIT ?5",
            )?;
            let mut next = db.prepare_cached(
                "SELECT seq, bucket, site, stored_at, record, 0, not_before IS NOT NULL FROM spool
                 WHERE bucket = ?1 AND seq > ?2
                 AND (not_before IS NULL OR not_before <= ?3 OR not_before > ?4)
                 ORDER BY seq LIMIT ?5",
            )?;
            let read = |row: &rusqlite::Row<'_>| {
                let event = record::read(row, 1).map(|scrubbed| Waiting {
                    seq: 0,
                    // Readable, so it is a number.
                    stored_at: Moment(row.get(3).unwrap_or_default()),
                    was_parked: row.get(6).unwrap_or_default(),
                    scrubbed: Some(scrubbed),
                    purges,
                });
                Ok((row.get::<_, i64>(5)?, row.get::<_, i64>(0)?, event))
            };
            // One indexed look per bucket: a backlog in one does not slow the others down.
            lanes[lane].follow(now);
            let Told(time, number) = *lanes[lane].told();
            let mut found = Vec::new();
            for bucket in &buckets {
                for row in due.query_map(params![bucket, after, time, now.0, count, number], read)? {
                    found.push(row?);
                }
            }
            found.sort_unstable_by_key(|(due, seq, _)| (*due, *seq));
            found.truncate(count);
            // What did not fit is still news.
            let told = match found.last() {
                Some((due, seq, _)) if found.len() == count => Told(*due, *seq),
                _ => Told::all_due(now),
            };
            if found.len() < count {
                for bucket in &buckets {
                    for row in next.query_map(params![bucket, after, now.0, far, count], read)? {
                        found.push(row?);
                    }
                }
            }
            let (has_all, next_due) = (found.len() < count, next_due(db, &buckets, now)?);
            found.sort_unstable_by_key(|(_, seq, _)| *seq);
            found.truncate(count);
            let (mut waiting, mut unreadable) = (Vec::new(), Vec::new());
            let up_to = found.last().map(|(_, seq, _)| after.max(*seq));
            for (_, seq, event) in found {
                match event {
                    Ok(event) => waiting.push(Waiting { seq, ..event }),
                    Err(why) => unreadable.push((seq, why.outcome())),
                }
            }
            Ok(Look {
                waiting,
                unreadable,
                up_to,
                told,
                has_all,
                next_due,
            })
        };
        let lanes = Arc::clone(&self.lanes);
        let tell = move |look: Result<&Look, &StoreError>| {
            if let Ok(look) = look {
                *lanes[lane].told() = look.told;
                let given = look.up_to.unwrap_or(after);
                lanes[lane].fresh.looked(given, look.has_all, look.next_due);
            }
        };
        self.store.write(work, tell).await
    }

    fn buckets(&self, lane: usize) -> impl Iterator<Item = u8> + use<> {
        let lanes = self.lanes();
        (0..BUCKETS).filter(move |bucket| usize::from(*bucket) % lanes == lane)
    }

    /// Sets an event aside until a moment, an hour ahead at most, so that the later ones of its lane go on. A
    /// moment that has passed is the next one: what was due before has been told. The event goes on counting,
    /// and expires by age as all others. Nothing happens when it is gone already.
    ///
    /// # Errors
    /// When the change did not reach the disk; the event is not parked then.
    pub async fn park(&self, seq: i64, until: Moment) -> Result<(), StoreError> {
        let now = self.ages.now();
        let until = until
            .0
            .clamp(now.0.saturating_add(1), now.0.saturating_add(millis(PARK_MAX)));
        let lanes = Arc::clone(&self.lanes);
        let work = move |db: &Connection| {
            let sql = "UPDATE spool SET not_before = ?2 WHERE seq = ?1 RETURNING bucket";
            let mut set = db.prepare_cached(sql)?;
            set.query_row([seq, until], |row| row.get::<_, u8>(0)).optional()
        };
        let after = move |bucket: Result<&Option<u8>, &StoreError>| {
            if let Ok(Some(bucket)) = bucket {
                let lane = &lanes[usize::from(*bucket) % lanes.len()];
                lane.follow(now);
                lane.fresh.parked(Moment(until));
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
