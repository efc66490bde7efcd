//! The one database: a SQLite file with one writer that commits in groups.
//!
//! All jobs that queue during an fsync share the next transaction, and transactions begin at least two milliseconds apart,
//! so a busy relay pays one fsync for many events, and an idle one answers at once. Rooms pass in closures; the store
//! depends on no room, and defines their tables in `schema`.

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
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use writer::{Database, Job};

/// Jobs that can wait for the writer. When the queue is full, [`Store::write`] waits and [`Store::offer`] refuses.
const QUEUE_MAX: usize = 4096;
/// How long a command (`user add`) waits for a relay that is committing, before it fails.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be created or used.
    #[error("the data folder {0} cannot be used: {1}")]
    Folder(PathBuf, io::Error),
    /// Another relay uses it.
    #[error("another relay is using the data folder {0}{1}; each relay needs a data_dir of its own")]
    InUse(PathBuf, Holder),
    /// The file system has no locks, so two relays could use the folder at once.
    #[error(
        "the data folder {0} cannot be locked: {1}; choose a data_dir on a local disk, or on a file system that \
         supports locks"
    )]
    NoLocks(PathBuf, io::Error),
    /// There is no database, or it cannot be read.
    #[error("there is no database in {0}: {1}; set `data_dir` to the relay's data folder")]
    Unreadable(PathBuf, io::Error),
    /// Another version of the relay wrote the file.
    #[error(
        "the database {0} was written by another version of the relay: its tables have version {1}, and this relay reads version {version}; start the relay that wrote it, or set another data_dir",
        version = schema::VERSION
    )]
    OtherVersion(PathBuf, i64),
    /// The file has no tables yet, and was opened read-only.
    #[error("the database {0} has no tables yet; `serve` creates them at its start")]
    Empty(PathBuf),
    /// The relay did not write this file.
    #[error("the database {0} is damaged; `serve` sets it aside at its start and saves its readable rows")]
    Damaged(PathBuf),
    /// SQLite cannot open it.
    #[error("the database {0} cannot be opened: {1}")]
    Database(PathBuf, rusqlite::Error),
}

/// Why a job failed. Its changes are not in the database.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// SQLite refused the write.
    #[error("the database cannot be written: {0}")]
    Failed(DbErrorKind),
    /// The relay is stopping.
    #[error("the database is closed")]
    Closed,
    /// `QUEUE_MAX` jobs wait, and the caller does not.
    #[error("too many jobs wait for the database")]
    Full,
}

/// The cause of a database error, from a closed list, so that it is safe to publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DbErrorKind {
    /// No room left on the disk.
    DiskFull,
    /// The file or its folder is read-only.
    ReadOnly,
    /// Another process holds the database.
    Busy,
    /// The file is damaged, or no SQLite database.
    Broken,
    /// The operating system could not read or write.
    Disk,
    /// The file was removed or replaced while the relay runs.
    Gone,
    /// It has not answered for seconds.
    Hangs,
    /// The job panicked: a bug in the relay.
    Panicked,
    /// Anything else, by SQLite's extended result code; 0 if a value could not be read.
    Other(i32),
}

impl std::fmt::Display for DbErrorKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Other(code) => write!(f, "{} {code}", self.as_str()),
            _ => f.write_str(self.as_str()),
        }
    }
}

impl StoreError {
    /// The cause in a word or two, from a closed list.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Failed(kind) => kind.as_str(),
            Self::Closed => "database closed",
            Self::Full => "database queue full",
        }
    }
}

impl DbErrorKind {
    fn as_str(self) -> &'static str {
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

