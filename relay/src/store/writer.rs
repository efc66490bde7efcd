//! The writer: one transaction for a group of jobs.
//!
//! The common case does not pay for failures. If a job fails, the whole group is rolled back and each job runs again in
//! its own transaction, so that it fails alone.

use super::salvage::{self, Opened};
use super::{DbErrorKind, OpenError, Shared, StoreError};
use crate::clock::{Clock, Timestamp};
use rusqlite::{Connection, TransactionBehavior};
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Most jobs in one transaction, so that the first of them does not wait too long.
const GROUP_MAX: usize = 1024;

/// Shortest and longest time between the beginnings of two transactions. Each costs an fsync and a dozen pages, so at a few
/// thousand events a second the next group waits for more events. The first job after a quiet moment does not wait. All
/// others do, also those of a switch or a login.
const APART: Duration = Duration::from_millis(2);
const APART_MAX: Duration = Duration::from_millis(5);
/// Between the two, the next transaction begins after this many times the duration of the last one, so that the writer is
/// busy for a third of the time: on a busy machine, events wait a little longer and cost less.
const APART_FACTOR: u32 = 3;
/// Free pages to keep for the next events, and most pages by which one step shrinks the file. A step takes milliseconds.
const SPARE_PAGES: u32 = 1024;
const SHRINK_PAGES: u32 = 256;

/// Work inside a transaction, and a callback for its result.
pub(super) trait Job: Send {
    /// May run more than once; only the last run counts.
    fn run(&mut self, db: &Connection) -> rusqlite::Result<()>;
    fn finish(self: Box<Self>, committed: Result<(), StoreError>);
}

/// How long the writer waits for a command that holds the database, before its jobs fail. Every request waits with it, so
/// it is short; commands hold the database for milliseconds.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(1);
/// Cached prepared statements: more than the rooms use.
const STATEMENTS_MAX: usize = 64;
/// Most rebuilds of a damaged database while the relay runs. After that the disk itself is probably failing: jobs fail
/// until an operator steps in.
const REBUILDS_MAX: u32 = 3;
/// Retry interval of a failed rebuild, in milliseconds: the disk may have been full.
const REBUILD_AGAIN_MS: u64 = 10_000;

/// The writer's side of the database.
#[derive(Debug)]
pub(super) struct Database {
    db: Connection,
    clock: Clock,
    shared: Arc<Shared>,
    /// The file and its identity, to detect a replaced file; `None` for a database in memory.
    file: Option<(PathBuf, FileId)>,
    /// The last group's error, so that the log shows changes and not each job.
    failing: Option<DbErrorKind>,
    rebuilds: u32,
    /// When a rebuild last failed, while there is no database. All jobs fail then.
    unmended: Option<Timestamp>,
    busy: Duration,
    /// Whether most of the file is free.
    is_large: bool,
}

/// Device and inode.
type FileId = (u64, u64);

impl Database {
    pub(super) fn new(db: Connection, clock: Clock, shared: Arc<Shared>, busy: Duration) -> Self {
        let mut database = Self {
            db,
            clock,
            shared,
            file: None,
            failing: None,
            rebuilds: 0,
            unmended: None,
            busy,
            is_large: false,
        };
        database.prepare();
        database
    }

    /// Settings of the writer's connection that a command's does not have.
    fn prepare(&mut self) {
        self.db.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        // Fails for a negative time only.
        let _ = self.db.busy_timeout(self.busy);
        let path = self.db.path().filter(|path| !path.is_empty()).map(PathBuf::from);
        self.file = path.and_then(|path| {
            let id = id_of(&path)?;
            Some((path, id))
        });
    }

