//! The spool: what may leave and has not been delivered yet, on disk.
//!
//! It takes [`Scrubbed`] and nothing else. An event is in it from the fsync that its 202 waited for
//! until Plausible answered, or until it expires, is purged or cannot be read any more; each of these
//! is booked in the ledger by the transaction that deletes it, so nothing is counted twice.

mod rows;
#[cfg(test)]
mod tests;

pub use rows::{Removed, delete};

use crate::clock::{Clock, Moment};
use crate::config::SpoolConfig;
use crate::guard::Scrubbed;
use crate::metrics::Metrics;
use crate::metrics::ledger::Ticket;
use crate::store::{Store, StoreError};
use crate::switch::Permit;
use relay_event::{EventId, Outcome};
use rows::{ROW_OVERHEAD, Row, Stored, insert, oldest};
use rusqlite::{Connection, OptionalExtension, params};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, Notify};

/// Buckets that visitors are spread over. A bucket is worked off in order, so a visitor's events are.
pub const BUCKETS: u8 = 64;
/// How long an event id is remembered, so that a repeated batch is stored once.
const SEEN_FOR: Duration = Duration::from_secs(3600);
/// Most event ids remembered. Above it the oldest are forgotten early.
const SEEN_MAX: u32 = 1_000_000;
/// How often the database is tried out at most.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// Longest an event is parked. A longer time is cut to it, and one further away than it was written by a
/// clock that ran ahead: the event is due then.
const PARK_MAX: Duration = Duration::from_secs(3600);

/// An event on its way onto the disk. The permit keeps the switch from being answered "off" while the
/// event is in the writer's hands.
#[derive(Debug)]
pub struct Incoming {
    /// What may leave.
    pub scrubbed: Scrubbed,
    /// The sender's id for it.
    pub id: Option<EventId>,
    /// Its place in the ledger.
    pub ticket: Ticket,
    /// The leave to store it.
    pub permit: Arc<Permit>,
}

/// An event read back for delivery.
#[derive(Debug)]
pub struct Waiting {
    /// Its number in the spool.
    pub seq: i64,
    /// When it was stored.
    pub stored_at: Moment,
    /// The event, or `None` when the record cannot be read.
    pub scrubbed: Option<Scrubbed>,
}

/// What is kept of a lane.
#[derive(Debug)]
struct Lane {
    /// Rung when something arrived.
    bell: Notify,
    /// When it was last looked into, in milliseconds since 1970: parked events that came due since then are
    /// news to whoever takes from it.
    looked: AtomicI64,
}

/// A handle to the spool. Clones share it.
#[derive(Clone, Debug)]
pub struct Spool {
    store: Store,
    metrics: Arc<Metrics>,
    clock: Clock,
    limits: SpoolConfig,
    bytes: Arc<AtomicU64>,
    lanes: Arc<[Lane]>,
    /// When the database was last tried out, and whether it could be written.
    probed: Arc<Mutex<Option<(Moment, bool)>>>,
}

