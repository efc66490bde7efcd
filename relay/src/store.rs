//! The one database: a SQLite file with one writer that commits in groups.
//!
//! Everything that queued while the last fsync ran goes into the next transaction, so a busy relay
//! pays one fsync for many events and an idle one answers at once. No timer. Rooms hand in closures;
//! this file knows nothing of spool, switch or accounts but their tables.

mod lock;
mod salvage;
mod schema;
#[cfg(test)]
mod tests;
mod writer;

pub use lock::{FolderLock, Holder, make_folder};
pub use salvage::{Rebuilt, open_or_rebuild};

use crate::clock::Clock;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use schema::Tables;
use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use writer::{Database, Job};

/// Jobs that may wait for the writer. When the queue is full, senders wait: that is back-pressure on
/// requests, whose number is limited at the front door.
const QUEUE_MAX: usize = 4096;
/// How long a command (`user add`) waits for a relay that is committing, before it fails.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be made or used.
    #[error("the data folder {0} cannot be used: {1}")]
    Folder(PathBuf, io::Error),
    /// Another relay has it.
    #[error("another relay is using the data folder {0}{1}; each relay needs a data_dir of its own")]
    InUse(PathBuf, Holder),
    /// The file system has no locks, so nothing would keep two relays apart.
    #[error(
        "the data folder {0} cannot be locked: {1}; choose a data_dir on a local disk, or on a file system that has locks"
    )]
    NoLocks(PathBuf, io::Error),
    /// There is nothing to look at, or it may not be looked at.
    #[error("there is no database to look at in {0}: {1}; `data_dir` says where a relay keeps its own")]
    Unreadable(PathBuf, io::Error),
    /// The file was written by a newer relay.
    #[error(
        "the database {0} was written by a newer relay (tables of version {1}); start that one, or give this one another data_dir"
    )]
    Newer(PathBuf, i64),
    /// The file was written by an older relay, and is only looked at.
    #[error("the database {0} was written by an older relay; `serve` brings it up to date at its start")]
    Older(PathBuf),
    /// The file is not what a relay wrote.
    #[error(
        "the database {0} is damaged; `serve` sets it aside at its start and saves what can still be read"
    )]
    Damaged(PathBuf),
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// No room left on the disk.
    DiskFull,
    /// The file or its folder may not be written.
    ReadOnly,
    /// Another process holds the database.
    Busy,
    /// The file is not what SQLite wrote.
    Broken,
    /// The operating system could not read or write.
    Disk,
    /// The file was removed or replaced while the relay runs.
    Gone,
    /// It has not answered for seconds.
    Hangs,
    /// The work itself stumbled: a defect of ours.
    Panicked,
    /// Anything else, by SQLite's extended result code; 0 where a value could not be read.
    Other(i32),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Other(code) => write!(f, "{} {code}", self.word()),
            _ => f.write_str(self.word()),
        }
    }
}

impl StoreError {
    /// What is wrong in a word or two, from a closed list.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Failed(trouble) => trouble.word(),
            Self::Closed => "database closed",
        }
    }
}

impl Trouble {
    fn word(self) -> &'static str {
        match self {
            Self::DiskFull => "disk full",
            Self::ReadOnly => "read-only",
            Self::Busy => "database locked",
            Self::Broken => "database damaged",
            Self::Disk => "disk error",
            Self::Gone => "database file gone",
            Self::Hangs => "disk hangs",
            Self::Panicked => "internal error",
            Self::Other(_) => "database error",
        }
    }

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

/// Whether an error is SQLite's that the file is damaged.
pub fn is_damage(error: &(dyn std::error::Error + 'static)) -> bool {
    let error = error.downcast_ref::<rusqlite::Error>();
    error.is_some_and(|error| Trouble::of(error) == Trouble::Broken)
}

/// Where the database of a folder is.
pub fn path(folder: &Path) -> PathBuf {
    folder.join("relay.db")
}

/// Opens the database of a folder and brings its tables up to date.
///
/// # Errors
/// When the file is unusable, damaged or from a newer relay.
pub fn open(folder: &Path) -> Result<Connection, OpenError> {
    let path = path(folder);
    // Made here, for its owner only; SQLite gives its other files the same rights.
    let made = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path);
    made.map_err(|error| OpenError::Folder(folder.to_owned(), error))?;
    let open = || {
        let mut db = Connection::open(&path)?;
        db.busy_timeout(BUSY_TIMEOUT)?;
        // Otherwise a statement is planned anew whenever what is bound to it changes, which costs more than
        // running it.
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        // FULL makes a commit wait for the disk: 202 means on disk. secure_delete overwrites what is deleted.
        db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON;")?;
        let tables = schema::bring_up_to_date(&mut db)?;
        Ok((db, tables))
    };
    usable(open(), path)
}