    /// Commits queued jobs until all senders are gone.
    pub(super) fn serve(mut self, mut queue: mpsc::Receiver<Box<dyn Job>>) {
        let mut group = Vec::with_capacity(GROUP_MAX);
        let mut last = None;
        while queue.blocking_recv_many(&mut group, GROUP_MAX) > 0 {
            std::thread::sleep(wait(last, Instant::now()));
            let began = Instant::now();
            // The first job wakes this thread, and on a busy core it may preempt the senders of the next jobs. Yielding lets
            // them queue first and share the fsync.
            std::thread::yield_now();
            while group.len() < GROUP_MAX
                && let Ok(job) = queue.try_recv()
            {
                group.push(job);
            }
            self.run_group(&mut group);
            last = Some((began, began.elapsed()));
            while queue.is_empty() && self.is_large {
                self.shrink();
            }
        }
        // Leaves a single file behind; if that fails, the next start finds the log.
        let _ = self.db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE);");
    }

    /// Runs all jobs of a group and empties it. A panic inside a job fails that job and does not end the writer.
    pub(super) fn run_group(&mut self, group: &mut Vec<Box<dyn Job>>) {
        if let Some(failed) = self.unmended
            && self.clock.now().0.abs_diff(failed.0) >= REBUILD_AGAIN_MS
        {
            self.mend(salvage::open_or_rebuild);
        }
        let mut together = self.attempt(group);
        self.note(together.as_ref().err());
        // The new file contains no change of the group, so all of its jobs can run there.
        if self.failing == Some(DbErrorKind::Broken) && self.unmended.is_none() && self.rebuild() {
            together = self.attempt(group);
            self.note(together.as_ref().err());
        }
        let alone = group.len() > 1 && together.as_ref().is_err_and(|fault| !fault.is_hopeless());
        // An error that prevents a transaction from beginning affects all jobs: do not wait for it job by job.
        let mut hopeless = None;
        for mut job in group.drain(..) {
            let result = match (&together, &hopeless) {
                (_, Some(error)) => Err(StoreError::clone(error)),
                (_, None) if alone => self.attempt(std::slice::from_mut(&mut job)).map_err(|fault| {
                    if fault.is_hopeless() {
                        hopeless = Some(fault.error());
                    }
                    fault.error()
                }),
                (Ok(()), None) => Ok(()),
                (Err(fault), None) => Err(fault.error()),
            };
            // The bookkeeping can panic too; the next job's must still run.
            let _ = catch_unwind(AssertUnwindSafe(|| job.finish(result)));
        }
        if self.shared.tidy.swap(false, Ordering::Relaxed) {
            self.tidy();
        }
    }

    /// Runs jobs in one transaction, which is rolled back unless it completes.
    fn attempt(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<(), Fault> {
        if self.unmended.is_some() {
            return Err(Fault::Begin(DbErrorKind::Broken));
        }
        if !self.is_in_place() {
            return Err(Fault::Begin(DbErrorKind::Gone));
        }
        let tx = self
            .db
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|error| Fault::Begin(DbErrorKind::of(&error)))?;
        let ran = catch_unwind(AssertUnwindSafe(|| {
            jobs.iter_mut().try_for_each(|job| job.run(&tx))
        }));
        let ran = ran.map_err(|_| Fault::Job(DbErrorKind::Panicked))?;
        ran.and_then(|()| tx.commit())
            .map_err(|error| Fault::Job(DbErrorKind::of(&error)))
    }

    /// Whether the open file is still the one at its path. Data written into an unlinked file is lost with this process, so
    /// it must not be reported as stored.
    fn is_in_place(&self) -> bool {
        self.file
            .as_ref()
            .is_none_or(|(path, id)| id_of(path).as_ref() == Some(id))
    }

    /// Logs the first failure of a kind, and the recovery, once each.
    fn note(&mut self, fault: Option<&Fault>) {
        let kind = fault.map(Fault::kind);
        if kind != self.failing {
            match kind {
                Some(kind) => tracing::error!(error = %kind, "the database cannot be used"),
                None => tracing::info!("the database can be used again"),
            }
            self.failing = kind;
        }
    }

    /// Gives free pages at the end of the file back to the disk after a backlog, a few at a time: the log carries each page
    /// that moves. Notes whether there are more. If it fails, the next attempt comes soon.
    fn shrink(&mut self) {
        self.is_large = self.give_back_pages().unwrap_or(false);
    }

    fn give_back_pages(&self) -> rusqlite::Result<bool> {
        let pages = |name: &str| self.db.pragma_query_value(None, name, |row| row.get::<_, u32>(0));
        let free = pages("freelist_count")?;
        let used = pages("page_count")?.saturating_sub(free);
        let surplus = free.saturating_sub(used.max(SPARE_PAGES));
        if surplus == 0 {
            return Ok(false);
        }
        let vacuum = format!("PRAGMA incremental_vacuum({})", surplus.min(SHRINK_PAGES));
        let mut vacuum = self.db.prepare(&vacuum)?;
        let (mut rows, mut given) = (vacuum.query([])?, 0);
        // It returns a row for each page.
        while rows.next()?.is_some() {
            given += 1;
        }
        Ok(given == SHRINK_PAGES && surplus > SHRINK_PAGES)
    }

    /// Shrinks the file and empties SQLite's log. Does not wait for readers; the next attempt comes soon.
    fn tidy(&mut self) {
        self.shrink();
        let _ = self.db.busy_timeout(Duration::ZERO);
        let _ = self.db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE);");
        let _ = self.db.busy_timeout(self.busy);
    }

    /// Sets a damaged file aside and continues with the rows that can be saved. Returns whether it could.
    fn rebuild(&mut self) -> bool {
        self.rebuilds < REBUILDS_MAX && self.mend(salvage::rebuild)
    }

    /// Replaces the database with a sound one. If that fails, retries after [`REBUILD_AGAIN_MS`].
    fn mend(&mut self, mend: impl FnOnce(&Path, Timestamp) -> Result<Opened, OpenError>) -> bool {
        let Some((path, _)) = self.file.clone() else {
            return false;
        };
        let (Some(folder), Ok(nothing)) = (path.parent(), Connection::open_in_memory()) else {
            return false;
        };
        drop(std::mem::replace(&mut self.db, nothing));
        let now = self.clock.now();
        match mend(folder, now) {
            Ok((db, _)) => {
                self.db = db;
                self.prepare();
                self.rebuilds += 1;
                (self.failing, self.unmended) = (None, None);
                self.shared.recount(&self.db);
                true
            }
            Err(error) => {
                tracing::error!(%error, "the damaged database could not be rebuilt; retrying");
                self.unmended = Some(now);
                false
            }
        }
    }
}