    /// Omits SQLite's text: it could quote a statement.
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

/// Whether an error is SQLite's report that the file is damaged.
pub fn is_damage(error: &(dyn std::error::Error + 'static)) -> bool {
    let error = error.downcast_ref::<rusqlite::Error>();
    error.is_some_and(|error| DbErrorKind::of(error) == DbErrorKind::Broken)
}

/// The path of a folder's database.
pub fn path(folder: &Path) -> PathBuf {
    folder.join("relay.db")
}

/// Opens the database of a folder and creates its tables if it has none.
///
/// # Errors
/// If the file is unusable or damaged, or another version of the relay wrote it.
pub fn open(folder: &Path) -> Result<Connection, OpenError> {
    let path = path(folder);
    // Created here, readable by its owner only; SQLite gives its other files the same mode.
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
        // Without it, SQLite plans a statement again whenever its bound values change, which costs more than running it.
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        // FULL makes a commit wait for the disk: 202 means on disk. secure_delete overwrites deleted data. The automatic vacuum
        // lets the writer shrink the file; it must be set before the tables are there.
        db.execute_batch(
            "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             PRAGMA secure_delete = ON;",
        )?;
        let tables = schema::prepare(&mut db)?;
        Ok((db, tables))
    };
    usable(open(), path)
}

/// An open database, if its tables are those of this version.
fn usable(opened: rusqlite::Result<(Connection, Tables)>, path: PathBuf) -> Result<Connection, OpenError> {
    match opened {
        Ok((db, Tables::Ready)) => Ok(db),
        Ok((_, Tables::OtherVersion(version))) => Err(OpenError::OtherVersion(path, version)),
        Ok((_, Tables::Missing)) => Err(OpenError::Empty(path)),
        Ok((_, Tables::Damaged)) => Err(OpenError::Damaged(path)),
        Err(error) if DbErrorKind::of(&error) == DbErrorKind::Broken => Err(OpenError::Damaged(path)),
        Err(error) => Err(OpenError::Database(path, error)),
    }
}

/// Opens the database of a folder read-only, beside a relay that may be running. Creates nothing.
///
/// # Errors
/// If there is no database, or one that this relay cannot read.
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

/// A database in memory with all tables.
#[cfg(test)]
pub(crate) fn open_in_memory() -> rusqlite::Result<Connection> {
    let mut db = Connection::open_in_memory()?;
    // A new database has this version.
    let _: Tables = schema::prepare(&mut db)?;
    Ok(db)
}

/// A handle to the database. Clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    way: Way,
    shared: Arc<Shared>,
}

/// Requests of the rooms to the writer besides their jobs.
#[derive(Default)]
struct Shared {
    /// Whether to remove deleted data from SQLite's log as well.
    tidy: AtomicBool,
    /// Callbacks to run after a rebuild of the database, one for each room that registered.
    rebuilt: Mutex<Vec<Recount>>,
}

impl Shared {
    /// Runs the rooms' callbacks on a rebuilt database.
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

/// How jobs reach the database.
#[derive(Clone, Debug)]
enum Way {
    /// To the writer thread, in groups.
    Thread(mpsc::Sender<Box<dyn Job>>),
    /// At once, in the caller's task, each in its own transaction.
    Inline(Arc<Mutex<Database>>),
}

/// The writer thread, to be joined when the relay stops.
#[derive(Debug)]
pub struct Writer(JoinHandle<()>);

impl Writer {
    /// Waits until the last job is committed. Returns only after all [`Store`] handles are dropped.
    pub fn join(self) {
        // The panic hook has already reported a panic of the writer.
        let _ = self.0.join();
    }
}

impl Store {
    /// Starts the writer thread on an open database. If SQLite finds the file damaged, the writer rebuilds it and continues;
    /// `clock` provides the timestamp in the name of the damaged file.
    ///
    /// # Errors
    /// If the operating system cannot create a thread.
    pub fn start(db: Connection, clock: Clock) -> io::Result<(Self, Writer)> {
        let (jobs, queue) = mpsc::channel(QUEUE_MAX);
        let shared = Arc::new(Shared::default());
        let database = Database::new(db, clock, Arc::clone(&shared), writer::BUSY_TIMEOUT);
        let thread = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || database.serve(queue))?;
        let way = Way::Thread(jobs);
        Ok((Self { way, shared }, Writer(thread)))
    }

