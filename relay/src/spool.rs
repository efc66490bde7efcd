//! The spool: what may leave and has not been delivered yet, on disk.
//!
//! It takes [`Scrubbed`] and nothing else. An event is in it from the fsync that its 202 waited for
//! until Plausible answered, or until it expires, is purged or cannot be read any more; each of these
//! is booked in the ledger by the transaction that deletes it, so nothing is counted twice.

use crate::clock::{Clock, Moment};
use crate::config::SpoolConfig;
use crate::guard::Scrubbed;
use crate::metrics::Metrics;
use crate::metrics::ledger::Ticket;
use crate::store::{Store, StoreError};
use crate::switch::Permit;
use relay_event::{EventId, Outcome};
use rusqlite::{Connection, OptionalExtension, params};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
/// Bytes of a row besides its record, roughly.
const ROW_OVERHEAD: u64 = 64;

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

/// A handle to the spool. Clones share it.
#[derive(Clone, Debug)]
pub struct Spool {
    store: Store,
    metrics: Arc<Metrics>,
    clock: Clock,
    limits: SpoolConfig,
    bytes: Arc<AtomicU64>,
    /// One bell per lane, rung when something arrived for it.
    bells: Arc<[Notify]>,
    /// When the database was last tried out, and whether it could be written.
    probed: Arc<Mutex<Option<(Moment, bool)>>>,
}

