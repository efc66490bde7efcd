//! The spool: what may leave and has not been delivered yet, on disk.
//!
//! It takes [`Scrubbed`] and nothing else. An event is in it from the fsync that its 202 waited for
//! until Plausible answered, or until it expires, is purged or cannot be read any more; each of these
//! is booked in the ledger by the transaction that deletes it, so nothing is counted twice.

mod fresh;
pub mod inspect;
mod lanes;
mod leave;
#[cfg(test)]
mod model;
mod quarantine;
mod record;
mod resume;
mod rows;
mod seen;
mod shares;
#[cfg(test)]
pub(crate) mod tests;

pub use leave::Purge;
pub use quarantine::Replayed;
pub use resume::resume_ages;
pub use rows::{Removed, purge_site};
pub use shares::{BySite, Share};

use crate::clock::{Ages, Moment};
use crate::config::{SiteConfig, SpoolConfig};
use crate::guard::Scrubbed;
use crate::metrics::Metrics;
use crate::metrics::ledger::Ticket;
use crate::store::{Store, StoreError, Trouble};
use crate::switch::Permit;
use lanes::Lane;
use relay_event::{EventId, Outcome};
use rows::{Place, ROW_OVERHEAD, Row, Stored, insert, oldest};
use seen::Seen;
use shares::{NoRoom, Shares, Taking};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// Buckets that visitors are spread over. A bucket is worked off in order, so a visitor's events are.
pub const BUCKETS: u8 = 64;
/// Longest wait for such a try. Then the disk hangs, as far as health can say.
const PROBE_MAX: Duration = Duration::from_secs(5);
/// How often the database is tried out at most.
const PROBE_EVERY: Duration = Duration::from_secs(1);

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
    /// Plausible drops the events of its site, so it may wait for long.
    pub is_held: bool,
}

/// An event read back for delivery.
#[derive(Debug)]
pub struct Waiting {
    /// Its number in the spool.
    pub seq: i64,
    /// When it was stored, in the time of [`Spool::ages`].
    pub stored_at: Moment,
    /// Whether it was parked before, and its time has come.
    pub was_parked: bool,
    /// The event. Never `None` any more: unreadable records go into quarantine.
    pub scrubbed: Option<Scrubbed>,
    /// How many purges there had been when it was read.
    pub purges: u64,
}

/// A try of the database: when, and what was wrong.
type Probe = (Moment, Option<StoreError>);

/// A handle to the spool. Clones share it.
#[derive(Clone, Debug)]
pub struct Spool {
    store: Store,
    metrics: Arc<Metrics>,
    ages: Ages,
    limits: SpoolConfig,
    /// Bytes that wait, by site.
    shares: Shares,
    lanes: Arc<[Lane]>,
    seen: Seen,
    /// How often an operator purged what waits.
    purges: Arc<AtomicU64>,
    /// When the database was last tried out, and what came of it.
    probed: Arc<Mutex<Option<Probe>>>,
}

