//! The writer: one transaction for a group of jobs.
//!
//! Nothing is paid for the case that a job fails. When one does, the whole group is rolled back and each
//! job runs again in a transaction of its own, so that it fails alone.

use super::{StoreError, Trouble};
use rusqlite::{Connection, TransactionBehavior};
use std::panic::{AssertUnwindSafe, catch_unwind};
use tokio::sync::mpsc;

/// Most jobs of one transaction, so that the first of them does not wait for ever.
const GROUP_MAX: usize = 1024;

/// Work inside a transaction, and what is to be done when its end is known.
pub(super) trait Job: Send {
    /// May run more than once; only the last run counts.
    fn run(&mut self, db: &Connection) -> rusqlite::Result<()>;
    fn finish(self: Box<Self>, committed: Result<(), StoreError>);
}

/// Commits what is queued until all senders are gone.
pub(super) fn write_loop(mut db: Connection, mut queue: mpsc::Receiver<Box<dyn Job>>) {
    let mut group = Vec::with_capacity(GROUP_MAX);
    while queue.blocking_recv_many(&mut group, GROUP_MAX) > 0 {
        run_group(&mut db, &mut group);
    }
    // Leaves one tidy file behind; a failure costs nothing but that.
    let _ = db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE);");
}

/// Runs a group to its end and empties it. A panic inside a job is its failure, not the writer's end.
pub(super) fn run_group(db: &mut Connection, group: &mut Vec<Box<dyn Job>>) {
    let together = attempt(db, group);
    let alone = matches!(together, Err(Fault::Job(_))) && group.len() > 1;
    // What keeps a transaction from beginning keeps all of them: no use in waiting for it job by job.
    let mut unavailable = None;
    for mut job in group.drain(..) {
        let result = match (&together, &unavailable) {
            (_, Some(error)) => Err(StoreError::clone(error)),
            (_, None) if alone => attempt(db, std::slice::from_mut(&mut job)).map_err(|fault| {
                if let Fault::Begin(error) = &fault {
                    unavailable = Some(error.clone());
                }
                fault.error()
            }),
            (Ok(()), None) => Ok(()),
            (Err(fault), None) => Err(fault.error()),
        };
        // The bookkeeping is as able to stumble as the work; the next job's must still be done.
        let _ = catch_unwind(AssertUnwindSafe(|| job.finish(result)));
    }
}

/// Why a transaction left nothing behind.
enum Fault {
    /// It did not begin.
    Begin(StoreError),
    /// A job, or the commit.
    Job(StoreError),
}

impl Fault {
    fn error(&self) -> StoreError {
        match self {
            Self::Begin(error) | Self::Job(error) => error.clone(),
        }
    }
}

/// Runs jobs in one transaction. It is rolled back where it does not get to its end.
fn attempt(db: &mut Connection, jobs: &mut [Box<dyn Job>]) -> Result<(), Fault> {
    let failed = |error: rusqlite::Error| StoreError::Failed(Trouble::of(&error));
    let tx = db
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(|error| Fault::Begin(failed(error)))?;
    let ran = catch_unwind(AssertUnwindSafe(|| {
        jobs.iter_mut().try_for_each(|job| job.run(&tx))
    }));
    let ran = ran.map_err(|_| Fault::Job(StoreError::Failed(Trouble::Panicked)))?;
    let ended = ran.and_then(|()| tx.commit()).map_err(failed);
    if let Err(error) = &ended {
        tracing::error!(%error, jobs = jobs.len(), "a transaction failed");
    }
    ended.map_err(Fault::Job)
}
