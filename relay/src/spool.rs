//! The spool: scrubbed events on disk that are not yet delivered.
//!
//! It takes only [`Scrubbed`]. An event is in it from the fsync that its 202 waits for until Plausible answers, or until
//! it expires, is purged or becomes unreadable. The transaction that deletes it also books the outcome in the ledger, so
//! nothing is counted twice.

mod cursor;
mod gather;
pub mod inspect;
pub mod metrics;
#[cfg(test)]
mod model;
mod quarantine;
mod record;
mod remove;
mod resume;
mod rows;
mod seen;
mod shares;
mod tail;
#[cfg(test)]
pub(crate) mod tests;
mod unlisted;

pub use quarantine::Replayed;
pub use resume::resume_ages;
pub use rows::{Purge, Removed, purge_site};
pub use shares::{BySite, Share};

use crate::clock::{Ages, Timestamp};
use crate::config::{CONCURRENCY_MAX, SiteConfig, SpoolConfig};
use crate::guard::Scrubbed;
use crate::metrics::Registry;
use crate::metrics::ledger::{Ledger, Ticket};
use crate::permit::Permit;
use crate::store::{DbErrorKind, Store, StoreError};
use cursor::{Bell, LaneState};
use gather::Gathered;
use metrics::Metrics;
use relay_event::{EventId, Outcome};
use rows::{Total, oldest};
use seen::Seen;
use shares::Shares;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::sync::Mutex;
use unlisted::Unlisted;

/// Most lanes that visitors are spread over. A lane is drained in order, so each visitor's events are too. Visitors who share
/// one wait for each other, so there are many.
pub const LANES_MAX: u16 = 8192;
const _: () = assert!(CONCURRENCY_MAX as u16 <= LANES_MAX, "each request has a lane");
/// Longest wait for a write probe. After it, health reports that the disk hangs.
const PROBE_MAX: Duration = Duration::from_secs(5);
/// Shortest time between two write probes.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// An event on its way to the disk. Its permit keeps the switch from answering "off" while the writer has the event.
#[derive(Debug)]
pub struct Incoming {
    /// The scrubbed event.
    pub scrubbed: Scrubbed,
    /// The sender's id for it.
    pub id: Option<EventId>,
    /// Its place in the ledger.
    pub ticket: Ticket,
    /// The permit to store it.
    pub permit: Arc<Permit>,
    /// Plausible drops the events of its site, so it may wait long.
    pub is_held: bool,
}

/// An event read back for delivery.
#[derive(Debug)]
pub struct Waiting {
    /// Its number in the spool.
    pub seq: i64,
    /// When it was stored, in the time of [`Spool::ages`].
    pub stored_at: Timestamp,
    /// Whether it was parked before and is due now.
    pub was_parked: bool,
    /// The event. Unreadable records go into quarantine instead.
    pub scrubbed: Scrubbed,
    /// The number of purges so far when it was read.
    pub purges: u64,
}

/// A write probe of the database: when, and its error.
type Probe = (Timestamp, Option<StoreError>);

/// A handle to the spool. Clones share it.
#[derive(Clone, Debug)]
pub struct Spool {
    pub(crate) store: Store,
    ledger: Arc<Ledger>,
    /// Its own metrics.
    pub metrics: Arc<Metrics>,
    ages: Ages,
    limits: SpoolConfig,
    /// Bytes of waiting events, by site.
    shares: Shares,
    lanes: Arc<[LaneState]>,
    bell: Arc<Bell>,
    unlisted: Unlisted,
    seen: Seen,
    /// Batches that wait for the writer.
    gathered: Gathered,
    /// The number of purges by an operator.
    purges: Arc<AtomicU64>,
    /// The last write probe of the database.
    probed: Arc<Mutex<Option<Probe>>>,
}

