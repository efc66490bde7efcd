//! The one database: a SQLite file with one writer thread that commits in groups.
//!
//! Everything that queued while the last fsync ran goes into the next transaction, so a busy relay
//! pays one fsync for many events and an idle one answers at once. No timer. Rooms hand in closures;
//! this file knows nothing of spool, switch or accounts but their tables.

use rusqlite::{Connection, TransactionBehavior};
use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Jobs that may wait for the writer. When the queue is full, senders wait: that is back-pressure on
/// requests, whose number is limited at the front door.
const QUEUE_MAX: usize = 4096;
/// Most jobs of one transaction, so that the first of them does not wait for ever.
const GROUP_MAX: usize = 1024;
/// How long another process (`user add`) may hold the database before a job fails.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// What makes the tables, step by step. SQLite's `user_version` counts the steps that a file has had, so a
/// step that was released is never changed; another follows it.
const SCHEMA: [&str; 2] = [
    "
    CREATE TABLE spool (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        bucket INTEGER NOT NULL,
        site TEXT NOT NULL,
        stored_at INTEGER NOT NULL,
        record BLOB NOT NULL
    ) STRICT;
    CREATE INDEX spool_bucket ON spool (bucket, seq);
    CREATE TABLE seen (id BLOB PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE INDEX seen_at ON seen (at);
    CREATE TABLE switch (
        site TEXT PRIMARY KEY,
        is_on INTEGER NOT NULL,
        changed_at INTEGER NOT NULL,
        changed_by TEXT NOT NULL
    ) STRICT;
    CREATE TABLE switch_log (
        id INTEGER PRIMARY KEY,
        site TEXT NOT NULL,
        is_on INTEGER NOT NULL,
        at INTEGER NOT NULL,
        by TEXT NOT NULL,
        purged INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE heartbeat (id INTEGER PRIMARY KEY CHECK (id = 1), at INTEGER NOT NULL) STRICT;
    INSERT INTO heartbeat (id, at) VALUES (1, 0);
    CREATE TABLE account (
        name TEXT PRIMARY KEY,
        password_hash TEXT NOT NULL,
        created_at INTEGER NOT NULL
    ) STRICT;
",
    "
    CREATE TABLE policy_log (
        id INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,
        sha256 TEXT NOT NULL,
        source TEXT NOT NULL
    ) STRICT;
",
];

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be made or used.
    #[error("the data folder {0} cannot be used: {1}")]
    Folder(PathBuf, io::Error),
    /// Another relay has it.
    #[error("another relay is using the data folder {0}; each relay needs a data_dir of its own")]
    InUse(PathBuf),
    /// The file was written by a newer relay.
    #[error(
        "the database {0} was written by a newer relay (tables of version {1}); start that one, or give this one another data_dir"
    )]
    Newer(PathBuf, i64),
    /// SQLite cannot open it.
    #[error("the database {0} cannot be opened: {1}")]
    Database(PathBuf, rusqlite::Error),
}

/// Why a job failed. Its changes are not in the database.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// SQLite said no: the disk is full, the folder read-only, the file broken.
    #[error("the database cannot be written: {0}")]
    Failed(String),
    /// The relay is stopping.
    #[error("the database is closed")]
    Closed,
}

/// The right to use a data folder. Held by a running relay; the operating system ends it with the process.
#[derive(Debug)]
pub struct FolderLock(#[expect(dead_code, reason = "held for its lock")] File);

impl FolderLock {
    /// Makes the folder, for its owner only, and locks it.
    ///
    /// # Errors
    /// When it cannot be used, or another relay uses it.
    pub fn take(folder: &Path) -> Result<Self, OpenError> {
        make_folder(folder)?;
        let unusable = |error| OpenError::Folder(folder.to_owned(), error);
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(folder.join("relay.lock"))
            .map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse(folder.to_owned())),
            Err(TryLockError::Error(error)) => Err(unusable(error)),
        }
    }
}

/// Makes the data folder, for its owner only, where there is none.
///
/// # Errors
/// When it cannot be made.
pub fn make_folder(folder: &Path) -> Result<(), OpenError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| OpenError::Folder(folder.to_owned(), error))
}

/// Opens the database of a folder and brings its tables up to date.
///
/// # Errors
/// When the file is unusable or from a newer relay.
pub fn open(folder: &Path) -> Result<Connection, OpenError> {
    let path = folder.join("relay.db");
    let failed = |error| OpenError::Database(path.clone(), error);
    // Made here, for its owner only; SQLite gives its other files the same rights.
    let made = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path);
    made.map_err(|error| OpenError::Folder(folder.to_owned(), error))?;
    let mut db = Connection::open(&path).map_err(failed)?;
    db.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    // FULL makes a commit wait for the disk: 202 means on disk. secure_delete overwrites what is deleted.
    db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON;")
        .map_err(failed)?;
    // Immediate, so that two commands that meet on a new file do not both make its tables.
    let tx = db
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failed)?;
    let version: i64 = tx
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(failed)?;
    let missing = usize::try_from(version).ok().and_then(|had| SCHEMA.get(had..));
    let Some(missing) = missing else {
        return Err(OpenError::Newer(path, version));
    };
    for step in missing {
        tx.execute_batch(step).map_err(failed)?;
    }
    if !missing.is_empty() {
        tx.pragma_update(None, "user_version", SCHEMA.len() as i64)
            .map_err(failed)?;
    }
    tx.commit().map_err(failed)?;
    Ok(db)
}