impl Spool {
    /// Opens the spool and books in what it holds. The buckets are shared out among 1 to [`BUCKETS`] lanes.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn open(
        store: Store,
        metrics: Arc<Metrics>,
        clock: Clock,
        limits: SpoolConfig,
        lanes: usize,
    ) -> Result<Self, StoreError> {
        let (events, bytes) = store
            .run(|db| {
                db.query_row(
                    "SELECT count(*), coalesce(sum(length(record)), 0) FROM spool",
                    [],
                    |row| Ok((row.get::<_, u64>(0)?, row.get::<_, u64>(1)?)),
                )
            })
            .await?;
        let bytes = Arc::new(AtomicU64::new(bytes + events * ROW_OVERHEAD));
        metrics.ledger.recover(events);
        let spool = Self {
            store,
            metrics,
            clock,
            limits,
            bytes,
            lanes: (0..lanes.clamp(1, usize::from(BUCKETS)))
                .map(|_| Lane {
                    bell: Notify::new(),
                    looked: AtomicI64::new(i64::MIN),
                })
                .collect(),
            probed: Arc::default(),
        };
        spool.sweep().await?;
        Ok(spool)
    }

    /// Waits until something arrived for a lane since the last time it waited.
    pub async fn arrival(&self, lane: usize) {
        self.lanes[lane].bell.notified().await;
    }

    /// How many lanes share the buckets.
    pub fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// Stores a batch in one transaction and answers after its fsync: for each event `None` when it is
    /// stored, else how it ended.
    pub async fn append(&self, batch: Vec<Incoming>) -> Vec<Option<Outcome>> {
        let started = Instant::now();
        let now = self.clock.now();
        let rows: Vec<Row> = batch.iter().map(Row::of).collect();
        // Reserved before it is written, so that batches that wait for the same commit cannot together
        // take more than there is.
        let reserved: u64 = rows.iter().map(Row::bytes).sum();
        let taken = self.bytes.fetch_add(reserved, Ordering::Relaxed);
        let room = (self.limits.bytes_max as u64).saturating_sub(taken);
        let buckets: Vec<u8> = rows.iter().map(|row| row.bucket).collect();
        let count = batch.len();
        let after = {
            let spool = self.clone();
            move |result: Result<&Vec<Stored>, &StoreError>| spool.book(batch, &buckets, reserved, result)
        };
        let written = self
            .store
            .write(move |db| insert(db, &rows, now, room), after)
            .await;
        self.metrics
            .spool_write_duration
            .observe(started.elapsed().as_secs_f64());
        match written {
            Ok(stored) => stored.iter().map(|s| s.outcome()).collect(),
            Err(_) => vec![Some(Outcome::SpoolUnavailable); count],
        }
    }

    /// Runs on the writer thread after the commit.
    fn book(
        &self,
        batch: Vec<Incoming>,
        buckets: &[u8],
        reserved: u64,
        result: Result<&Vec<Stored>, &StoreError>,
    ) {
        let mut unused = reserved;
        let Ok(stored) = result else {
            self.bytes.fetch_sub(unused, Ordering::Relaxed);
            for incoming in batch {
                incoming.ticket.end(Outcome::SpoolUnavailable);
            }
            return;
        };
        for (incoming, stored) in batch.into_iter().zip(stored) {
            match stored {
                Stored::Yes(bytes) => {
                    unused -= bytes;
                    incoming.ticket.spooled();
                }
                Stored::Duplicate => incoming.ticket.end(Outcome::Duplicate),
                Stored::Full => incoming.ticket.end(Outcome::SpoolFull),
            }
        }
        let bytes = self.bytes.fetch_sub(unused, Ordering::Relaxed) - unused;
        if unused < reserved {
            let oldest = match self.metrics.ledger.counts().spool_oldest_ms {
                0 => self.clock.now().0,
                oldest => oldest,
            };
            self.metrics.ledger.note_spool(bytes, oldest);
            // A bell that was rung stays rung until its lane has heard it.
            buckets.iter().for_each(|bucket| {
                self.lanes[usize::from(*bucket) % self.lanes.len()]
                    .bell
                    .notify_one()
            });
        }
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
        let now = self.clock.now();
        let looked = self.lanes[lane].looked.load(Ordering::Relaxed);
        let far = now.0.saturating_add(millis(PARK_MAX));
        let buckets: Vec<u8> = self.buckets(lane).collect();
        let (waiting, all) = self
            .store
            .run(move |db| {
                let mut due = db.prepare_cached(
                    "SELECT seq, stored_at, record FROM spool
                     WHERE bucket = ?1 AND seq <= ?2 AND not_before > ?3 AND not_before <= ?4
                     ORDER BY seq LIMIT ?5",
                )?;
                let mut next = db.prepare_cached(
                    "SELECT seq, stored_at, record FROM spool
                     WHERE bucket = ?1 AND seq > ?2
                     AND (not_before IS NULL OR not_before <= ?3 OR not_before > ?4)
                     ORDER BY seq LIMIT ?5",
                )?;
                let read = |row: &rusqlite::Row<'_>| {
                    let record: Vec<u8> = row.get(2)?;
                    Ok(Waiting {
                        seq: row.get(0)?,
                        stored_at: Moment(row.get(1)?),
                        scrubbed: Scrubbed::from_bytes(&record),
                    })
                };
                let mut waiting = Vec::new();
                // One indexed look per bucket: a backlog in one does not slow the others down.
                for bucket in &buckets {
                    for row in due.query_map(params![bucket, after, looked, now.0, count], read)? {
                        waiting.push(row?);
                    }
                    for row in next.query_map(params![bucket, after, now.0, far, count], read)? {
                        waiting.push(row?);
                    }
                }
                waiting.sort_unstable_by_key(|event: &Waiting| event.seq);
                let all = waiting.len() <= count;
                waiting.truncate(count);
                Ok((waiting, all))
            })
            .await?;
        if all {
            // What did not fit is still news.
            self.lanes[lane].looked.store(now.0, Ordering::Relaxed);
        }
        Ok(waiting)
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
        self.store
            .run(move |db| {
                db.prepare_cached("UPDATE spool SET not_before = ?2 WHERE seq = ?1")?
                    .execute([seq, until])
                    .map(drop)
            })
            .await
    }

    /// When the next parked event of a lane comes due; `None` when none is parked. It may lie in the past
    /// while an event that was due has not been settled.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn next_parked(&self, lane: usize) -> Result<Option<Moment>, StoreError> {
        let buckets: Vec<u8> = self.buckets(lane).collect();
        let next = move |db: &Connection| {
            let mut first = db.prepare_cached(
                "SELECT min(not_before) FROM spool WHERE bucket = ?1 AND not_before IS NOT NULL",
            )?;
            let mut next: Option<i64> = None;
            for bucket in &buckets {
                let first: Option<i64> = first.query_row([bucket], |row| row.get(0))?;
                next = [next, first].into_iter().flatten().min();
            }
            Ok(next.map(Moment))
        };
        self.store.run(next).await
    }

    /// Takes one event out of the spool for good. Nothing happens when it is gone already.
    ///
    /// # Errors
    /// When the change did not reach the disk; the event will then be delivered again.
    pub async fn end(&self, seq: i64, outcome: Outcome) -> Result<(), StoreError> {
        self.settle(vec![(seq, outcome)]).await
    }

    /// Takes events out of the spool for good, in one transaction, each booked with its outcome. One that is
    /// gone already is not booked again.
    ///
    /// # Errors
    /// When the change did not reach the disk; all of them still wait then.
    pub async fn settle(&self, endings: Vec<(i64, Outcome)>) -> Result<(), StoreError> {
        let work = move |db: &Connection| {
            let mut statement =
                db.prepare_cached("DELETE FROM spool WHERE seq = ?1 RETURNING length(record)")?;
            let mut ended = Vec::with_capacity(endings.len());
            let mut bytes = 0;
            for (seq, outcome) in &endings {
                let length: Option<u64> = statement.query_row([seq], |row| row.get(0)).optional()?;
                if let Some(length) = length {
                    bytes += length + ROW_OVERHEAD;
                    ended.push(*outcome);
                }
            }
            Ok((ended, bytes, oldest(db)?))
        };
        let spool = self.clone();
        let after = move |result: Result<&(Vec<Outcome>, u64, i64), &StoreError>| {
            if let Ok((ended, bytes, oldest)) = result {
                for outcome in ended {
                    spool.metrics.ledger.end_spooled(*outcome, 1);
                }
                spool.give_back(*bytes, *oldest);
            }
        };
        self.store.write(work, after).await.map(drop)
    }

    /// Drops and counts what is too old, and forgets old event ids.
    ///
    /// # Errors
    /// When the change did not reach the disk.
    pub async fn sweep(&self) -> Result<u64, StoreError> {
        let now = self.clock.now();
        let too_old = now.0.saturating_sub(millis(self.limits.age_max));
        let forget = now.0.saturating_sub(millis(SEEN_FOR));
        self.remove(Outcome::Expired, move |db| {
            db.prepare_cached("DELETE FROM seen WHERE at < ?1")?
                .execute([forget])?;
            db.prepare_cached(
                "DELETE FROM seen WHERE at < (SELECT at FROM seen ORDER BY at DESC LIMIT 1 OFFSET ?1)",
            )?
            .execute([SEEN_MAX])?;
            // Up to the first that is young enough, so that a long spool is not read through each time. One
            // that a jump of the clock hides behind it is noticed when it is its turn to be sent.
            let young = "SELECT seq FROM spool WHERE stored_at >= ?1 ORDER BY seq LIMIT 1";
            let first_young: Option<i64> = db
                .prepare_cached(young)?
                .query_row([too_old], |row| row.get(0))
                .optional()?;
            delete(db, "seq < ?1", &first_young.unwrap_or(i64::MAX))
        })
        .await
        .map(|removed| removed.events)
    }

    /// Runs a transaction that deletes events, and books them under one outcome.
    ///
    /// # Errors
    /// When the change did not reach the disk.
    pub async fn remove(
        &self,
        outcome: Outcome,
        mut work: impl FnMut(&Connection) -> rusqlite::Result<Removed> + Send + 'static,
    ) -> Result<Removed, StoreError> {
        let spool = self.clone();
        let with_oldest = move |db: &Connection| {
            let removed = work(db)?;
            Ok((removed, oldest(db)?))
        };
        let after = move |result: Result<&(Removed, i64), &StoreError>| {
            if let Ok((removed, oldest)) = result {
                spool.metrics.ledger.end_spooled(outcome, removed.events);
                spool.give_back(removed.bytes, *oldest);
            }
        };
        self.store
            .write(with_oldest, after)
            .await
            .map(|(removed, _)| removed)
    }

    /// Frees room, on the writer after a commit.
    fn give_back(&self, bytes: u64, oldest: i64) {
        let before = self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.metrics
            .ledger
            .note_spool(before.saturating_sub(bytes), oldest);
    }

    /// Whether the database can be written, tried out at most once a second: health is asked by
    /// anybody, and each try costs an fsync.
    pub async fn is_writable(&self) -> bool {
        let now = self.clock.now();
        let mut probed = self.probed.lock().await;
        if let Some((at, writable)) = *probed
            && now.since(at) < PROBE_EVERY
            && now >= at
        {
            return writable;
        }
        let writable = self
            .store
            .run(move |db| db.execute("UPDATE heartbeat SET at = ?1", [now.0]))
            .await
            .is_ok();
        *probed = Some((now, writable));
        writable
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