/// How long to wait before the next transaction. The last one, if there was one, is given as its beginning and duration.
fn wait(last: Option<(Instant, Duration)>, now: Instant) -> Duration {
    let Some((began, took)) = last else {
        return Duration::ZERO;
    };
    let apart = (took * APART_FACTOR).clamp(APART, APART_MAX);
    apart.saturating_sub(now.saturating_duration_since(began))
}

fn id_of(path: &Path) -> Option<FileId> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

/// Why a transaction changed nothing.
enum Fault {
    /// It did not begin.
    Begin(DbErrorKind),
    /// A job, or the commit.
    Job(DbErrorKind),
}

impl Fault {
    fn kind(&self) -> DbErrorKind {
        let (Self::Begin(kind) | Self::Job(kind)) = self;
        *kind
    }

    fn error(&self) -> StoreError {
        StoreError::Failed(self.kind())
    }

    /// Whether the next job would fail in the same way.
    fn is_hopeless(&self) -> bool {
        matches!(self, Self::Begin(_) | Self::Job(DbErrorKind::Broken))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_are_apart_by_the_time_they_take_and_the_first_one_begins_at_once() {
        let start = Instant::now();
        let us = Duration::from_micros;
        // How long after its beginning `start` the last transaction ended, and how long after it a job comes.
        let check = |took_us: Option<u64>, now_us: u64, want_us: u64| {
            let last = took_us.map(|took| (start, us(took)));
            let found = wait(last, start + us(now_us));
            assert_eq!(found, us(want_us), "{now_us} µs after one of {took_us:?} µs");
        };
        check(None, 0, 0);
        check(Some(0), 0, 2000);
        check(Some(300), 300, 1700);
        check(Some(666), 666, 1334);
        check(Some(1000), 1000, 2000);
        check(Some(1600), 1600, 3200);
        check(Some(2000), 2000, 3000);
        check(Some(300), 1999, 1);
        check(Some(300), 2000, 0);
        check(Some(60_000), 60_000, 0);
        check(Some(300), 9_000_000, 0);
    }
}