/// An open database, where its tables are those of this relay.
fn usable(opened: rusqlite::Result<(Connection, Tables)>, path: PathBuf) -> Result<Connection, OpenError> {
    match opened {
        Ok((db, Tables::Ready)) => Ok(db),
        Ok((_, Tables::Newer(version))) => Err(OpenError::Newer(path, version)),
        Ok((_, Tables::Older)) => Err(OpenError::Older(path)),
        Ok((_, Tables::Damaged)) => Err(OpenError::Damaged(path)),
        Err(error) if Trouble::of(&error) == Trouble::Broken => Err(OpenError::Damaged(path)),
        Err(error) => Err(OpenError::Database(path, error)),
    }
}

/// Opens the database of a folder to look at it, beside a relay that may be running. Nothing can be changed
/// through it, and nothing is made where there is none.
///
/// # Errors
/// When there is no database, or one that this relay cannot read.
pub fn open_to_look(folder: &Path) -> Result<Connection, OpenError> {
    let path = path(folder);
    let file = File::open(&path);
    file.map_err(|error| OpenError::Unreadable(path.clone(), error))?;
    let open = || {
        let db = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        db.busy_timeout(BUSY_TIMEOUT)?;
        let tables = schema::look(&db)?;
        Ok((db, tables))
    };
    usable(open(), path)
}

/// A database in memory with all tables, for simulations.
///
/// # Errors
/// When there is no memory for it.
pub fn open_in_memory() -> rusqlite::Result<Connection> {
    let mut db = Connection::open_in_memory()?;
    // A fresh database is never too new.
    let _: Tables = schema::bring_up_to_date(&mut db)?;
    Ok(db)
}

/// A handle to the database. Clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    way: Way,
    shared: Arc<Shared>,
}

/// What the rooms tell the writer beside their jobs.
#[derive(Default)]
struct Shared {
    /// Whether what was deleted is to be taken out of the log as well.
    tidy: AtomicBool,
    /// What is to be done after the database was rebuilt, by each room that asked for it.
    rebuilt: Mutex<Vec<Recount>>,
}

impl Shared {
    /// Has the rooms look at a rebuilt database.
    fn recount(&self, db: &Connection) {
        let rooms = self.rebuilt.lock().unwrap_or_else(PoisonError::into_inner);
        rooms.iter().for_each(|recount| recount(db));
    }
}

type Recount = Box<dyn Fn(&Connection) + Send + Sync>;

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

/// How jobs get to the database.
#[derive(Clone, Debug)]
enum Way {
    /// To the writer thread, in groups.
    Thread(mpsc::Sender<Box<dyn Job>>),
    /// At once, in the caller's task, each in a transaction of its own.
    Inline(Arc<Mutex<Database>>),
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
    /// Starts the writer thread on an open database. When SQLite finds the file damaged, the writer rebuilds
    /// it and goes on; the clock names what it sets aside.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start(db: Connection, clock: Clock) -> io::Result<(Self, Writer)> {
        let (jobs, queue) = mpsc::channel(QUEUE_MAX);
        let shared = Arc::new(Shared::default());
        let database = Database::new(db, clock, Arc::clone(&shared), writer::BUSY_TIMEOUT);
        let thread = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || database.serve(queue))?;
        let way = Way::Thread(jobs);
        Ok((Self { way, shared }, Writer(Mutex::new(Some(thread)))))
    }

    /// A store without a thread: each job runs at once where it is handed in. For simulations, whose paused
    /// clock must not run ahead of a thread it knows nothing of. It does not wait for a busy database either. All
    /// else is as with [`Store::start`].
    pub fn inline(db: Connection) -> Self {
        let shared = Arc::new(Shared::default());
        let database = Database::new(db, Clock::system(), Arc::clone(&shared), Duration::ZERO);
        let way = Way::Inline(Arc::new(Mutex::new(database)));
        Self { way, shared }
    }

    /// Whether jobs still get anywhere. Never `false` unless the writer thread is gone.
    pub fn is_alive(&self) -> bool {
        match &self.way {
            Way::Thread(jobs) => !jobs.is_closed(),
            Way::Inline(_) => true,
        }
    }

    /// Asks the writer to empty SQLite's log after the next commit. What was deleted is overwritten in the
    /// database at once, but stands in the log until then.
    pub fn tidy_after_next_commit(&self) {
        self.shared.tidy.store(true, Ordering::Relaxed);
    }

    /// Says what is to be done on the writer after it had to rebuild the database, before any job sees the new
    /// one. Each room says so once.
    pub fn after_rebuild(&self, recount: impl Fn(&Connection) + Send + Sync + 'static) {
        let mut rooms = self.shared.rebuilt.lock().unwrap_or_else(PoisonError::into_inner);
        rooms.push(Box::new(recount));
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
        match &self.way {
            Way::Thread(jobs) => {
                if let Err(refused) = jobs.send(job).await {
                    refused.0.finish(Err(StoreError::Closed));
                }
            }
            Way::Inline(db) => {
                // A panic while it was held rolled its transaction back.
                let mut db = db.lock().unwrap_or_else(PoisonError::into_inner);
                db.run_group(&mut vec![job]);
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