/// A handle to the writer thread. Clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    jobs: mpsc::Sender<Box<dyn Job>>,
}

/// The writer thread, to be joined when the relay stops.
#[derive(Debug)]
pub struct Writer(Mutex<Option<JoinHandle<()>>>);

impl Writer {
    /// Waits until the last job is committed. All [`Store`] handles have to be gone.
    pub fn join(&self) {
        let handle = self.0.lock().ok().and_then(|mut handle| handle.take());
        if let Some(handle) = handle {
            // A panic of the writer has been reported by the panic hook.
            let _ = handle.join();
        }
    }
}

impl Store {
    /// Starts the writer thread on an open database.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start(db: Connection) -> io::Result<(Self, Writer)> {
        let (jobs, queue) = mpsc::channel(QUEUE_MAX);
        let thread = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || write_loop(db, queue))?;
        Ok((Self { jobs }, Writer(Mutex::new(Some(thread)))))
    }

    /// Runs `work` in the next transaction, then `after` once that is committed or failed. `after` runs
    /// even when nobody waits for the answer any more, so bookkeeping belongs there.
    ///
    /// # Errors
    /// When the changes did not reach the disk.
    pub async fn write<T, W, A>(&self, work: W, after: A) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
        A: FnOnce(Result<&T, &StoreError>) + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Write {
            work: Some(work),
            value: None,
            after,
            reply,
        };
        if let Err(refused) = self.jobs.send(Box::new(job)).await {
            refused.0.finish(Err(StoreError::Closed));
        }
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// [`Store::write`] without bookkeeping.
    ///
    /// # Errors
    /// When the changes did not reach the disk.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.write(work, |_| {}).await
    }
}

trait Job: Send {
    fn run(&mut self, db: &Connection) -> rusqlite::Result<()>;
    fn finish(self: Box<Self>, committed: Result<(), StoreError>);
}

struct Write<T, W, A> {
    work: Option<W>,
    value: Option<T>,
    after: A,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, W, A> Job for Write<T, W, A>
where
    T: Send,
    W: FnOnce(&Connection) -> rusqlite::Result<T> + Send,
    A: FnOnce(Result<&T, &StoreError>) + Send,
{
    fn run(&mut self, db: &Connection) -> rusqlite::Result<()> {
        if let Some(work) = self.work.take() {
            self.value = Some(work(db)?);
        }
        Ok(())
    }

    fn finish(self: Box<Self>, committed: Result<(), StoreError>) {
        let result = match (committed, self.value) {
            (Ok(()), Some(value)) => Ok(value),
            (Ok(()), None) => Err(StoreError::Closed),
            (Err(error), _) => Err(error),
        };
        (self.after)(result.as_ref());
        // Nobody may be waiting any more; what had to be noted is noted.
        let _ = self.reply.send(result);
    }
}

fn write_loop(mut db: Connection, mut queue: mpsc::Receiver<Box<dyn Job>>) {
    let mut group = Vec::with_capacity(GROUP_MAX);
    while queue.blocking_recv_many(&mut group, GROUP_MAX) > 0 {
        let ran = run_group(&mut db, &mut group);
        for (job, result) in group.drain(..).zip(ran) {
            job.finish(result);
        }
    }
    // Leaves one tidy file behind; a failure costs nothing but that.
    let _ = db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE);");
}

/// Runs each job in a savepoint of its own, so that one that fails does not take the others with it.
fn run_group(db: &mut Connection, group: &mut [Box<dyn Job>]) -> Vec<Result<(), StoreError>> {
    let mut attempt = |group: &mut [Box<dyn Job>]| -> rusqlite::Result<Vec<Result<(), StoreError>>> {
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut results = Vec::with_capacity(group.len());
        for job in group.iter_mut() {
            tx.execute_batch("SAVEPOINT job")?;
            let result = job.run(&tx);
            if result.is_err() {
                tx.execute_batch("ROLLBACK TO job")?;
            }
            tx.execute_batch("RELEASE job")?;
            results.push(result.map_err(|error| StoreError::Failed(describe(&error))));
        }
        tx.commit()?;
        Ok(results)
    };
    attempt(group).unwrap_or_else(|error| {
        let error = StoreError::Failed(describe(&error));
        tracing::error!(%error, jobs = group.len(), "a transaction failed");
        group.iter().map(|_| Err(error.clone())).collect()
    })
}

/// SQLite's name for what went wrong. Its longer texts could quote a statement, never a value.
fn describe(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(code, _) => code.to_string(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_of_an_earlier_relay_gets_the_tables_it_lacks() {
        let folder = tempfile::tempdir().unwrap();
        let old = Connection::open(folder.path().join("relay.db")).unwrap();
        old.execute_batch(SCHEMA[0]).unwrap();
        old.execute("INSERT INTO account VALUES ('alice', 'hash', 1)", ())
            .unwrap();
        old.pragma_update(None, "user_version", 1).unwrap();
        drop(old);
        // The second time there is nothing left to do.
        for _ in 0..2 {
            let db = open(folder.path()).unwrap();
            let count = |table: &str| -> i64 {
                db.query_row(&format!("SELECT count(*) FROM {table}"), (), |row| row.get(0))
                    .unwrap()
            };
            assert_eq!((count("account"), count("policy_log")), (1, 0));
        }
    }
}