impl Spool {
    /// Opens the spool and books in what it holds. The buckets are shared out among 1 to [`BUCKETS`] lanes. `ages` is
    /// the time that it writes, and compares with what it wrote.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn open(
        store: Store,
        metrics: Arc<Metrics>,
        ages: impl Into<Ages>,
        limits: SpoolConfig,
        sites: &[SiteConfig],
        lanes: usize,
    ) -> Result<Self, StoreError> {
        let shares = Shares::new(limits.bytes_max, sites, &metrics.sites);
        let lanes: Arc<[Lane]> = (0..lanes.clamp(1, usize::from(BUCKETS)))
            .map(|_| Lane::default())
            .collect();
        // First, because the first look may meet damage already. Not with the spool itself: it would keep the
        // store alive, and the store it.
        let rebuilt = (Arc::clone(&metrics), shares.clone());
        let told = Arc::clone(&lanes);
        let ages: Ages = ages.into();
        let shown = ages.clone();
        store.after_rebuild(move |db| {
            recount(db, &shown, &rebuilt.0, &rebuilt.1);
            told.iter().for_each(|lane| lane.fresh.forget());
        });
        let seen = Seen::default();
        let remembered = seen.clone();
        let (events, found, held) = store
            .run(move |db| {
                remembered.read(db)?;
                let (events, bytes) = rows::total(db)?;
                Ok((events, bytes, quarantine::held(db)?))
            })
            .await?;
        metrics.ledger.recover(events);
        metrics.quarantined.set(held);
        shares.count(&found);
        let spool = Self {
            store,
            metrics,
            ages,
            limits,
            shares,
            lanes,
            seen,
            purges: Arc::default(),
            probed: Arc::default(),
        };
        spool.sweep().await?;
        Ok(spool)
    }

    /// Stores a batch in one transaction and answers after its fsync: for each event `None` when it is
    /// stored, else how it ended.
    ///
    /// `on_disk` is called on the writer right after that fsync, unless nothing of the batch was stored or had been
    /// before: whoever waits for the answer may have to wait for its turn on a busy processor, which says nothing about
    /// the disk.
    pub async fn append(
        &self,
        batch: Vec<Incoming>,
        on_disk: impl FnOnce() + Send + 'static,
    ) -> Vec<Option<Outcome>> {
        let started = Instant::now();
        let now = self.ages.now();
        let rows: Vec<Row> = batch.iter().map(|incoming| Row::of(incoming, now)).collect();
        let places: Vec<Place> = rows.iter().map(Row::place).collect();
        let count = batch.len();
        let (claim, taking) = (self.seen.claim(), self.shares.taking());
        // As of before it is stored, so that no purge that may take it goes unnoticed.
        let purges = self.purges.load(Ordering::SeqCst);
        let after = {
            let (spool, claim, taking) = (self.clone(), claim.clone(), taking.clone());
            move |result: Result<&Vec<Stored>, &StoreError>| {
                if result.is_err() {
                    claim.take_back();
                    taking.take_back();
                }
                spool.book(batch, &places, purges, &taking, result);
                if result.is_ok_and(|stored| stored.iter().any(Stored::is_on_disk)) {
                    on_disk();
                }
            }
        };
        let work = move |db: &rusqlite::Connection| insert(db, &rows, &taking, &claim);
        let written = self.store.write(work, after).await;
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
        places: &[Place],
        purges: u64,
        taking: &Taking,
        result: Result<&Vec<Stored>, &StoreError>,
    ) {
        let Ok(stored) = result else {
            for incoming in batch {
                incoming.ticket.end(Outcome::SpoolUnavailable);
            }
            return;
        };
        for ((incoming, stored), row) in batch.into_iter().zip(stored).zip(places) {
            match stored {
                Stored::Yes { seq } => {
                    incoming.ticket.spooled();
                    let lane = &self.lanes[usize::from(row.bucket) % self.lanes.len()];
                    lane.fresh.arrived(Waiting {
                        seq: *seq,
                        stored_at: row.stored_at,
                        was_parked: false,
                        scrubbed: Some(incoming.scrubbed),
                        purges,
                    });
                    // A bell that was rung stays rung until its lane has heard it.
                    lane.bell.notify_one();
                }
                Stored::Duplicate => incoming.ticket.end(Outcome::Duplicate),
                Stored::Full(NoRoom::Spool) => incoming.ticket.end(Outcome::SpoolFull),
                Stored::Full(NoRoom::Site) => incoming.ticket.end(Outcome::SpoolFullSite),
            }
        }
        if taking.has_taken() {
            let bytes = self.shares.total();
            let oldest = match self.metrics.ledger.counts().spool_oldest_ms {
                0 => self.ages.shown(self.ages.now()).0,
                oldest => oldest,
            };
            self.metrics.ledger.note_spool(bytes, oldest);
        }
    }

    /// What each configured site has of the spool, by domain.
    pub fn shares(&self) -> Vec<Share> {
        self.shares.all()
    }

    /// Why the database cannot be written; `None` when it can. Tried out at most once a second: health is
    /// asked by anybody, and each try costs an fsync.
    pub async fn trouble(&self) -> Option<StoreError> {
        let now = self.ages.now();
        let mut probed = self.probed.lock().await;
        if let Some((at, trouble)) = &*probed
            && now.since(*at) < PROBE_EVERY
            && now >= *at
        {
            return trouble.clone();
        }
        let trying = self
            .store
            .run(move |db| db.execute("UPDATE heartbeat SET at = ?1", [now.0]));
        let trouble = match tokio::time::timeout(PROBE_MAX, trying).await {
            Ok(tried) => tried.err(),
            Err(_) => Some(StoreError::Failed(Trouble::Hangs)),
        };
        *probed = Some((now, trouble.clone()));
        trouble
    }

    /// The time that what waits was stored in.
    pub fn ages(&self) -> &Ages {
        &self.ages
    }

    /// Whether the writer is there. Without it nothing can ever be stored again.
    pub fn is_alive(&self) -> bool {
        self.store.is_alive()
    }
}

/// Books what a rebuild of the database has lost, on the writer.
fn recount(db: &rusqlite::Connection, ages: &Ages, metrics: &Metrics, shares: &Shares) {
    let count = || Ok::<_, rusqlite::Error>((rows::total(db)?, oldest(db)?, quarantine::held(db)?));
    // A new database can be read; where not, the next start counts again.
    let Ok(((events, left), oldest, held)) = count() else {
        return;
    };
    let lost = metrics.ledger.counts().spooled.saturating_sub(events);
    metrics.ledger.end_spooled(Outcome::Corrupt, lost);
    shares.count(&left);
    metrics.ledger.note_spool(shares.total(), shown(ages, oldest));
    metrics.quarantined.set(held);
    metrics.database_rebuilds.inc();
}

/// When the oldest event was stored, as the wall clock would show it; 0 is none.
fn shown(ages: &Ages, oldest: i64) -> i64 {
    match oldest {
        0 => 0,
        oldest => ages.shown(Moment(oldest)).0,
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