impl Spool {
    /// Opens the spool with 1 to [`LANES_MAX`] lanes, and books its content. `ages` provides the time of all its timestamps.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn open(
        store: Store,
        registry: &mut Registry,
        ages: impl Into<Ages>,
        limits: SpoolConfig,
        sites: &[SiteConfig],
        lanes: usize,
    ) -> Result<Self, StoreError> {
        let (ledger, metrics) = (
            Arc::clone(&registry.ledger),
            Arc::new(Metrics::register(registry)),
        );
        let shares = Shares::new(limits.bytes_max, sites, &metrics);
        let (bell, in_all) = (Arc::default(), Arc::default());
        let lanes: Arc<[LaneState]> = (0..lanes.clamp(1, usize::from(LANES_MAX)))
            .map(|number| LaneState::new(number, &bell, &in_all))
            .collect();
        // First, because the first read can meet damage. It captures no clone of the spool: the spool holds the store, and
        // the two would keep each other alive.
        let ages: Ages = ages.into();
        let (rebuilt, times, lost) = (Arc::clone(&metrics), ages.clone(), Arc::clone(&ledger));
        let (recounted, notified) = (shares.clone(), Arc::clone(&lanes));
        store.after_rebuild(move |db| {
            // A new database is readable; otherwise the next start counts again.
            if let Ok((total, oldest)) = count(db, &rebuilt, &recounted, notified.len()) {
                let events = lost.counts().spooled.saturating_sub(total.events);
                lost.end_spooled(Outcome::Corrupt, events);
                lost.note_spool(recounted.total(), shown(&times, oldest));
                rebuilt.database_rebuilds.inc();
            }
            notified.iter().for_each(|lane| lane.tail.forget());
        });
        let seen = Seen::default();
        let (remembered, found, counted) = (seen.clone(), Arc::clone(&metrics), shares.clone());
        let all = lanes.len();
        let count = move |db: &rusqlite::Connection| {
            remembered.read(db)?;
            let (total, _) = count(db, &found, &counted, all)?;
            rows::list(db, &total.unlisted, all)?;
            Ok(total)
        };
        // Most lanes are empty, and need not read the disk.
        let found = Arc::clone(&lanes);
        let note_empty = move |total: Result<&Total, &StoreError>| {
            let Ok(total) = total else { return };
            let lanes = found.iter().zip(&total.occupied);
            for (empty, _) in lanes.filter(|(_, occupied)| !**occupied) {
                empty.tail.looked(0, true, None);
            }
        };
        ledger.recover(store.write(count, note_empty).await?.events);
        let spool = Self {
            store,
            ledger,
            metrics,
            ages,
            limits,
            shares,
            lanes,
            bell,
            unlisted: Unlisted::default(),
            seen,
            gathered: Gathered::default(),
            purges: Arc::default(),
            probed: Arc::default(),
        };
        spool.sweep().await?;
        Ok(spool)
    }

    /// Shows how much waits, on the writer after a commit.
    fn note(&self, oldest: i64) {
        let bytes = self.shares.total();
        self.ledger.note_spool(bytes, shown(&self.ages, oldest));
    }

    /// The shares of the configured sites, by domain.
    pub fn shares(&self) -> Vec<Share> {
        self.shares.all()
    }

    /// Why the database cannot be written; `None` if it can. At most one write probe per second: health is public, and each
    /// probe costs an fsync.
    pub async fn write_error(&self) -> Option<StoreError> {
        let now = self.ages.now();
        let mut probed = self.probed.lock().await;
        if let Some((at, error)) = &*probed
            && now.since(*at) < PROBE_EVERY
            && now >= *at
        {
            return error.clone();
        }
        let trying = self
            .store
            .run(move |db| db.execute("UPDATE heartbeat SET at = ?1", [now.0]));
        let error = match tokio::time::timeout(PROBE_MAX, trying).await {
            Ok(tried) => tried.err(),
            Err(_) => Some(StoreError::Failed(DbErrorKind::Hangs)),
        };
        *probed = Some((now, error.clone()));
        error
    }

    /// The ledger that counts events.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The clock of the timestamps of stored events.
    pub fn ages(&self) -> &Ages {
        &self.ages
    }

    /// Whether the writer thread runs. Without it nothing can ever be stored again.
    pub fn is_alive(&self) -> bool {
        self.store.is_alive()
    }
}

/// Counts all rows anew, on the writer. Returns all events and [`oldest`].
fn count(
    db: &rusqlite::Connection,
    metrics: &Metrics,
    shares: &Shares,
    lanes: usize,
) -> rusqlite::Result<(Total, i64)> {
    let (total, held, oldest) = (rows::total(db, lanes)?, quarantine::held(db)?, oldest(db)?);
    shares.count(&total.bytes);
    metrics.spool_quarantined.set(held);
    Ok((total, oldest))
}

/// The wall clock time when the oldest event was stored; 0 if there is none.
fn shown(ages: &Ages, oldest: i64) -> i64 {
    match oldest {
        0 => 0,
        oldest => ages.shown(Timestamp(oldest)).0,
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