impl Spool {
    /// Opens the spool and books in what it holds.
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
            bells: (0..lanes).map(|_| Notify::new()).collect(),
            probed: Arc::default(),
        };
        spool.sweep().await?;
        Ok(spool)
    }

    /// Waits until something arrived for a lane since the last time it waited.
    pub async fn arrival(&self, lane: usize) {
        self.bells[lane].notified().await;
    }

    /// How many lanes share the buckets.
    pub fn lanes(&self) -> usize {
        self.bells.len()
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
            buckets
                .iter()
                .for_each(|bucket| self.bells[usize::from(*bucket) % self.bells.len()].notify_one());
        }
    }

    /// The oldest events of a lane after a number, in order. Lane `i` of `n` has the buckets that leave
    /// `i` when divided by `n`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn take(&self, lane: usize, after: i64, count: usize) -> Result<Vec<Waiting>, StoreError> {
        let lanes = self.lanes();
        let buckets = (0..BUCKETS).filter(move |bucket| usize::from(*bucket) % lanes == lane);
        self.store
            .run(move |db| {
                let mut statement = db.prepare_cached(
                    "SELECT seq, stored_at, record FROM spool WHERE bucket = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3",
                )?;
                let mut waiting = Vec::new();
                // One indexed look per bucket: a backlog in one does not slow the others down.
                for bucket in buckets {
                    let rows = statement.query_map(params![bucket, after, count], |row| {
                        let record: Vec<u8> = row.get(2)?;
                        Ok(Waiting {
                            seq: row.get(0)?,
                            stored_at: Moment(row.get(1)?),
                            scrubbed: Scrubbed::from_bytes(&record),
                        })
                    })?;
                    for row in rows {
                        waiting.push(row?);
                    }
                }
                waiting.sort_unstable_by_key(|event: &Waiting| event.seq);
                waiting.truncate(count);
                Ok(waiting)
            })
            .await
    }

    /// Takes one event out of the spool for good. Nothing happens when it is gone already.
    ///
    /// # Errors
    /// When the change did not reach the disk; the event will then be delivered again.
    pub async fn end(&self, seq: i64, outcome: Outcome) -> Result<(), StoreError> {
        self.remove(outcome, move |db| delete(db, "seq = ?1", &seq))
            .await
            .map(drop)
    }

    /// Drops and counts what is too old, and forgets old event ids.
    ///
    /// # Errors
    /// When the change did not reach the disk.
    pub async fn sweep(&self) -> Result<u64, StoreError> {
        let now = self.clock.now();
        let too_old = now.0 - i64::try_from(self.limits.age_max.as_millis()).unwrap_or(i64::MAX);
        let forget = now.0 - i64::try_from(SEEN_FOR.as_millis()).unwrap_or(i64::MAX);
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
        work: impl FnOnce(&Connection) -> rusqlite::Result<Removed> + Send + 'static,
    ) -> Result<Removed, StoreError> {
        let spool = self.clone();
        let with_oldest = move |db: &Connection| {
            let removed = work(db)?;
            let oldest: Option<i64> = db
                .prepare_cached("SELECT stored_at FROM spool ORDER BY seq LIMIT 1")?
                .query_row([], |row| row.get(0))
                .optional()?;
            Ok((removed, oldest.unwrap_or(0)))
        };
        let after = move |result: Result<&(Removed, i64), &StoreError>| {
            if let Ok((removed, oldest)) = result {
                let before = spool.bytes.fetch_sub(removed.bytes, Ordering::Relaxed);
                spool.metrics.ledger.end_spooled(outcome, removed.events);
                spool
                    .metrics
                    .ledger
                    .note_spool(before.saturating_sub(removed.bytes), *oldest);
            }
        };
        self.store
            .write(with_oldest, after)
            .await
            .map(|(removed, _)| removed)
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

/// What a transaction took out of the spool.
#[derive(Clone, Copy, Debug, Default)]
pub struct Removed {
    /// How many events.
    pub events: u64,
    /// How many bytes.
    pub bytes: u64,
    /// The highest number among them; 0 when there were none.
    pub last: i64,
}

/// Deletes the events that fit a condition with one parameter.
///
/// # Errors
/// SQLite's.
pub fn delete(
    db: &Connection,
    condition: &'static str,
    parameter: &dyn rusqlite::ToSql,
) -> rusqlite::Result<Removed> {
    let sql = format!("DELETE FROM spool WHERE {condition} RETURNING length(record), seq");
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query([parameter])?;
    let mut removed = Removed::default();
    while let Some(row) = rows.next()? {
        removed.events += 1;
        removed.bytes += row.get::<_, u64>(0)? + ROW_OVERHEAD;
        removed.last = removed.last.max(row.get(1)?);
    }
    Ok(removed)
}

struct Row {
    bucket: u8,
    site: String,
    seen: Option<[u8; 16]>,
    record: Vec<u8>,
}

impl Row {
    fn of(incoming: &Incoming) -> Self {
        let scrubbed = &incoming.scrubbed;
        let [.., last] = scrubbed.visitor().octets();
        // The id comes from the sender: only its hash, with the site, touches the disk.
        let seen = incoming.id.map(|id| {
            let hash = Sha256::new()
                .chain_update(id.0)
                .chain_update(scrubbed.site())
                .finalize();
            let mut short = [0; 16];
            short.copy_from_slice(&hash[..16]);
            short
        });
        Self {
            bucket: last % BUCKETS,
            site: scrubbed.site().to_owned(),
            seen,
            record: scrubbed.to_bytes(),
        }
    }

    /// What the row counts against `spool.bytes_max`.
    fn bytes(&self) -> u64 {
        self.record.len() as u64 + ROW_OVERHEAD
    }
}

enum Stored {
    Yes(u64),
    Duplicate,
    Full,
}

impl Stored {
    fn outcome(&self) -> Option<Outcome> {
        match self {
            Self::Yes(_) => None,
            Self::Duplicate => Some(Outcome::Duplicate),
            Self::Full => Some(Outcome::SpoolFull),
        }
    }
}

fn insert(db: &Connection, rows: &[Row], now: Moment, room: u64) -> rusqlite::Result<Vec<Stored>> {
    let mut remember = db.prepare_cached("INSERT OR IGNORE INTO seen (id, at) VALUES (?1, ?2)")?;
    let mut insert =
        db.prepare_cached("INSERT INTO spool (bucket, site, stored_at, record) VALUES (?1, ?2, ?3, ?4)")?;
    let mut left = room;
    let mut stored = Vec::with_capacity(rows.len());
    for row in rows {
        let bytes = row.bytes();
        if bytes > left {
            stored.push(Stored::Full);
            continue;
        }
        if let Some(id) = row.seen
            && remember.execute(params![id, now.0])? == 0
        {
            stored.push(Stored::Duplicate);
            continue;
        }
        insert.execute(params![row.bucket, row.site, now.0, row.record])?;
        left -= bytes;
        stored.push(Stored::Yes(bytes));
    }
    Ok(stored)
}
