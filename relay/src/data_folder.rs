//! The contents of a relay's data folder, opened together: by `serve`, or by a command while no relay runs.

use crate::clock::{Ages, Clock};
use crate::config::Config;
use crate::metrics::Registry;
use crate::spool::{self, LANES_MAX, Spool};
use crate::store::{self, FolderLock, OpenError, Store, StoreError, Writer};
use crate::switch::Switches;
use std::time::Duration;

/// How often `serve` tries to lock the folder, five seconds in all. Then it fails: another relay uses it.
const LOCK_TRIES: u32 = 50;
/// Pause between two attempts.
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// Why a data folder cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It is in use, or its database cannot be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The database, once open.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The operating system.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// The open data folder. No other process has it open.
#[derive(Debug)]
pub struct DataFolder {
    /// The database.
    pub store: Store,
    /// The waiting events.
    pub spool: Spool,
    /// The admin switches.
    pub switches: Switches,
    /// Closes the folder.
    pub keeper: Keeper,
}

/// Keeps the data folder from being opened a second time until it is closed.
#[derive(Debug)]
pub struct Keeper {
    writer: Writer,
    lock: FolderLock,
}

impl DataFolder {
    /// Takes the folder for this process and opens everything in it.
    ///
    /// # Errors
    /// [`InUse`](store::OpenError::InUse) if a running relay has it; otherwise the reason why it is unreadable.
    pub async fn open(config: &Config, clock: &Clock, registry: &mut Registry) -> Result<Self, FolderError> {
        Self::open_locked(FolderLock::take(&config.data_dir)?, config, clock, registry).await
    }

    async fn open_locked(
        lock: FolderLock,
        config: &Config,
        clock: &Clock,
        registry: &mut Registry,
    ) -> Result<Self, FolderError> {
        let (db, rebuilt) = store::open_or_rebuild(&config.data_dir, clock.now())?;
        // A damaged file is rebuilt by the first job that meets the damage; until then the stored time is unknown.
        let ages = spool::resume_ages(&db, clock).unwrap_or_else(|_| Ages::resume(clock, 0, None));
        let (store, writer) = Store::start(db, clock.clone())?;
        let spool = Spool::open(
            store.clone(),
            registry,
            ages,
            config.spool.clone(),
            &config.sites,
            usize::from(LANES_MAX),
        )
        .await?;
        let rebuilds = &spool.metrics.database_rebuilds;
        rebuilds.inc_by(u64::from(rebuilt.is_some()));
        let switches = Switches::open(config, store.clone(), spool.clone(), clock.clone(), registry).await?;
        Ok(Self {
            store,
            spool,
            switches,
            keeper: Keeper { writer, lock },
        })
    }

    /// [`DataFolder::open`] for `serve`, with retries: a command may hold the folder for a moment, or a relay that is
    /// stopping.
    ///
    /// # Errors
    /// Those of [`DataFolder::open`].
    pub async fn open_once_free(
        config: &Config,
        clock: &Clock,
        registry: &mut Registry,
    ) -> Result<Self, FolderError> {
        let mut left = LOCK_TRIES;
        loop {
            match FolderLock::take(&config.data_dir) {
                Err(OpenError::InUse(folder, holder)) if left > 0 => {
                    if left == LOCK_TRIES {
                        tracing::info!(
                            "waiting for the data folder {}, which is in use{holder}",
                            folder.display()
                        );
                    }
                    left -= 1;
                    tokio::time::sleep(LOCK_PAUSE).await;
                }
                lock => return Self::open_locked(lock?, config, clock, registry).await,
            }
        }
    }

    /// Closes the folder: waits for the last job's commit, then releases the lock.
    pub async fn close(self) {
        let Self {
            store,
            spool,
            switches,
            keeper,
        } = self;
        // Bound by `..` they would live to the end of this function, and closing waits for them.
        drop((store, spool, switches));
        keeper.close().await;
    }
}

impl Keeper {
    /// Waits until the last job is committed and all handles of the store are dropped, then releases the folder.
    pub async fn close(self) {
        let Self { writer, lock } = self;
        // The panic hook has already reported a panic of the writer.
        let _ = tokio::task::spawn_blocking(move || writer.join()).await;
        drop(lock);
    }
}
