//! The one database: a SQLite file with one writer that commits in groups.
//!
//! Everything that queued while the last fsync ran goes into the next transaction, so a busy relay
//! pays one fsync for many events and an idle one answers at once. No timer. Rooms hand in closures;
//! this file knows nothing of spool, switch or accounts but their tables.

mod lock;
mod schema;
#[cfg(test)]
mod tests;
mod writer;

pub use lock::{FolderLock, make_folder};

use rusqlite::{Connection, ErrorCode};
use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use writer::Job;

/// Jobs that may wait for the writer. When the queue is full, senders wait: that is back-pressure on
/// requests, whose number is limited at the front door.
const QUEUE_MAX: usize = 4096;
/// How long a command (`user add`) waits for a relay that is committing, before it fails.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the writer waits for a command that holds the database, before its jobs fail. Every request
/// waits with it, so it is short; commands hold it for milliseconds.
const WRITER_BUSY_TIMEOUT: Duration = Duration::from_secs(1);
/// Prepared statements that are kept: more than the rooms have.
const STATEMENTS_MAX: usize = 64;

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
    /// SQLite said no.
    #[error("the database cannot be written: {0}")]
    Failed(Trouble),
    /// The relay is stopping.
    #[error("the database is closed")]
    Closed,
}

/// What SQLite stumbled over, from a closed list, so that it can be told to anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// No room left on the disk.
    #[error("disk full")]
    DiskFull,
    /// The file or its folder may not be written.
    #[error("read-only")]
    ReadOnly,
    /// Another process holds the database.
    #[error("locked by another process")]
    Busy,
    /// The file is not what SQLite wrote.
    #[error("damaged")]
    Broken,
    /// The operating system could not read or write.
    #[error("disk error")]
    Disk,
    /// The work itself stumbled: a defect of ours.
    #[error("internal error")]
    Panicked,
    /// Anything else, by SQLite's extended result code.
    #[error("SQLite error {0}")]
    Other(i32),
}

impl Trouble {
    /// Never takes over SQLite's text: it could quote a statement.
    fn of(error: &rusqlite::Error) -> Self {
        let Some(code) = error.sqlite_error() else {
            return Self::Other(0);
        };
        match code.code {
            ErrorCode::DiskFull => Self::DiskFull,
            ErrorCode::ReadOnly | ErrorCode::PermissionDenied => Self::ReadOnly,
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::Busy,
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Self::Broken,
            ErrorCode::SystemIoFailure | ErrorCode::CannotOpen => Self::Disk,
            _ => Self::Other(code.extended_code),
        }
    }
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
    match schema::bring_up_to_date(&mut db).map_err(failed)? {
        Ok(()) => Ok(db),
        Err(version) => Err(OpenError::Newer(path, version)),
    }
}

/// A database in memory with all tables, for simulations.
///
/// # Errors
/// When there is no memory for it.
pub fn open_in_memory() -> rusqlite::Result<Connection> {
    let mut db = Connection::open_in_memory()?;
    // A fresh database is never too new.
    let _ = schema::bring_up_to_date(&mut db)?;
    Ok(db)
}

/// A handle to the database. Clones share it.
#[derive(Clone, Debug)]
pub struct Store(Way);

/// How jobs get to the database.
#[derive(Clone, Debug)]
enum Way {
    /// To the writer thread, in groups.
    Thread(mpsc::Sender<Box<dyn Job>>),
    /// At once, in the caller's task, each in a transaction of its own.
    Inline(Arc<Mutex<Connection>>),
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
        prepare(&db);
        let thread = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || writer::write_loop(db, queue))?;
        Ok((Self(Way::Thread(jobs)), Writer(Mutex::new(Some(thread)))))
    }

    /// A store without a thread: each job runs at once where it is handed in. For simulations, whose paused
    /// clock must not run ahead of a thread it knows nothing of. All else is as with [`Store::start`].
    pub fn inline(db: Connection) -> Self {
        prepare(&db);
        Self(Way::Inline(Arc::new(Mutex::new(db))))
    }

    /// Whether jobs still get anywhere. Never `false` unless the writer thread is gone.
    pub fn is_alive(&self) -> bool {
        match &self.0 {
            Way::Thread(jobs) => !jobs.is_closed(),
            Way::Inline(_) => true,
        }
    }

    /// Runs `work` in the next transaction, then `after` once that is committed or failed. `after` runs
    /// even when nobody waits for the answer any more, so bookkeeping belongs there.
    ///
    /// `work` may run a second time after its changes were rolled back, because another job of its
    /// transaction failed.
    ///
    /// # Errors
    /// When the changes did not reach the disk.
    pub async fn write<T, W, A>(&self, work: W, after: A) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
        A: FnOnce(Result<&T, &StoreError>) + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Write {
            work,
            value: None,
            after,
            reply,
        });
        match &self.0 {
            Way::Thread(jobs) => {
                if let Err(refused) = jobs.send(job).await {
                    refused.0.finish(Err(StoreError::Closed));
                }
            }
            Way::Inline(db) => {
                // A panic while it was held rolled its transaction back.
                let mut db = db.lock().unwrap_or_else(PoisonError::into_inner);
                writer::run_group(&mut db, &mut vec![job]);
            }
        }
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// [`Store::write`] without bookkeeping.
    ///
    /// # Errors
    /// When the changes did not reach the disk.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.write(work, |_| {}).await
    }
}

/// What the writer's connection has beyond a command's.
fn prepare(db: &Connection) {
    db.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    // Fails for a negative time only.
    let _ = db.busy_timeout(WRITER_BUSY_TIMEOUT);
}

struct Write<T, W, A> {
    work: W,
    value: Option<T>,
    after: A,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, W, A> Job for Write<T, W, A>
where
    T: Send,
    W: FnMut(&Connection) -> rusqlite::Result<T> + Send,
    A: FnOnce(Result<&T, &StoreError>) + Send,
{
    fn run(&mut self, db: &Connection) -> rusqlite::Result<()> {
        self.value = Some((self.work)(db)?);
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