    /// A store without a thread: each job runs at once in the caller. For simulations, whose paused clock would run ahead of
    /// a thread. It does not wait for a busy database. Otherwise it behaves like [`Store::start`].
    pub fn inline(db: Connection) -> Self {
        let shared = Arc::new(Shared::default());
        let database = Database::new(db, Clock::system(), Arc::clone(&shared), Duration::ZERO);
        let way = Way::Inline(Arc::new(Mutex::new(database)));
        Self { way, shared }
    }

    /// Whether jobs are still processed. `false` only if the writer thread is gone.
    pub fn is_alive(&self) -> bool {
        match &self.way {
            Way::Thread(jobs) => !jobs.is_closed(),
            Way::Inline(_) => true,
        }
    }

    /// Asks the writer to empty SQLite's log after the next commit. Deleted data is overwritten in the database at once, but
    /// stays in the log until then.
    pub fn tidy_after_next_commit(&self) {
        self.shared.tidy.store(true, Ordering::Relaxed);
    }

    /// Registers a callback that the writer runs after it rebuilt the database, before any job uses the new one. Each room
    /// registers once.
    pub fn after_rebuild(&self, recount: impl Fn(&Connection) + Send + Sync + 'static) {
        let mut rooms = self.shared.rebuilt.lock().unwrap_or_else(PoisonError::into_inner);
        rooms.push(Box::new(recount));
    }

    /// Runs `work` in the next transaction, then `after` once that is committed or failed. `after` runs even if the caller
    /// was cancelled, so bookkeeping belongs there.
    ///
    /// `work` may run a second time after its changes were rolled back, because another job of its
    /// transaction failed.
    ///
    /// # Errors
    /// If the changes did not reach the disk.
    pub async fn write<T, W, A>(&self, work: W, after: A) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
        A: FnOnce(Result<&T, &StoreError>) + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Write::boxed(work, move |result: Result<T, StoreError>| {
            after(result.as_ref());
            // If the caller was cancelled, the receiver is gone; `after` has already run.
            let _ = reply.send(result);
        });
        match &self.way {
            Way::Thread(jobs) => {
                if let Err(refused) = jobs.send(job).await {
                    refused.0.finish(Err(StoreError::Closed));
                }
            }
            Way::Inline(db) => run_inline(db, job),
        }
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// [`Store::write`] for a thread that must not wait: `after` gets the result on the writer thread, or at once
    /// [`StoreError::Full`] if the queue is full.
    pub fn offer<T, W, A>(&self, work: W, after: A)
    where
        T: Send + 'static,
        W: FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
        A: FnOnce(Result<T, StoreError>) + Send + 'static,
    {
        let job = Write::boxed(work, after);
        match &self.way {
            Way::Thread(jobs) => match jobs.try_send(job) {
                Ok(()) => {}
                Err(TrySendError::Full(job)) => job.finish(Err(StoreError::Full)),
                Err(TrySendError::Closed(job)) => job.finish(Err(StoreError::Closed)),
            },
            Way::Inline(db) => run_inline(db, job),
        }
    }

    /// [`Store::write`] without bookkeeping.
    ///
    /// # Errors
    /// If the changes did not reach the disk.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.write(work, |_| {}).await
    }
}

/// Runs a job at once. The panic of another holder rolled back its transaction.
fn run_inline(db: &Mutex<Database>, job: Box<dyn Job>) {
    let mut db = db.lock().unwrap_or_else(PoisonError::into_inner);
    db.run_group(&mut vec![job]);
}

struct Write<T, W, A> {
    work: W,
    value: Option<T>,
    after: A,
}

impl<T, W, A> Write<T, W, A>
where
    T: Send + 'static,
    W: FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
    A: FnOnce(Result<T, StoreError>) + Send + 'static,
{
    fn boxed(work: W, after: A) -> Box<dyn Job> {
        let value = None;
        Box::new(Self { work, value, after })
    }
}

impl<T, W, A> Job for Write<T, W, A>
where
    T: Send,
    W: FnMut(&Connection) -> rusqlite::Result<T> + Send,
    A: FnOnce(Result<T, StoreError>) + Send,
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
        (self.after)(result);
    }
}
