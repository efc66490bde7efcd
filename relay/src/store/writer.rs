//! The writer: one transaction for a group of jobs.
//!
//! Nothing is paid for the case that a job fails. When one does, the whole group is rolled back and each
//! job runs again in a transaction of its own, so that it fails alone.

use super::{OpenError, Rebuilt, Shared, StoreError, Trouble, salvage};
use crate::clock::{Clock, Moment};
use rusqlite::{Connection, TransactionBehavior};
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc;

/// Most jobs of one transaction, so that the first of them does not wait for ever.
const GROUP_MAX: usize = 1024;

/// Work inside a transaction, and what is to be done when its end is known.
pub(super) trait Job: Send {
    /// May run more than once; only the last run counts.
    fn run(&mut self, db: &Connection) -> rusqlite::Result<()>;
    fn finish(self: Box<Self>, committed: Result<(), StoreError>);
}

/// How long the writer waits for a command that holds the database, before its jobs fail. Every request
/// waits with it, so it is short; commands hold it for milliseconds.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(1);
/// Prepared statements that are kept: more than the rooms have.
const STATEMENTS_MAX: usize = 64;
/// Most times the writer rebuilds a damaged database while it runs. Then the disk itself must be failing:
/// jobs fail until somebody looks after it.
const REBUILDS_MAX: u32 = 3;
/// How soon a rebuild is tried again that did not succeed, in milliseconds: the disk may have been full.
const REBUILD_AGAIN_MS: u64 = 10_000;

/// The writer's end of the database.
#[derive(Debug)]
pub(super) struct Database {
    db: Connection,
    clock: Clock,
    shared: Arc<Shared>,
    /// The file and what tells it from another at its place; `None` for one in memory.
    file: Option<(PathBuf, FileId)>,
    /// What the last group stumbled over, so that a change is logged and not each job.
    trouble: Option<Trouble>,
    rebuilds: u32,
    /// When a rebuild last failed, while there is no database. All jobs fail then.
    unmended: Option<Moment>,
    busy: Duration,
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
            trouble: None,
            rebuilds: 0,
            unmended: None,
            busy,
        };
        database.prepare();
        database
    }

    /// What the writer's connection has beyond a command's.
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

    /// Commits what is queued until all senders are gone.
    pub(super) fn serve(mut self, mut queue: mpsc::Receiver<Box<dyn Job>>) {
        let mut group = Vec::with_capacity(GROUP_MAX);
        while queue.blocking_recv_many(&mut group, GROUP_MAX) > 0 {
            // Woken by the first job, on a busy core in place of who brings the next ones. They come first, and
            // share the fsync; nobody is waited for.
            std::thread::yield_now();
            while group.len() < GROUP_MAX
                && let Ok(job) = queue.try_recv()
            {
                group.push(job);
            }
            self.run_group(&mut group);
        }
        // Leaves one tidy file behind; where that fails, the next start finds the log.
        let _ = self.db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE);");
    }

    /// Runs a group to its end and empties it. A panic inside a job is its failure, not the writer's end.
    pub(super) fn run_group(&mut self, group: &mut Vec<Box<dyn Job>>) {
        if let Some(failed) = self.unmended
            && self.clock.now().0.abs_diff(failed.0) >= REBUILD_AGAIN_MS
        {
            self.mend(salvage::open_or_rebuild);
        }
        let mut together = self.attempt(group);
        self.note(together.as_ref().err());
        // Nothing of the group is in the new file, so it may run there as if nothing had happened.
        if self.trouble == Some(Trouble::Broken) && self.unmended.is_none() && self.rebuild() {
            together = self.attempt(group);
            self.note(together.as_ref().err());
        }
        let alone = group.len() > 1 && together.as_ref().is_err_and(|fault| !fault.is_hopeless());
        // What keeps a transaction from beginning keeps all of them: no use in waiting for it job by job.
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
            // The bookkeeping is as able to stumble as the work; the next job's must still be done.
            let _ = catch_unwind(AssertUnwindSafe(|| job.finish(result)));
        }
        if self.shared.tidy.swap(false, Ordering::Relaxed) {
            self.tidy();
        }
    }

    /// Runs jobs in one transaction. It is rolled back where it does not get to its end.
    fn attempt(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<(), Fault> {
        if self.unmended.is_some() {
            return Err(Fault::Begin(Trouble::Broken));
        }
        if !self.is_in_place() {
            return Err(Fault::Begin(Trouble::Gone));
        }
        let tx = self
            .db
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|error| Fault::Begin(Trouble::of(&error)))?;
        let ran = catch_unwind(AssertUnwindSafe(|| {
            jobs.iter_mut().try_for_each(|job| job.run(&tx))
        }));
        let ran = ran.map_err(|_| Fault::Job(Trouble::Panicked))?;
        ran.and_then(|()| tx.commit())
            .map_err(|error| Fault::Job(Trouble::of(&error)))
    }

    /// Whether the open file is still the one at its place. What is written into a file that was unlinked
    /// is lost with this process, so it must not be called stored.
    fn is_in_place(&self) -> bool {
        self.file
            .as_ref()
            .is_none_or(|(path, id)| id_of(path).as_ref() == Some(id))
    }

    /// Logs what went wrong, and that it is over, once each.
    fn note(&mut self, fault: Option<&Fault>) {
        let trouble = fault.map(Fault::trouble);
        if trouble != self.trouble {
            match trouble {
                Some(trouble) => tracing::error!(%trouble, "the database cannot be used"),
                None => tracing::info!("the database can be used again"),
            }
            self.trouble = trouble;
        }
    }

    /// Empties SQLite's log. Somebody who reads meanwhile is not waited for; the next time comes soon.
    fn tidy(&mut self) {
        let _ = self.db.busy_timeout(Duration::ZERO);
        let _ = self.db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE);");
        let _ = self.db.busy_timeout(self.busy);
    }

    /// Sets a damaged file aside and goes on with what can be read of it. Says whether it could.
    fn rebuild(&mut self) -> bool {
        self.rebuilds < REBUILDS_MAX
            && self.mend(|folder, now| salvage::rebuild(folder, now).map(|(db, rebuilt)| (db, Some(rebuilt))))
    }

    /// Exchanges the database for a sound one. Where that fails it is tried again after a while.
    fn mend(
        &mut self,
        mend: impl FnOnce(&Path, Moment) -> Result<(Connection, Option<Rebuilt>), OpenError>,
    ) -> bool {
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
                (self.trouble, self.unmended) = (None, None);
                self.shared.recount(&self.db);
                true
            }
            Err(error) => {
                tracing::error!(%error, "the damaged database could not be rebuilt; it is tried again");
                self.unmended = Some(now);
                false
            }
        }
    }
}

fn id_of(path: &Path) -> Option<FileId> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

/// Why a transaction left nothing behind.
enum Fault {
    /// It did not begin.
    Begin(Trouble),
    /// A job, or the commit.
    Job(Trouble),
}

impl Fault {
    fn trouble(&self) -> Trouble {
        let (Self::Begin(trouble) | Self::Job(trouble)) = self;
        *trouble
    }

    fn error(&self) -> StoreError {
        StoreError::Failed(self.trouble())
    }

    /// Whether the next job would meet the same.
    fn is_hopeless(&self) -> bool {
        matches!(self, Self::Begin(_) | Self::Job(Trouble::Broken))
    }
}
